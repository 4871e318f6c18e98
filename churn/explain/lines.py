"""The compiled loop over a linear member's contributions: one broken line a feature."""

from numba import types

from churn.explain.jit import JitFunction


def _lines(X, values, scores, known, weights, flags, means, target, scale, phi):
    """Add each feature's contribution to its row of ``phi``.

    A value lies between two knots; its score is on the line between theirs, and beyond the last one that of
    the last. A missing value has score 0 and sets the flag.

    Shapes: X (features, rows); values and scores (features, 64), of which each feature has known; weights,
    flags (the weights of the flags), means (of the flags) and target (the row of phi) (features,); phi
    (columns, rows).
    """
    features, rows = X.shape
    for f in range(features):
        weight, to = scale * weights[f], target[f]
        present, missing = -scale * flags[f] * means[f], scale * flags[f] * (1 - means[f])
        last = known[f] - 1
        if last < 1:  # one value, or none
            if flags[f] != 0:
                for r in range(rows):
                    phi[to, r] += missing if X[f, r] != X[f, r] else present
            continue
        if weight == 0 and flags[f] == 0:
            continue
        lowest, highest = values[f, 0], values[f, last]
        for r in range(rows):
            x = X[f, r]
            if x != x:
                phi[to, r] += missing
            elif x <= lowest:
                phi[to, r] += weight * scores[f, 0] + present
            elif x >= highest:
                phi[to, r] += weight * scores[f, last] + present
            else:
                at = 0
                at += 32 if values[f, at + 32] <= x else 0
                at += 16 if values[f, at + 16] <= x else 0
                at += 8 if values[f, at + 8] <= x else 0
                at += 4 if values[f, at + 4] <= x else 0
                at += 2 if values[f, at + 2] <= x else 0
                at += 1 if values[f, at + 1] <= x else 0
                low, high = float(values[f, at]), float(values[f, at + 1])
                share = (float(x) - low) / (high - low)
                score = scores[f, at] + share * (scores[f, at + 1] - scores[f, at])
                phi[to, r] += weight * score + present


_matrix = types.Array(types.float32, 2, "C", readonly=True)
_vector = types.Array(types.float64, 1, "C", readonly=True)
_numbers = types.Array(types.int64, 1, "C", readonly=True)
add_lines = JitFunction(
    _lines,
    types.void(
        _matrix,
        _matrix,
        _matrix,
        _numbers,
        _vector,
        _vector,
        _vector,
        _numbers,
        types.float64,
        types.float32[:, ::1],
    ),
)
