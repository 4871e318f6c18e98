"""The trees of a model, flattened into the tables that the kernel of ``treeshap`` walks through."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.explain.ensemble import Tree
from churn.explain.kernel import ENTER, LANES, LEAVE, LOW, LOW_AND_LEAF, NODE, TWO_LOWS

MAXIMUM_POINTS = 16  # of quadrature: exact up to 32 distinct features on a path
_TINY = 1e-30  # replaces a cover share of 0, so that the sign of h still shows which child a row took
_NODES_BETWEEN_FLUSHES = 4096  # bounds the length of float32 sums, and with it their rounding

# Rows per block: few enough for the CPU caches, enough to spread the cost of loading a node. Very wide or
# very deep models get fewer.
_BLOCK_FLOATS, _LEAST_ROWS, _MOST_ROWS, _SCRATCH_FLOATS = 50_000, 64, 128, 500_000


class FlatTrees(NamedTuple):
    """Trees as the kernel reads them, and the layout of its scratch memory."""

    features: NDArray[np.int32]  # (used,), the columns that some tree splits on, ascending
    nodes: NDArray[Any]  # (splits,) of NODE
    steps: NDArray[np.uint32]  # (steps, 4): what to do, node, its first and second child (if they are low)
    tree_steps: NDArray[np.uint64]  # (trees + 1,), where each tree's steps start
    tree_points: NDArray[np.int64]  # (trees,), points of quadrature for each tree
    flush: NDArray[np.bool_]  # (trees,), whether sums are flushed after the tree
    weights: NDArray[np.float32]  # (points + 1, points): row n has the weights of the rule of n points
    coefficients: NDArray[np.float32]  # c and dc/dp of each point; shared by nodes without a repeated feature
    depth: int  # of the deepest split, root = 0
    rows: int  # of a block
    sums: int  # where the sums of each feature start in the scratch
    p: int  # where P starts: for each depth, of a first and a second child, for each row and point
    g: int  # how far behind P is G
    floats: int  # size of the scratch


class _Above(NamedTuple):
    """The splits on one feature above a node: the last one's depth, the side taken, and their cover share."""

    depth: int
    sign: float
    share: float


_NONE_ABOVE = _Above(-1, 1.0, 1.0)
_Path = Mapping[int, _Above]


def flatten(trees: Sequence[Tree]) -> FlatTrees:
    """Flatten a sum of trees."""
    children = ((tree["split_indices"], tree["left_children"]) for tree in trees)
    used = sorted({f for pair in children for f, left in zip(*pair, strict=True) if left >= 0})
    slots = {feature: slot for slot, feature in enumerate(used)}
    flat: list[_Tree] = []
    for tree in trees:
        flat.append(_Tree(tree, slots, flat[-1].end if flat else 0))
    points = np.array([tree.points for tree in flat], np.int64)
    most = int(points.max(initial=1))
    weights = np.zeros((most + 1, most), np.float32)
    for n in range(1, most + 1):
        weights[n, :n] = _gauss_legendre(n)[1]
    nodes = np.array([node for tree in flat for node in tree.nodes], NODE)
    splits = np.array([len(tree.nodes) for tree in flat], np.int64)
    above = np.array([share for tree in flat for share in tree.shares_above], np.float64)
    coefficients, nodes["coefficient"] = _coefficients(above, nodes["repeat"] >= 0, np.repeat(points, splits))
    flush = np.diff(np.cumsum(splits) // _NODES_BETWEEN_FLUSHES, prepend=0) > 0
    flush[-1:] = True
    depth = int(nodes["h"].max(initial=0))
    layout = _place(nodes, np.repeat(points, splits), len(used), depth, most)
    return FlatTrees(
        np.array(used, np.int32),
        nodes,
        np.array([step for tree in flat for step in tree.steps], np.uint32).reshape(-1, 4),
        np.cumsum([0, *(len(tree.steps) for tree in flat)]).astype(np.uint64),
        points,
        flush,
        weights,
        coefficients,
        depth,
        *layout,
    )


def _place(
    nodes: NDArray[Any], points: NDArray[np.int64], used: int, depth: int, most: int
) -> tuple[int, int, int, int, int]:
    """Replace the area numbers in ``nodes`` by positions in the scratch memory.

    Returns:
        Rows of a block, the first sum, P, how far G is behind P, and the size of the scratch.
    """
    row_floats = 2 * used + depth + 1 + 4 * (depth + 2) * most
    rows = min(max(_BLOCK_FLOATS // row_floats, _LEAST_ROWS), _MOST_ROWS, _SCRATCH_FLOATS // row_floats)
    rows = max(rows // LANES, 1) * LANES
    h = 2 * used * rows
    p = h + (depth + 1) * rows
    nodes["x"] *= rows
    nodes["h"] = h + nodes["h"] * rows
    nodes["repeat"] = np.where(nodes["repeat"] >= 0, h + nodes["repeat"] * rows, -1)
    nodes["own"] = p + nodes["own"] * rows * points
    nodes["first"] = p + nodes["first"] * rows * points
    return rows, used * rows, p, 2 * (depth + 2) * most * rows, row_floats * rows


def _coefficients(
    above: NDArray[np.float64], repeated: NDArray[np.bool_], points: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a table of c and dc/dp at each point, and where each node's start in it.

    c is the probability that a feature is known, given that all earlier splits on it led here. Without
    earlier splits it is p, so those nodes share the first entries of the table, one for each number of
    points.
    """
    most = int(points.max(initial=1))
    table = [_known(n, np.ones(1)) for n in range(1, most + 1)]
    filled, starts = most * (most + 1), points * (points - 1)
    for n in range(1, most + 1):
        nodes = np.flatnonzero(repeated & (points == n))
        table.append(_known(n, above[nodes]))
        starts[nodes] = filled + 2 * n * np.arange(len(nodes))
        filled += 2 * n * len(nodes)
    return np.concatenate([part.ravel() for part in table]).astype(np.float32), starts


def _known(n: int, above: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (nodes, n, 2): c and dc/dp, given the cover share of earlier splits on the feature."""
    p = _gauss_legendre(n)[0]
    reached = p + (1 - p) * above[:, None]
    return np.stack([p / reached, above[:, None] / reached**2], axis=-1)


def _gauss_legendre(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points and weights on [0, 1]: exact for polynomials of degree < 2 n."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return (points + 1) / 2, weights / 2


class _Tree:
    """One tree's nodes and steps."""

    def __init__(self, tree: Tree, slots: Mapping[int, int], first_node: int) -> None:
        self.left: list[int] = tree["left_children"]
        self.right: list[int] = tree["right_children"]
        self.feature: list[int] = tree["split_indices"]
        self.threshold = tree["split_conditions"]  # of a leaf: its value
        self.missing_left = tree["default_left"]
        limits = np.asarray(self.threshold, np.float32)
        # x >= t  <=>  -x < -(the number before t); now a missing x is "above" on both sides.
        before = np.nextafter(limits, np.float32(-np.inf))
        self.limits = np.where(self.missing_left, -before, limits).tolist()
        self.cover = tree["sum_hessian"]
        self.slots = slots
        self.height = self._heights()
        self.nodes: list[tuple[Any, ...]] = []
        self.shares_above: list[float] = []
        self.distinct = 0
        self.first_node = first_node
        self.steps = list(self._walk()) if self.height[0] else []
        self.end = first_node + len(self.nodes)
        self.points = min(MAXIMUM_POINTS, max(1, (self.distinct + 1) // 2))

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
        sign, limit = 1.0, self.limits[node]
        if self.missing_left[node]:
            sign = -1.0
            below, above = above, below
        low, second_is_leaf = self.height[node] == 1, self.height[second] == 0
        value = self.threshold[second] if second_is_leaf else 0.0
        if low:
            difference = self.threshold[first] - value
            value = share * self.threshold[first] + other * value
            below, above = below * difference, above * difference
        last = path.get(feature, _NONE_ABOVE)
        areas = (self.slots[feature], depth, last.depth, 2 * depth + side, 2 * (depth + 1), 0)
        self.nodes.append((*areas, second_is_leaf, last.sign, sign, limit, below, above, share, value))
        self.shares_above.append(last.share)
        self.distinct = max(self.distinct, len(path) + (feature not in path))
        return (
            (first, depth + 1, 0, {**path, feature: _Above(depth, 1.0, last.share * share)}),
            (second, depth + 1, 1, {**path, feature: _Above(depth, -1.0, last.share * other)}),
        )
