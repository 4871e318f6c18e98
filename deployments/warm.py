"""Compiles every kernel into NUMBA_CACHE_DIR, while the image is built, for the processors that it will meet.

Nothing is run, so the machine that builds need not have what it compiles for. ``start.sh`` names the level
again.
"""

import importlib
import os
import platform
import subprocess
import sys

from churn.explain.jit import JitFunction

MODULES = ("churn.explain.kernel", "churn.explain.loops")
LEVELS = ("x86-64-v3", "x86-64-v4")  # with AVX2; with AVX-512


def main() -> None:
    """Compile here for one level, or start a process for each: numba reads the level as it is imported."""
    if platform.machine() != "x86_64" or "NUMBA_CPU_NAME" in os.environ:
        compile_all()
        return
    for level in LEVELS:
        environment = os.environ | {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
        subprocess.run([sys.executable, __file__], env=environment, check=True)


def compile_all() -> None:
    """Compile for the processor that the environment names, or this one."""
    for name in MODULES:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, JitFunction):
                value.ready()


if __name__ == "__main__":
    main()
