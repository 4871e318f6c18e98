"""The compiled loops over a batch's contributions: the largest of each row, and what they add up to.

Both read contributions feature by feature, as ``TreeShap`` leaves them in memory, in one pass.
"""

from numba import types

from churn.explain.jit import JitFunction

_ROWS_AT_ONCE = 512  # the rows' largest so far stay in the nearest cache

# A contribution's bucket is its sign and the leading bits of its float, 8 of exponent and 3 after them: a
# bucket is at most 1/8 of its values wide. Sizes below 2^-12 count as zero, those beyond 2^4 as 2^4.
BITS_DROPPED = 20
FIRST_BUCKET = (127 - 12) << 3
SIDE_BUCKETS = 16 << 3
BUCKETS = 2 * SIDE_BUCKETS + 1


def _top(phi, indices, values):
    """Fill in each row's largest contributions by size, largest first, of equal ones the earlier feature's.

    Shapes: phi (features, rows); indices and values (k, rows).
    """
    features, rows = phi.shape
    k = values.shape[0]
    for start in range(0, rows, _ROWS_AT_ONCE):
        end = min(start + _ROWS_AT_ONCE, rows)
        for f in range(features):
            last = min(f, k - 1)
            for r in range(start, end):
                size = abs(phi[f, r])
                if f < k or size > abs(values[last, r]):
                    j = last
                    while j > 0 and size > abs(values[j - 1, r]):
                        values[j, r] = values[j - 1, r]
                        indices[j, r] = indices[j - 1, r]
                        j -= 1
                    values[j, r] = phi[f, r]
                    indices[j, r] = f


def _tally(X, phi, bits, cuts, cut_counts, bins, total_abs, bin_rows, bin_totals, buckets):
    """Add a batch to the sums of ``ContributionSummary``.

    Shapes: X, phi and bits (phi's bits as integers) (features, rows); cuts (features, most cuts), of which
    each feature has cut_counts; bins (rows,) is scratch. The rest are the sums.
    """
    features, rows = phi.shape
    missing = bin_rows.shape[1] - 1
    for f in range(features):
        used = cut_counts[f] > 0
        for r in range(rows):
            if used:
                break
            used = phi[f, r] != 0
        if not used:  # no member uses it: its contributions are zero
            bin_rows[f, 0] += rows
            buckets[f, SIDE_BUCKETS] += rows
            continue
        for r in range(rows):
            bins[r] = 0
        for j in range(cut_counts[f]):
            cut = cuts[f, j]
            for r in range(rows):
                bins[r] += X[f, r] >= cut
        for r in range(rows):
            if X[f, r] != X[f, r]:
                bins[r] = missing
        for r in range(rows):
            p = phi[f, r]
            total_abs[f] += abs(p)
            bin_rows[f, bins[r]] += 1
            bin_totals[f, bins[r]] += p
        for r in range(rows):
            size = (bits[f, r] & 0x7FFFFFFF) >> BITS_DROPPED
            bucket = min(max(size - FIRST_BUCKET, -1), SIDE_BUCKETS - 1) + 1
            buckets[f, SIDE_BUCKETS - bucket if bits[f, r] < 0 else SIDE_BUCKETS + bucket] += 1


_read_only = types.Array(types.float32, 2, "C", readonly=True)
top_k = JitFunction(_top, types.void(_read_only, types.int32[:, ::1], types.float32[:, ::1]))
accumulate = JitFunction(
    _tally,
    types.void(
        _read_only,
        _read_only,
        types.Array(types.int32, 2, "C", readonly=True),
        _read_only,
        types.Array(types.int64, 1, "C", readonly=True),
        types.uint8[::1],
        types.float64[::1],
        types.int64[:, ::1],
        types.float64[:, ::1],
        types.int64[:, ::1],
    ),
)
