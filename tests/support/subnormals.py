"""Switch subnormal numbers off in this thread, as a library that was linked with ``-ffast-math`` does."""

import ctypes
import platform
from contextlib import contextmanager

import pytest

# Where fenv_t has the control register, and the bits that flush and ignore subnormal numbers.
_BITS = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}


@contextmanager
def subnormals_off():
    """Skips the test where it is not known how."""
    if platform.machine() not in _BITS or platform.libc_ver()[0] != "glibc":
        pytest.skip("fenv_t of this machine is not known")
    offset, bits = _BITS[platform.machine()]
    libm = ctypes.CDLL("libm.so.6")
    before, changed = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    libm.fegetenv(before)
    libm.fegetenv(changed)
    register = int.from_bytes(changed.raw[offset : offset + 4], "little") | bits
    changed[offset : offset + 4] = register.to_bytes(4, "little")
    libm.fesetenv(changed)
    try:
        yield
    finally:
        libm.fesetenv(before)
