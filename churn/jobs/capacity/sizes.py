"""The smallest Fargate task for a worker."""

from dataclasses import dataclass

from churn.config.cluster import FARGATE_MEMORY
from churn.core.errors import UsageError

_SPARE = 1.5  # times the measured peak: a worker that reaches its limit is killed
_MIB = 1 << 20
_UNITS_PER_VCPU, _MIB_PER_GB = 1024, 1024


@dataclass(frozen=True)
class Size:
    """A Fargate task."""

    vcpus: int
    gb: int  # memory, of 2**30 bytes as AWS counts


def smallest(peak_bytes: float) -> Size:
    """Return the smallest task with at least 1 vCPU and 1.5 times this memory.

    Raises:
        UsageError: no Fargate task has so much memory.

    Example:
        >>> smallest(380e6)
        Size(vcpus=1, gb=2)
    """
    for units, memory in FARGATE_MEMORY.items():
        for mib in memory:
            if units >= _UNITS_PER_VCPU and mib * _MIB >= _SPARE * peak_bytes:
                return Size(units // _UNITS_PER_VCPU, mib // _MIB_PER_GB)
    raise UsageError(
        f"a worker needs {peak_bytes / 1e9:.0f} GB: no Fargate task has that with half of it to spare; plan "
        "for fewer features or trees"
    )
