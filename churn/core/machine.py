"""How large this machine is, or the container that the process runs in."""

import resource
from contextlib import suppress
from pathlib import Path

import psutil

# Hard limits of a container's memory, by version 2 and 1 of Linux' control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Return the memory that this process and its workers may use, in bytes.

    The least of: the machine's memory, the container's limit, and the limit on resident memory.
    """
    limits = [int(psutil.virtual_memory().total), resource.getrlimit(resource.RLIMIT_RSS)[1]]
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # no such group, or "max": without a limit
            limits.append(int(Path(path).read_text("ascii")))
    return min(limit for limit in limits if limit > 0)
