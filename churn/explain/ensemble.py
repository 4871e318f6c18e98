"""Sums of trees, as XGBoost and LightGBM describe them, read into one form."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from churn.core.errors import RunError

_ROUNDING = 1e-6  # relative error allowed in a cover that XGBoost computed as a difference
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2  # bits of LightGBM's decision_type
_ZERO = 1.0000000180025095e-35
_NONE_IS_ZERO, _NAN = 0, 2  # LightGBM's kinds of missing values, but for zeros

# A tree's nodes as XGBoost names them: left_children and right_children (-1 = leaf), split_indices,
# split_conditions (x < t goes left; of a leaf its value), default_left, and sum_hessian (the cover).
Tree = Mapping[str, Any]


class UnsupportedModelError(RunError):
    """A model that ``TreeShap`` does not support; its library may explain it."""


@dataclass(frozen=True)
class TreeEnsemble:
    """A sum of trees.

    Attributes:
        trees: the trees.
        features: number of columns that they are applied to.
        margin: predicts (rows,) log-odds of (rows, features) by the library itself; checks compare with it.
    """

    trees: Sequence[Tree]
    features: int
    margin: Callable[[NDArray[np.float32]], NDArray[Any]]


def read_xgboost(booster: xgb.Booster) -> TreeEnsemble:
    """Read a booster of XGBoost with numeric splits and one output.

    Raises:
        UnsupportedModelError: it has categorical splits, DART weights, several classes or targets, or is
            linear.
    """
    learner = json.loads(booster.save_raw("json"))["learner"]

    def margin(X: NDArray[np.float32]) -> NDArray[Any]:
        predicted: NDArray[Any] = booster.inplace_predict(X, predict_type="margin", validate_features=False)
        return predicted

    return TreeEnsemble(_supported_trees(learner), booster.num_features(), margin)


def _supported_trees(learner: Mapping[str, Any]) -> list[dict[str, Any]]:
    booster, shape = learner["gradient_booster"], learner["learner_model_param"]
    if booster["name"] != "gbtree":
        raise _unsupported(f"its booster is {booster['name']!r}, not 'gbtree'")
    if int(shape.get("num_class", 0)) > 1:
        raise _unsupported(f"it has {shape['num_class']} classes")
    if int(shape.get("num_target", 1)) > 1:
        raise _unsupported(f"it has {shape['num_target']} targets")
    # XGBoost 3.4 saves DART as 'gbtree'.
    if any(weight != 1 for holder in (booster, booster["model"]) for weight in holder.get("weight_drop", ())):
        raise _unsupported("its trees are weighted (DART)")
    trees: list[dict[str, Any]] = booster["model"]["trees"]
    for tree in trees:
        if tree.get("categories") or any(tree.get("split_type", ())):
            raise _unsupported("it splits on categories")
        if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise _unsupported("its leaves are vectors")
        if min(tree["sum_hessian"]) < -_ROUNDING * tree["sum_hessian"][0]:
            raise _unsupported("the cover of a node is negative")
    return trees


def _unsupported(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"TreeShap does not support this model: {reason}; its own library may explain it (pred_contribs)"
    )


def read_lightgbm(text: str, margin: Callable[[NDArray[np.float32]], NDArray[Any]]) -> TreeEnsemble:
    """Read a booster of LightGBM with numeric splits and one output, without that library.

    LightGBM sends ``x <= t`` left, for t in double precision. For x in single precision that is ``x < u``,
    where u is the smallest such number above t. Where a split saw no missing value, one counts as 0. The
    cover is the number of rows, as in LightGBM's own contributions.

    Args:
        text: what ``Booster.model_to_string`` returns.
        margin: predicts (rows,) log-odds by LightGBM.

    Raises:
        UnsupportedModelError: it has categorical splits, linear leaves, several classes, averaged trees, or
            takes zeros for missing.
    """
    header, *parts = text.partition("end of trees")[0].split("\nTree=")
    facts = _pairs(header)
    if int(facts.get("num_tree_per_iteration", "1")) > 1:
        raise _unsupported(f"it has {facts['num_tree_per_iteration']} classes")
    if "average_output" in header.splitlines():
        raise _unsupported("it averages its trees")
    trees = [_lightgbm_tree(_pairs(part)) for part in parts]
    return TreeEnsemble(trees, int(facts["max_feature_idx"]) + 1, margin)


def _pairs(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _lightgbm_tree(facts: Mapping[str, str]) -> Tree:
    def numbers(key: str, kind: type[Any]) -> NDArray[Any]:
        return np.array([kind(float(each)) for each in facts.get(key, "").split()])

    if int(facts.get("num_cat", "0")):
        raise _unsupported("it splits on categories")
    if int(facts.get("is_linear", "0")):
        raise _unsupported("its leaves are linear")
    splits, leaves = int(facts["num_leaves"]) - 1, int(facts["num_leaves"])
    decision = numbers("decision_type", int) if splits else np.zeros(0, int)
    missing = (decision >> _MISSING_SHIFT) & 3
    if (decision & _CATEGORICAL).any():
        raise _unsupported("it splits on categories")
    if not np.isin(missing, (_NONE_IS_ZERO, _NAN)).all():
        raise _unsupported("it takes zeros for missing values")
    threshold = numbers("threshold", float) if splits else np.zeros(0)
    with np.errstate(over="ignore"):  # beyond the range of float32 it becomes infinite, as it should
        limit = threshold.astype(np.float32)
    limit = np.where(limit.astype(np.float64) <= threshold, np.nextafter(limit, np.float32(np.inf)), limit)
    # What is so near 0 is 0 to LightGBM: below that lies only what is below -_ZERO.
    limit = np.where((threshold < 0) & (threshold >= -_ZERO), np.float32(-_ZERO), limit)
    left = np.where(missing == _NAN, (decision & _DEFAULT_LEFT) > 0, threshold >= 0)
    count = np.concatenate([numbers("internal_count", int)[:splits], numbers("leaf_count", int)])
    if len(count) < splits + leaves:  # a single leaf has no count
        count = np.ones(splits + leaves)

    def children(key: str) -> list[int]:
        nodes = numbers(key, int)[:splits]
        return [int(node) if node >= 0 else splits + ~int(node) for node in nodes] + [-1] * leaves

    return {
        "left_children": children("left_child"),
        "right_children": children("right_child"),
        "split_indices": [*numbers("split_feature", int)[:splits].tolist(), *[0] * leaves],
        "split_conditions": [*limit.tolist(), *numbers("leaf_value", float).tolist()],
        "default_left": [*left.astype(int).tolist(), *[0] * leaves],
        "sum_hessian": count.astype(float).tolist(),
    }
