"""Numba functions with one signature: compiled when they are first called, kept where that is possible."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any

from numba import njit

_logger = logging.getLogger(__name__)


class JitFunction:
    """A function that is compiled once. Safe to call from several threads; the lock of Python is released.

    The machine code is kept in NUMBA_CACHE_DIR, or beside the function's module, or in the user's cache
    folder. Where none of these can be written, every process compiles anew.

    Args:
        function: the function, in what numba understands of Python. It may not make arrays. Constants and
            functions that it uses must stand in its own module: what is kept is renewed when that changes.
        signature: its numba types; calls with others are refused.
    """

    def __init__(self, function: Callable[..., None], signature: Any) -> None:
        """Keep the function; nothing is compiled yet."""
        self._function = function
        self._signature = signature
        self._lock = Lock()
        self._machine_code: Any = None

    def __call__(self, *arguments: Any) -> None:
        """Run it."""
        self.ready()(*arguments)

    def ready(self) -> Any:
        """Return the compiled function."""
        with self._lock:
            if self._machine_code is None:
                try:
                    self._machine_code = self._compile(cache=True)
                except (RuntimeError, OSError) as error:  # numba finds no folder, or cannot write there
                    _logger.debug("%s is compiled without a cache: %s", self._function.__name__, error)
                    self._machine_code = self._compile(cache=False)
        return self._machine_code

    def _compile(self, *, cache: bool) -> Any:
        # Without numba's runtime, which would count references to the arrays inside the innermost loops.
        dispatcher = njit(nogil=True, error_model="numpy", cache=cache, _nrt=False)(self._function)
        dispatcher.compile(self._signature)
        dispatcher.disable_compile()
        return dispatcher
