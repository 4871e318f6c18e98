"""The task sizes that Fargate has.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
"""

from dataclasses import dataclass

from churn.core.errors import UsageError

_SPARE = 1.5  # times the peak that was measured: a worker at its limit is killed
_GIB = 1 << 30
# GB by vCPUs.
_MEMORY = {
    1: range(2, 9),
    2: range(4, 17),
    4: range(8, 31),
    8: range(16, 61, 4),
    16: range(32, 121, 8),
}


@dataclass(frozen=True)
class Size:
    """A task.

    Attributes:
        vcpus: how many vCPUs.
        gb: memory in GB (2**30 bytes, as AWS counts).
    """

    vcpus: int
    gb: int

    @property
    def cpu_units(self) -> int:
        """As task definitions want it."""
        return 1024 * self.vcpus

    @property
    def mib(self) -> int:
        """As task definitions want it."""
        return 1024 * self.gb


def smallest(peak_bytes: float) -> Size:
    """Return the smallest task for one thread that has had this peak of memory, with half of it to spare.

    Raises:
        UsageError: there is none.
    """
    for vcpus, memory in _MEMORY.items():
        for gb in memory:
            if gb * _GIB >= _SPARE * peak_bytes:
                return Size(vcpus, gb)
    raise UsageError(
        f"a worker needs {peak_bytes / 1e9:.0f} GB: no Fargate task has that with half of it to spare; plan "
        "for fewer features or trees"
    )
