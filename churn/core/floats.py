"""Floating-point arithmetic as IEEE 754 has it, whatever other libraries have switched off.

A shared library that was linked with ``-ffast-math`` switches subnormal numbers (below 1.2e-38 in float32)
off for the thread that loads it and for each thread that this one starts: they are read and written as 0
(FTZ and DAZ of x86, FZ of ARM). A comparison with the smallest number below a threshold of 0 is then wrong.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library

_ENVIRONMENT_BYTES = 256  # more than any fenv_t takes (32 on x86-64, 8 on ARM)


def _library() -> ctypes.CDLL | None:
    """Return the C library's mathematics; None if it has no <fenv.h>."""
    for name in (find_library("m"), None):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if all(hasattr(library, function) for function in ("fegetenv", "fesetenv")):
            return library
    return None


_C = _library()


def _default_environment() -> ctypes.c_void_p:
    """Return FE_DFL_ENV of <fenv.h>: a variable's address on macOS, elsewhere the address -1."""
    if _C is not None and hasattr(_C, "_FE_DFL_ENV"):
        return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(_C, "_FE_DFL_ENV")))
    return ctypes.c_void_p(-1)


_DEFAULT = _default_environment()


@contextmanager
def standard_floats() -> Iterator[None]:
    """Switch subnormal numbers and rounding to nearest on, for this thread and this block.

    Example:
        >>> with standard_floats():
        ...     kernel(matrix, trees)

    Where the C library has no ``fesetenv``, nothing is changed.
    """
    if _C is None:
        yield
        return
    before = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
    _C.fegetenv(before)
    _C.fesetenv(_DEFAULT)
    try:
        yield
    finally:
        _C.fesetenv(before)
