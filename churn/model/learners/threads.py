"""Linear algebra on one thread: sums of floats depend on how threads share them, and models must not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_inside = 0
_limits: threadpool_limits | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread in this block.

    The limit of BLAS holds for the whole process, so the last of several blocks that overlap lifts it.
    """
    global _inside, _limits
    with _lock:
        _inside += 1
        if _limits is None:
            _limits = threadpool_limits(1, user_api="blas")
    try:
        with threadpool_limits(1, user_api="openmp"):  # counts for this thread only
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _limits is not None:
                _limits.restore_original_limits()
                _limits = None
