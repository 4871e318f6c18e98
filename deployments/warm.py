"""Compile every kernel into NUMBA_CACHE_DIR when the image is built, for two levels of x86-64.

The code is not run, so the build machine need not support these levels. ``start.sh`` selects the level in a
container.
"""

import importlib
import os
import platform
import subprocess
import sys

from churn.explain.jit import JitFunction

MODULES = ("churn.explain.kernel", "churn.explain.lines", "churn.explain.loops")
LEVELS = ("x86-64-v3", "x86-64-v4")  # with AVX2; with AVX-512


def main() -> None:
    """Compile for each level in a process of its own, because numba reads the level on import."""
    if platform.machine() != "x86_64" or "NUMBA_CPU_NAME" in os.environ:
        compile_all()
        return
    for level in LEVELS:
        environment = os.environ | {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
        subprocess.run([sys.executable, __file__], env=environment, check=True)


def compile_all() -> None:
    """Compile for the processor in NUMBA_CPU_NAME, or else for this machine's."""
    for name in MODULES:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, JitFunction):
                value.ready()


if __name__ == "__main__":
    main()
