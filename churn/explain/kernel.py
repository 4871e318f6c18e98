"""The compiled loops of ``treeshap``: blocks of rows walk through the trees, 32 rows at a time.

Numba has no vector type, and LLVM vectorises only simple loops. So this module defines a vector of 32 floats
whose operations are single LLVM instructions. LLVM splits them over the processor's registers: two of
AVX-512, four of AVX, eight of NEON.

``trees`` lays out what the kernel reads. Everything that is compiled into the kernel is in this module,
because numba compiles again only when this file changes.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from churn.explain.jit import JitFunction

LANES = 32  # rows in a vector: one more load of a coefficient serves two registers of AVX-512

# What to do at a step. A node whose children are all leaves is "low".
ENTER, LEAVE, LOW, LOW_AND_LEAF, TWO_LOWS = range(5)

NODE = np.dtype(
    [
        # Where its areas of the scratch start: a float for each row of the block; P: for each row and point.
        ("x", "i4"),  # its feature's values
        ("h", "i4"),
        ("repeat", "i4"),  # h of the last split on the same feature above it, -1 = none
        ("own", "i4"),  # its P
        ("first", "i4"),  # its first child's P; the second child's follows
        ("coefficient", "i4"),  # where its coefficients start
        ("second_is_leaf", "i4"),
        ("repeat_sign", "f4"),  # +1: the path takes the first child there, -1: the second
        ("sign", "f4"),  # h is `below` where sign * x < limit, else (or x is missing) `above`;
        ("limit", "f4"),
        ("below", "f4"),  # low: both times the difference of the leaves
        ("above", "f4"),
        ("share", "f4"),  # of the node's cover that goes to the first child
        ("value", "f4"),  # low: expected value; else the second child's, if that is a leaf
    ],
    align=True,
)

_ZERO = np.float32(0)
_LLVM = ir.VectorType(ir.FloatType(), LANES)


class _Vector(types.Type):
    """The numba type of 32 float32."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


_VECTOR = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    """A vector is a value of LLVM's own vector type."""

    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, _LLVM)


def _pointer(context: Any, builder: Any, array: Any, values: Any) -> Any:
    return builder.gep(context.make_array(array)(context, builder, values[0]).data, [values[1]])


def _spread(builder: Any, scalar: Any) -> Any:
    nothing, zero = ir.Constant(_LLVM, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(nothing, scalar, zero)
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(zero.type, LANES), None))


@intrinsic
def _load(typing: Any, array: Any, position: Any) -> Any:
    """Return the 32 floats of an array from a position on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], values)
        return builder.load(builder.bitcast(pointer, _LLVM.as_pointer()), align=4)

    return _VECTOR(array, types.intp), build


@intrinsic
def _store(typing: Any, array: Any, position: Any, vector: Any) -> Any:
    """Write 32 floats into an array from a position on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], values)
        builder.store(values[2], builder.bitcast(pointer, _LLVM.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _VECTOR), build


@intrinsic
def _add_wide(typing: Any, array: Any, position: Any, vector: Any) -> Any:
    """Add 32 floats to an array of float64 from a position on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        wide = ir.VectorType(ir.DoubleType(), LANES)
        pointer = builder.bitcast(_pointer(context, builder, signature.args[0], values), wide.as_pointer())
        added = builder.fadd(builder.load(pointer, align=8), builder.fpext(values[2], wide))
        builder.store(added, pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, _VECTOR), build


@intrinsic
def _all(typing: Any, scalar: Any) -> Any:
    """Return a vector of one number."""
    return _VECTOR(types.float32), lambda context, builder, signature, values: _spread(builder, *values)


@intrinsic
def _all_of(typing: Any, array: Any, position: Any) -> Any:
    """Return a vector of one number of an array."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _spread(builder, builder.load(_pointer(context, builder, signature.args[0], values)))

    return _VECTOR(array, types.intp), build


def _binary(operation: str) -> Any:
    @intrinsic
    def apply(typing: Any, x: Any, y: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return getattr(builder, operation)(*values)

        return _VECTOR(_VECTOR, _VECTOR), build

    return apply


_mul, _plus, _minus = _binary("fmul"), _binary("fadd"), _binary("fsub")


@intrinsic
def _fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x * y + z, in one rounding where the processor can."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        name, type_ = f"llvm.fmuladd.v{LANES}f32", ir.FunctionType(_LLVM, [_LLVM] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, type_, name), values)

    return _VECTOR(_VECTOR, _VECTOR, _VECTOR), build


@intrinsic
def _pick(typing: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """Return yes where x < y, else no, also where x is NaN."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *values[:2]), *values[2:])

    return _VECTOR(_VECTOR, _VECTOR, _VECTOR, _VECTOR), build


@njit(inline="always")
def _split(node):
    """Return what `_h` needs of a node, in registers."""
    test = _all(node.sign), _all(node.limit), _all(node.below), _all(node.above)
    return node.x, node.repeat, _all(node.repeat_sign), test


@njit(inline="always")
def _h(scratch, split, i):
    """Return [row takes the first child] - share, or 0 if the row left the path at the same feature."""
    x, repeat, repeat_sign, (sign, limit, below, above) = split
    h = _pick(_mul(_load(scratch, x + i), sign), limit, below, above)
    if repeat >= 0:
        h = _pick(_all(_ZERO), _mul(_load(scratch, repeat + i), repeat_sign), h, _all(_ZERO))
    return h


@njit(inline="always")
def _add(scratch, position, h, total):
    """Add h * total to a feature's sums."""
    _store(scratch, position, _fma(h, total, _load(scratch, position)))


@njit(inline="always")
def _read(X, features, row, size, R, scratch):
    """Copy a block of rows, feature by feature."""
    whole = size // LANES * LANES if X.strides[0] == X.itemsize else 0
    for k in range(features.shape[0]):
        x = X[:, np.uint64(features[k])]  # unsigned: numba need not ask whether to count from the end
        for i in range(0, whole, LANES):
            _store(scratch, k * R + i, _load(x, row + i))
        for r in range(whole, size):
            scratch[np.uint64(k * R + r)] = x[np.uint64(row + r)]


@njit(inline="always")
def _flush(scratch, sums, features, row, size, R, fresh, out, margin):
    """Add a block's sums to its results, or write them there at first, and start the sums anew."""
    whole = size // LANES * LANES
    for k in range(features.shape[0]):
        phi = out[np.uint64(features[k])]
        at = sums + k * R
        for i in range(0, whole, LANES):
            total = _load(scratch, at + i)
            _store(scratch, at + i, _all(_ZERO))
            _add_wide(margin, row + i, total)
            _store(phi, row + i, total if fresh else _plus(total, _load(phi, row + i)))
        for r in range(whole, size):
            total = scratch[np.uint64(at + r)]
            scratch[np.uint64(at + r)] = _ZERO
            margin[np.uint64(row + r)] += total
            phi[np.uint64(row + r)] = total if fresh else total + phi[np.uint64(row + r)]


def _kernel(X, trees, row, last_row, scratch, bias, out, margin):
    """Explain the rows [row, last_row) of X, R at a time. Letters as in the docstring of ``treeshap``."""
    features, nodes, steps, tree_steps, tree_points, flush, weights, coef = trees[:8]
    R, PHI, P, G = trees[9:13]
    for start in range(row, last_row, R):
        size = min(R, last_row - start)
        end = (size + LANES - 1) // LANES * LANES
        _read(X, features, start, size, R, scratch)
        for r in range(start, start + size):
            margin[np.uint64(r)] = bias
            out[np.uint64(out.shape[0] - 1), np.uint64(r)] = bias
        fresh = True
        Q = 0
        for t in range(tree_points.shape[0]):
            if tree_points[t] != Q:
                Q = tree_points[t]
                for i in range(0, end, LANES):
                    for q in range(Q):
                        _store(scratch, P + i * Q + q * LANES, _all(weights[Q, q]))
            W = Q * R
            for k in range(tree_steps[t], tree_steps[t + 1]):
                step = steps[k, 0]
                node = nodes[steps[k, 1]]
                own = node.own
                first = node.first
                second = first + W
                leaf = node.second_is_leaf
                phi = PHI + node.x
                hs = node.h
                c = node.coefficient
                z = _all(node.share)
                value = _all(node.value)
                if step == ENTER:
                    split = _split(node)
                    for i in range(0, end, LANES):
                        h = _h(scratch, split, i)
                        _store(scratch, hs + i, h)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            p = _load(scratch, own + j)
                            p_first = _mul(p, _fma(_all_of(coef, c + 2 * q), h, z))
                            _store(scratch, first + j, p_first)
                            if not leaf:  # a leaf needs no P
                                _store(scratch, second + j, _minus(p, p_first))
                elif step == LEAVE:
                    for i in range(0, end, LANES):
                        h = _load(scratch, hs + i)
                        total = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            g2 = value if leaf else _load(scratch, G + second + j)
                            gap = _minus(_load(scratch, G + first + j), g2)
                            p = _load(scratch, own + j)
                            total = _fma(_mul(p, gap), _all_of(coef, c + 2 * q + 1), total)
                            f = _fma(_all_of(coef, c + 2 * q), h, z)
                            _store(scratch, G + own + j, _fma(f, gap, g2))
                        _add(scratch, phi + i, h, total)
                elif step == LOW:
                    split = _split(node)
                    for i in range(0, end, LANES):
                        h = _h(scratch, split, i)
                        total = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            total = _fma(_load(scratch, own + j), _all_of(coef, c + 2 * q + 1), total)
                            _store(scratch, G + own + j, _fma(_all_of(coef, c + 2 * q), h, value))
                        _add(scratch, phi + i, h, total)
                elif step == LOW_AND_LEAF:
                    low1 = nodes[steps[k, 2]]
                    c1, phi1 = low1.coefficient, PHI + low1.x
                    value1 = _all(low1.value)
                    split = _split(node)
                    split1 = _split(low1)
                    for i in range(0, end, LANES):
                        h = _h(scratch, split, i)
                        _store(scratch, hs + i, h)
                        h1 = _h(scratch, split1, i)
                        total = _all(_ZERO)
                        total1 = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            p = _load(scratch, own + j)
                            f = _fma(_all_of(coef, c + 2 * q), h, z)
                            total1 = _fma(_mul(p, f), _all_of(coef, c1 + 2 * q + 1), total1)
                            gap = _minus(_fma(_all_of(coef, c1 + 2 * q), h1, value1), value)
                            total = _fma(_mul(p, gap), _all_of(coef, c + 2 * q + 1), total)
                            _store(scratch, G + own + j, _fma(f, gap, value))
                        _add(scratch, phi + i, h, total)
                        _add(scratch, phi1 + i, h1, total1)
                else:  # TWO_LOWS: seven nodes and leaves, without a store in between
                    low1 = nodes[steps[k, 2]]
                    c1, phi1 = low1.coefficient, PHI + low1.x
                    value1 = _all(low1.value)
                    low2 = nodes[steps[k, 3]]
                    c2, phi2 = low2.coefficient, PHI + low2.x
                    value2 = _all(low2.value)
                    split = _split(node)
                    split1 = _split(low1)
                    split2 = _split(low2)
                    for i in range(0, end, LANES):
                        h = _h(scratch, split, i)
                        _store(scratch, hs + i, h)
                        h1 = _h(scratch, split1, i)
                        h2 = _h(scratch, split2, i)
                        total = _all(_ZERO)
                        total1 = _all(_ZERO)
                        total2 = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            p = _load(scratch, own + j)
                            f = _fma(_all_of(coef, c + 2 * q), h, z)
                            p_first = _mul(p, f)
                            total1 = _fma(p_first, _all_of(coef, c1 + 2 * q + 1), total1)
                            total2 = _fma(_minus(p, p_first), _all_of(coef, c2 + 2 * q + 1), total2)
                            g2 = _fma(_all_of(coef, c2 + 2 * q), h2, value2)
                            gap = _minus(_fma(_all_of(coef, c1 + 2 * q), h1, value1), g2)
                            total = _fma(_mul(p, gap), _all_of(coef, c + 2 * q + 1), total)
                            _store(scratch, G + own + j, _fma(f, gap, g2))
                        _add(scratch, phi + i, h, total)
                        _add(scratch, phi1 + i, h1, total1)
                        _add(scratch, phi2 + i, h2, total2)
            if flush[t]:
                _flush(scratch, PHI, features, start, size, R, fresh, out, margin)
                fresh = False


# One signature, whatever the memory order of X: one version to compile.
_SIGNATURE = types.void(
    types.Array(types.float32, 2, "A", readonly=True),
    types.Tuple(
        (
            types.int32[::1],
            types.Array(from_dtype(NODE), 1, "C"),
            types.uint32[:, ::1],
            types.uint64[::1],
            types.int64[::1],
            types.boolean[::1],
            types.float32[:, ::1],
            types.float32[::1],
            *[types.int64] * 6,
        )
    ),
    types.int64,
    types.int64,
    types.float32[::1],
    types.float64,
    types.float32[:, ::1],
    types.float64[::1],
)
kernel = JitFunction(_kernel, _SIGNATURE)
