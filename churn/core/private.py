"""Files that only their owner can read.

What this program writes names people: ids with gender, age, region and what they may do next. So the command
line, and each function of the public face that writes, makes new files with mode 0600 and folders with 0700.
What exists keeps its mode.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_UMASK = 0o077

_lock = threading.Lock()
_inside = 0
_before = _UMASK


@contextmanager
def private_files() -> Iterator[None]:
    """Make files of this process, and of those that it starts, private while the block runs.

    Example:
        >>> with private_files():
        ...     Path("scores.csv").write_text(table)

    The umask belongs to the process: files that its other threads make meanwhile are private too. Blocks may
    overlap; the last one to end restores the umask of before.
    """
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = os.umask(_UMASK)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                os.umask(_before)
