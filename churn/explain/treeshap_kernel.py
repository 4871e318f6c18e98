"""The compiled loops of ``treeshap``: blocks of rows walk through the trees, 16 rows in one machine register.

Numba has no type for a vector of floats, and LLVM vectorises only simple loops; so the vector is made a type
here, and each operation on it is one instruction of LLVM, which fits it to whatever the processor has
(AVX-512, two halves of AVX, NEON).
"""

import logging
from threading import Lock
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from churn.explain.trees import ENTER, LEAVE, LOW, LOW_AND_LEAF, NODE

LANES = 16  # rows in a vector
_ZERO = np.float32(0)
_LLVM = ir.VectorType(ir.FloatType(), LANES)

_logger = logging.getLogger(__name__)


class _Vector(types.Type):
    """The numba type of 16 float32."""

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
    nothing = ir.Constant(_LLVM, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))


@intrinsic
def _load(typing: Any, array: Any, position: Any) -> Any:
    """Return the 16 floats of an array from a position on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], values)
        return builder.load(builder.bitcast(pointer, _LLVM.as_pointer()), align=4)

    return _VECTOR(array, types.intp), build


@intrinsic
def _store(typing: Any, array: Any, position: Any, vector: Any) -> Any:
    """Write 16 floats into an array from a position on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], values)
        builder.store(values[2], builder.bitcast(pointer, _LLVM.as_pointer()), align=4)
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


@intrinsic
def _mul(typing: Any, x: Any, y: Any) -> Any:
    """Return x * y."""
    return _VECTOR(_VECTOR, _VECTOR), lambda context, builder, signature, values: builder.fmul(*values)


@intrinsic
def _sub(typing: Any, x: Any, y: Any) -> Any:
    """Return x - y."""
    return _VECTOR(_VECTOR, _VECTOR), lambda context, builder, signature, values: builder.fsub(*values)


@intrinsic
def _fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x * y + z, in one rounding where the processor can."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        type_ = ir.FunctionType(_LLVM, [_LLVM] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, type_, name), values)

    return _VECTOR(_VECTOR, _VECTOR, _VECTOR), build


@intrinsic
def _pick(typing: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """Return yes where x < y, else no, also where x is NaN."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *values[:2]), *values[2:])

    return _VECTOR(_VECTOR, _VECTOR, _VECTOR, _VECTOR), build


@njit(inline="always")
def _h(scratch, node, H, R, i):  # type: ignore[no-untyped-def]
    """Return [row takes the first child] - share, or 0 if the row left the path at the same feature."""
    x = _mul(_load(scratch, node.slot * R + i), _all(node.sign))
    h = _pick(x, _all(node.limit), _all(node.below), _all(node.above))
    if node.repeat >= 0:
        earlier = _mul(_load(scratch, H + node.repeat * R + i), _all(node.repeat_sign))
        h = _pick(_all(_ZERO), earlier, h, _all(_ZERO))
    return h


def _kernel(X, trees, row, last_row, R, scratch, bias, out, margin):  # type: ignore[no-untyped-def]
    """Explain the rows [row, last_row) of X, R at a time. Letters as in the docstring of ``treeshap``."""
    features, nodes, steps, tree_steps, tree_points, flush, weights, coef, depth = trees
    used = features.shape[0]
    # Areas of the scratch: R rows of each used feature, of its sum, of h at each depth; then, at each depth
    # and side and for each point, P and G.
    PHI = used * R
    H = PHI + used * R
    P = H + (depth + 1) * R
    G = P + 2 * (depth + 2) * R * weights.shape[1]
    for start in range(row, last_row, R):
        size = min(R, last_row - start)
        end = (size + LANES - 1) // LANES * LANES
        for k in range(used):
            for r in range(size):
                scratch[k * R + r] = X[start + r, features[k]]
        for k in range(PHI, H):
            scratch[k] = _ZERO
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
                d = node.depth
                own = (2 * d + node.side) * W  # this node's P and G, and its children's:
                first = 2 * (d + 1) * W
                second = first + W
                hs = H + d * R
                phi = PHI + node.slot * R
                c = node.coefficient
                e = c + 1
                z = _all(node.share)
                value = _all(node.value)
                if step == ENTER:
                    for i in range(0, end, LANES):
                        h = _h(scratch, node, H, R, i)
                        _store(scratch, hs + i, h)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            p = _load(scratch, P + own + j)
                            p1 = _mul(p, _fma(_all_of(coef, c + 2 * q), h, z))
                            _store(scratch, P + first + j, p1)
                            _store(scratch, P + second + j, _sub(p, p1))
                elif step == LEAVE:
                    leaf = node.second_is_leaf
                    for i in range(0, end, LANES):
                        h = _load(scratch, hs + i)
                        total = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            g2 = value if leaf else _load(scratch, G + second + j)
                            gap = _sub(_load(scratch, G + first + j), g2)
                            total = _fma(
                                _mul(_load(scratch, P + own + j), gap), _all_of(coef, e + 2 * q), total
                            )
                            g = _fma(_fma(_all_of(coef, c + 2 * q), h, z), gap, g2)
                            _store(scratch, G + own + j, g)
                        _store(scratch, phi + i, _fma(h, total, _load(scratch, phi + i)))
                elif step == LOW:
                    for i in range(0, end, LANES):
                        h = _h(scratch, node, H, R, i)
                        total = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            total = _fma(_load(scratch, P + own + j), _all_of(coef, e + 2 * q), total)
                            _store(scratch, G + own + j, _fma(_all_of(coef, c + 2 * q), h, value))
                        _store(scratch, phi + i, _fma(h, total, _load(scratch, phi + i)))
                elif step == LOW_AND_LEAF:
                    low1 = nodes[steps[k, 2]]
                    phi1 = PHI + low1.slot * R
                    c1 = low1.coefficient
                    value1 = _all(low1.value)
                    for i in range(0, end, LANES):
                        h = _h(scratch, node, H, R, i)
                        _store(scratch, hs + i, h)
                        h1 = _h(scratch, low1, H, R, i)
                        total = _all(_ZERO)
                        total1 = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            p = _load(scratch, P + own + j)
                            f = _fma(_all_of(coef, c + 2 * q), h, z)
                            total1 = _fma(_mul(p, f), _all_of(coef, c1 + 2 * q + 1), total1)
                            gap = _sub(_fma(_all_of(coef, c1 + 2 * q), h1, value1), value)
                            total = _fma(_mul(p, gap), _all_of(coef, e + 2 * q), total)
                            _store(scratch, G + own + j, _fma(f, gap, value))
                        _store(scratch, phi + i, _fma(h, total, _load(scratch, phi + i)))
                        _store(scratch, phi1 + i, _fma(h1, total1, _load(scratch, phi1 + i)))
                else:  # TWO_LOWS: seven nodes and leaves, without a store in between
                    low1 = nodes[steps[k, 2]]
                    phi1 = PHI + low1.slot * R
                    c1 = low1.coefficient
                    value1 = _all(low1.value)
                    low2 = nodes[steps[k, 3]]
                    phi2 = PHI + low2.slot * R
                    c2 = low2.coefficient
                    value2 = _all(low2.value)
                    for i in range(0, end, LANES):
                        h = _h(scratch, node, H, R, i)
                        _store(scratch, hs + i, h)
                        h1 = _h(scratch, low1, H, R, i)
                        h2 = _h(scratch, low2, H, R, i)
                        total = _all(_ZERO)
                        total1 = _all(_ZERO)
                        total2 = _all(_ZERO)
                        for q in range(Q):
                            j = i * Q + q * LANES
                            p = _load(scratch, P + own + j)
                            f = _fma(_all_of(coef, c + 2 * q), h, z)
                            p1 = _mul(p, f)
                            total1 = _fma(p1, _all_of(coef, c1 + 2 * q + 1), total1)
                            total2 = _fma(_sub(p, p1), _all_of(coef, c2 + 2 * q + 1), total2)
                            g2 = _fma(_all_of(coef, c2 + 2 * q), h2, value2)
                            gap = _sub(_fma(_all_of(coef, c1 + 2 * q), h1, value1), g2)
                            total = _fma(_mul(p, gap), _all_of(coef, e + 2 * q), total)
                            _store(scratch, G + own + j, _fma(f, gap, g2))
                        _store(scratch, phi + i, _fma(h, total, _load(scratch, phi + i)))
                        _store(scratch, phi1 + i, _fma(h1, total1, _load(scratch, phi1 + i)))
                        _store(scratch, phi2 + i, _fma(h2, total2, _load(scratch, phi2 + i)))
            if flush[t]:
                for k in range(used):
                    for r in range(size):
                        out[features[k], start + r] += scratch[PHI + k * R + r]
                        scratch[PHI + k * R + r] = _ZERO
        for r in range(start, start + size):
            margin[r] = bias
            out[out.shape[0] - 1, r] = bias
        for k in range(used):
            for r in range(start, start + size):
                margin[r] += out[features[k], r]


# One signature, whatever the memory order of X: one version to compile.
_SIGNATURE = types.void(
    types.Array(types.float32, 2, "A", readonly=True),
    types.Tuple(
        (
            types.int32[::1],
            types.Array(from_dtype(NODE), 1, "C"),
            types.int32[:, ::1],
            types.int64[::1],
            types.int64[::1],
            types.boolean[::1],
            types.float32[:, ::1],
            types.float32[::1],
            types.int64,
        )
    ),
    types.int64,
    types.int64,
    types.int64,
    types.float32[::1],
    types.float64,
    types.float32[:, ::1],
    types.float64[::1],
)
_compiled: Any = None
_lock = Lock()


def scratch_floats(used: int, depth: int, points: int, rows: int) -> int:
    """Return how many float32 the kernel needs for blocks of so many rows."""
    return rows * (2 * used + depth + 1 + 4 * (depth + 2) * points)


def kernel() -> Any:
    """Return the compiled kernel: from numba's cache if it is there, else compiled and cached.

    The cache is in NUMBA_CACHE_DIR, or beside this file, or in the user's cache folder. Where none of these
    can be written, every process compiles anew.
    """
    global _compiled
    with _lock:
        if _compiled is None:
            try:
                _compiled = _compile(cache=True)
            except (RuntimeError, OSError) as error:  # numba finds no folder, or cannot write there
                _logger.debug("the SHAP kernel is compiled without a cache: %s", error)
                _compiled = _compile(cache=False)
    return _compiled


def _compile(*, cache: bool) -> Any:
    # Without numba's runtime, which would count references to the arrays inside the innermost loops.
    dispatcher = njit(nogil=True, error_model="numpy", cache=cache, _nrt=False)(_kernel)
    dispatcher.compile(_SIGNATURE)
    dispatcher.disable_compile()
    return dispatcher
