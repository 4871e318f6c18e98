"""Numba functions with one signature, compiled on first use and cached on disk if possible."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any

from numba import njit

_logger = logging.getLogger(__name__)


class JitFunction:
    """A function that is compiled once. Thread-safe; it runs without Python's global lock.

    The machine code is cached in NUMBA_CACHE_DIR, beside the function's module, or in the user's cache
    folder. If none of these can be written, each process compiles again.

    Args:
        function: a function that numba can compile. It may not create arrays. The constants and functions
            that it uses must be in its own module: the cache is renewed when that module changes.
        signature: its numba types; calls with other types are refused.
    """

    def __init__(self, function: Callable[..., None], signature: Any) -> None:
        """Store the function without compiling it."""
        self._function = function
        self._signature = signature
        self._lock = Lock()
        self._machine_code: Any = None

    def __call__(self, *arguments: Any) -> None:
        """Call the compiled function."""
        self.ready()(*arguments)

    def ready(self) -> Any:
        """Compile the function if necessary and return it."""
        with self._lock:
            if self._machine_code is None:
                try:
                    self._machine_code = self._compile(cache=True)
                except (RuntimeError, OSError) as error:  # numba finds no folder, or cannot write there
                    _logger.debug("%s is compiled without a cache: %s", self._function.__name__, error)
                    self._machine_code = self._compile(cache=False)
        return self._machine_code

    def _compile(self, *, cache: bool) -> Any:
        # Numba's runtime would count references to the arrays inside the innermost loops.
        dispatcher = njit(nogil=True, error_model="numpy", cache=cache, _nrt=False)(self._function)
        dispatcher.compile(self._signature)
        dispatcher.disable_compile()
        return dispatcher
