"""A booster's trees, flattened into the tables that the kernel of ``treeshap`` walks through."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from churn.errors import RunError

# What the kernel does at a step. A node whose children are all leaves is "low".
ENTER, LEAVE, LOW, LOW_AND_LEAF, TWO_LOWS = range(5)

MAXIMUM_POINTS = 16  # of quadrature: exact up to 32 distinct features on a path
_TINY = 1e-30  # instead of a cover share of 0: the sign of h tells where a row went
_NODES_BETWEEN_FLUSHES = 4096  # sums of float32 stay short

NODE = np.dtype(
    [
        ("slot", "i4"),  # position of its feature among the features that the trees use
        ("depth", "i4"),  # root = 0
        ("side", "i4"),  # 0 = first child of its parent
        ("coefficient", "i4"),  # where its coefficients start
        ("second_is_leaf", "i4"),
        ("repeat", "i4"),  # depth of the last split on the same feature above it, -1 = none
        ("repeat_sign", "f4"),  # +1: the path takes the first child there, -1: the second
        ("sign", "f4"),  # h is `below` where sign * x < limit, else (or x is missing) `above`
        ("limit", "f4"),
        ("below", "f4"),
        ("above", "f4"),
        ("share", "f4"),  # of the node's cover that goes to the first child
        ("value", "f4"),  # low: expected value; else the second child's, if that is a leaf
    ],
    align=True,
)


class UnsupportedModelError(RunError):
    """This kind of model has no fast contributions; XGBoost's own ``pred_contribs`` may have them."""


class FlatTrees(NamedTuple):
    """Trees as the kernel reads them.

    Attributes:
        features: (used,) int32, the columns that some tree splits on, ascending.
        nodes: (splits,) of ``NODE``.
        steps: (steps, 4) int32: what to do, node, its first child, its second child (if they are low).
        tree_steps: (trees + 1,) int64, where each tree's steps start.
        tree_points: (trees,) int64, points of quadrature for each tree.
        flush: (trees,) bool, whether sums are flushed after the tree.
        weights: (points + 1, points) float32: row n has the weights of the rule of n points.
        coefficients: float32, for each node and point: c, dc/dp, both times the difference of its leaves if
            the node is low.
        depth: of the deepest split, root = 0.
    """

    features: NDArray[np.int32]
    nodes: NDArray[Any]
    steps: NDArray[np.int32]
    tree_steps: NDArray[np.int64]
    tree_points: NDArray[np.int64]
    flush: NDArray[np.bool_]
    weights: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    depth: int


class _Above(NamedTuple):
    """The splits on one feature above a node: the last one's depth, the side taken, and their cover share."""

    depth: int
    sign: float
    share: float


_NONE_ABOVE = _Above(-1, 1.0, 1.0)
_Path = Mapping[int, _Above]


def flatten(booster: xgb.Booster) -> FlatTrees:
    """Flatten the trees of a booster with one output.

    Raises:
        UnsupportedModelError: it is not a sum of trees with numeric splits and one output.
    """
    learner = json.loads(booster.save_raw("json"))["learner"]
    trees = _supported_trees(learner)
    used = sorted({f for tree in trees for f, left in zip(*_splits(tree), strict=True) if left >= 0})
    slots = {feature: slot for slot, feature in enumerate(used)}
    nodes: list[tuple[Any, ...]] = []
    steps: list[tuple[int, int, int, int]] = []
    tree_steps, points, flush, coefficients = [0], [], [], [np.empty(0, np.float32)]
    filled = since_flush = 0
    for tree in trees:
        flat = _Tree(tree, slots, len(nodes))
        table, n = flat.coefficients()
        starts = range(filled, filled + table.size, 2 * n)
        nodes += [(*node[:3], start, *node[4:]) for node, start in zip(flat.nodes, starts, strict=True)]
        steps += flat.steps
        tree_steps.append(len(steps))
        points.append(n)
        coefficients.append(table.ravel())
        filled += table.size
        since_flush += len(flat.nodes)
        flush.append(since_flush >= _NODES_BETWEEN_FLUSHES)
        since_flush = 0 if flush[-1] else since_flush
    flush[-1:] = [True] * len(flush[-1:])
    most = max(points, default=1)
    weights = np.zeros((most + 1, most), np.float32)
    for n in range(1, most + 1):
        weights[n, :n] = _gauss_legendre(n)[1]
    flat_nodes = np.array(nodes, NODE)
    return FlatTrees(
        np.array(used, np.int32),
        flat_nodes,
        np.array(steps, np.int32).reshape(-1, 4),
        np.array(tree_steps, np.int64),
        np.array(points, np.int64),
        np.array(flush, np.bool_),
        weights,
        np.concatenate(coefficients),
        int(flat_nodes["depth"].max(initial=0)),
    )


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
    return trees


def _unsupported(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"fast contributions are not there for this model: {reason}; use booster.predict(pred_contribs=True)"
    )


def _splits(tree: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    return tree["split_indices"], tree["left_children"]


def _gauss_legendre(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points and weights on [0, 1]: exact for polynomials of degree < 2 n."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return (points + 1) / 2, weights / 2


class _Tree:
    """One tree's nodes and steps."""

    def __init__(self, tree: Mapping[str, Any], slots: Mapping[int, int], first_node: int) -> None:
        self.left: list[int] = tree["left_children"]
        self.right: list[int] = tree["right_children"]
        self.feature: list[int] = tree["split_indices"]
        self.threshold = tree["split_conditions"]  # of a leaf: its value
        self.missing_left = tree["default_left"]
        self.cover = tree["sum_hessian"]
        self.slots = slots
        self.height = self._heights()
        self.nodes: list[tuple[Any, ...]] = []
        self.shares_above: list[float] = []
        self.differences: list[float] = []
        self.distinct = 0
        self.first_node = first_node
        self.steps = list(self._walk()) if self.height[0] else []

    def coefficients(self) -> tuple[NDArray[np.float32], int]:
        """Return (splits, points, 2) coefficients of the nodes, and the number of points.

        c is the probability that a feature is known, given that all earlier splits on it led here.
        """
        n = min(MAXIMUM_POINTS, max(1, (self.distinct + 1) // 2))
        p = _gauss_legendre(n)[0]
        above = np.array(self.shares_above)[:, None]
        reached = p + (1 - p) * above
        both = np.stack([p / reached, above / reached**2], axis=-1)
        return (both * np.array(self.differences)[:, None, None]).astype(np.float32), n

    def _heights(self) -> list[int]:
        """Return each node's height: leaf 0, low node 1. Deleted nodes have none."""
        order = [0]
        for node in order:
            if self.left[node] >= 0:
                order += (self.left[node], self.right[node])
        heights = [0] * len(self.left)
        for node in reversed(order):
            if self.left[node] >= 0:
                heights[node] = 1 + max(heights[self.left[node]], heights[self.right[node]])
        return heights

    def _walk(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield the steps of a depth-first walk, first children first."""
        stack: list[int | tuple[int, int, int, _Path]] = [(0, 0, 0, {})]
        while stack:
            item = stack.pop()
            if isinstance(item, int):
                yield LEAVE, item, 0, 0
                continue
            node, depth, side, path = item
            index = self.first_node + len(self.nodes)
            first, second = self._add(node, depth, side, path)
            if self.height[node] == 1:
                yield LOW, index, 0, 0
            elif self.height[node] == 2:
                self._add(*first)
                if self.height[second[0]]:
                    self._add(*second)
                    yield TWO_LOWS, index, index + 1, index + 2
                else:
                    yield LOW_AND_LEAF, index, index + 1, 0
            else:
                yield ENTER, index, 0, 0
                stack.append(index)
                if self.height[second[0]]:
                    stack.append(second)
                stack.append(first)

    def _add(
        self, node: int, depth: int, side: int, path: _Path
    ) -> tuple[tuple[int, int, int, _Path], tuple[int, int, int, _Path]]:
        """Add a split node; return its children, the higher one first, each as arguments of this function."""
        left, right, feature = self.left[node], self.right[node], self.feature[node]
        cover = self.cover[left] + self.cover[right]
        share = max(self.cover[left] / cover, _TINY) if cover > 0 else 0.5
        other = max(self.cover[right] / cover, _TINY) if cover > 0 else 0.5
        below, above = other, -share  # [row goes left] - share
        first, second = left, right
        if self.height[right] > self.height[left]:
            first, second, share, other = right, left, other, share
            below, above = -below, -above
        sign, limit = 1.0, np.float32(self.threshold[node])
        if self.missing_left[node]:
            # x >= t  <=>  -x < -(the number before t); now a missing x is "above" here too.
            sign, limit = -1.0, -np.nextafter(limit, np.float32(-np.inf))
            below, above = above, below
        low, second_is_leaf = self.height[node] == 1, self.height[second] == 0
        value = self.threshold[second] if second_is_leaf else 0.0
        difference = 1.0
        if low:
            difference = self.threshold[first] - value
            value = share * self.threshold[first] + other * value
        last = path.get(feature, _NONE_ABOVE)
        self.nodes.append(
            (
                *(self.slots[feature], depth, side, 0, second_is_leaf, last.depth, last.sign),
                *(sign, limit, below, above, share, value),
            )
        )
        self.shares_above.append(last.share)
        self.differences.append(difference)
        self.distinct = max(self.distinct, len(path) + (feature not in path))
        return (
            (first, depth + 1, 0, {**path, feature: _Above(depth, 1.0, last.share * share)}),
            (second, depth + 1, 1, {**path, feature: _Above(depth, -1.0, last.share * other)}),
        )
