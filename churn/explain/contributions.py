"""Compute the contributions of a model: exact for trees and linear members, one part for any other member.

A model's log-odds are the weighted sum of its members', and so are its contributions: Shapley values are
linear in the game (Shapley, A value for n-person games, 1953). A member whose margin does not split exactly
into features enters as one more column, the *player* of its name.
"""

import logging
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from churn.core.floats import standard_floats
from churn.explain.ensemble import TreeEnsemble, UnsupportedModelError, read_lightgbm, read_xgboost
from churn.explain.lines import add_lines
from churn.explain.treeshap import TreeShap
from churn.model.artifact import Model
from churn.model.encoding import Matrix
from churn.model.learners.base import Member, logit
from churn.model.learners.boosted import Boosted
from churn.model.learners.light import LightBoosted
from churn.model.learners.linear import Linear
from churn.model.learners.threads import one_thread

logger = logging.getLogger(__name__)


class Contributions(NamedTuple):
    """What each feature, and each player, adds to each row's margin, in log-odds.

    Attributes:
        phi: contributions, float32 (rows, features + players) in the order of ``explained_names``;
            column-major (``.T`` is C-contiguous).
        bias: the margin of an average training row.
        margin: the rows' margins, float32 (rows,): bias plus contributions, summed in float64.
        players: log-odds that each player predicts, float32 (rows, players).
    """

    phi: NDArray[np.float32]
    bias: float
    margin: NDArray[np.float32]
    players: NDArray[np.float32]


class _Part(NamedTuple):
    """One member's share of a margin; ``margin`` without the bias' rounding if it is known."""

    phi: NDArray[np.float32]
    bias: float
    margin: NDArray[np.float32] | None = None


# A member's explainer is built once and dropped with the member.
_explainers: WeakKeyDictionary[Boosted | LightBoosted, TreeShap | None] = WeakKeyDictionary()


def player_names(model: Model) -> tuple[str, ...]:
    """Return the players: one for each member without exact contributions."""
    return tuple(f"learner_{each.name}" for each in model.members if not each.member.exact)


def explained_names(model: Model) -> tuple[str, ...]:
    """Return what contributions are of: the features in order, then the players."""
    return (*model.card.features, *player_names(model))


def contributions(model: Model, X: Matrix) -> Contributions:
    """Return the contributions of every row to the model's margin.

    Trees get exact path-dependent Shapley values by ``TreeShap``. For a booster that it does not support,
    XGBoost's slower algorithm computes them (Lundberg, Erion, Lee: Consistent individualized feature
    attribution for tree ensembles, 2018), and a warning is logged. Linear members have a closed form.
    ``margin`` equals ``model.margin(X)`` up to float32 rounding; ``additivity_gap`` measures the difference.

    Args:
        model: a model.
        X: encoded features, (rows, features); NaN = missing. Zero rows are allowed.
    """
    first = model.members[0]
    if len(model.members) == 1 and first.weight == 1.0 and first.columns is None and first.member.exact:
        part = _exact(first.member, X)
        return Contributions(part.phi, part.bias, _margin(part), np.empty((len(X), 0), np.float32))
    names = explained_names(model)
    by_column = np.zeros((len(names), len(X)), np.float32)
    player, bias = len(model.card.features), 0.0
    players = []
    for each in model.members:
        seen, weight = each.matrix(X), np.float32(each.weight)
        if isinstance(each.member, Linear):
            bias += each.weight * _add_linear(each.member, seen, by_column, each.columns, each.weight)
        elif each.member.exact:
            part = _exact(each.member, seen)
            target = range(len(model.card.features)) if each.columns is None else each.columns
            for column, values in zip(target, part.phi.T, strict=True):
                by_column[column] += weight * values
            bias += each.weight * part.bias
        else:
            with one_thread():  # equal bits wherever it is computed
                margin = each.member.margin(seen)
            base = logit(model.card.churn_rate)  # so that its part is its difference from knowing nothing
            by_column[player] = each.weight * (margin - base)
            players.append(margin.astype(np.float32))
            bias += each.weight * base
            player += 1
    part = _Part(by_column.T, bias)
    shown = np.stack(players, axis=1) if players else np.empty((len(X), 0), np.float32)
    return Contributions(part.phi, part.bias, _margin(part), shown)


def _margin(part: _Part) -> NDArray[np.float32]:
    if part.margin is not None:
        return part.margin
    margin: NDArray[np.float32] = (part.bias + part.phi.sum(axis=1, dtype=np.float64)).astype(np.float32)
    return margin


def _exact(member: Member, X: Matrix) -> _Part:
    if isinstance(member, Linear):
        by_feature = np.zeros((X.shape[1], len(X)), np.float32)
        bias = _add_linear(member, X, by_feature, None, 1.0)
        return _Part(by_feature.T, bias)
    assert isinstance(member, Boosted | LightBoosted)  # no other member says that it is exact
    if member not in _explainers:
        _explainers[member] = _explainer(member)
    explainer = _explainers[member]
    if explainer is None:
        return _by_xgboost(member, X) if isinstance(member, Boosted) else _by_lightgbm(member, X)
    margin, phi = explainer.margin_and_contributions(X)
    return _Part(phi[:, :-1], explainer.bias, margin)


def _add_linear(
    member: Linear,
    X: Matrix,
    by_column: NDArray[np.float32],
    columns: tuple[int, ...] | None,
    scale: float,
) -> float:
    """Add a linear member's contributions, times ``scale``, to (columns, rows); return its bias."""
    prepare, features = member.prepare, X.shape[1]
    weights, flags = prepare.by_feature(member.weights)
    means = np.zeros(features)
    means[prepare.flagged] = prepare.missing
    target = np.arange(features) if columns is None else np.array(columns, np.int64)
    add_lines(
        np.ascontiguousarray(X.T),
        prepare.values,
        prepare.scores,
        np.isfinite(prepare.values).sum(axis=1),
        weights,
        flags,
        means,
        target,
        scale,
        by_column,
    )
    return member.intercept


def _explainer(member: Boosted | LightBoosted) -> TreeShap | None:
    try:
        return TreeShap(tree_ensemble(member))
    except UnsupportedModelError as error:
        logger.warning("contributions are computed by the learner's own library, which is slower: %s", error)
        return None


def tree_ensemble(member: Boosted | LightBoosted) -> TreeEnsemble:
    """Return a member's trees.

    Raises:
        UnsupportedModelError: they are not a sum of trees with numeric splits and one output.
    """
    if isinstance(member, Boosted):
        return read_xgboost(member.booster)
    return read_lightgbm(member.text, member.margin)


@standard_floats()
def _by_lightgbm(member: LightBoosted, X: Matrix) -> _Part:
    rows = np.ascontiguousarray(X) if len(X) else np.full((1, X.shape[1]), np.nan, np.float32)
    predicted = member.booster.predict(rows, pred_contrib=True, num_threads=1)
    return _Part(np.asfortranarray(predicted[: len(X), :-1], np.float32), float(predicted[0, -1]))


@standard_floats()
def _by_xgboost(member: Boosted, X: Matrix) -> _Part:
    booster = member.booster
    # Not a QuantileDMatrix: it would bin the values and explain changed rows.
    rows = X if len(X) else np.full((1, X.shape[1]), np.nan, np.float32)
    matrix = xgb.DMatrix(rows, feature_names=booster.feature_names, feature_types=booster.feature_types)
    predicted = booster.predict(matrix, pred_contribs=True, strict_shape=False)
    return _Part(np.asfortranarray(predicted[: len(X), :-1]), float(predicted[0, -1]))


@standard_floats()
def additivity_gap(model: Model, X: Matrix, explained: Contributions, rows: int) -> tuple[int, float]:
    """Return how far bias plus contributions are from the margin that the members predict, on some rows.

    Args:
        model: the model.
        X: encoded features, (rows, features).
        explained: their contributions.
        rows: largest number of rows to compare, spread evenly.

    Returns:
        The number of rows compared, and the largest difference: in log-odds, relative for margins beyond 1.
    """
    sampled = slice(None, None, max(1, -(-len(X) // rows)))
    margin = model.margin(X[sampled])
    summed = explained.bias + explained.phi[sampled].sum(axis=1, dtype=np.float64)
    gap = np.maximum(np.abs(margin - summed), np.abs(margin - explained.margin[sampled].astype(np.float64)))
    return len(margin), float((gap / np.maximum(1.0, np.abs(margin))).max(initial=0.0))
