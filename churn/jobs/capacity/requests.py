"""How many requests scoring makes to S3: counted from what the code does, and checked against a server.

``tests.benchmarks.plan`` counts what arrives at a real S3 API; the constants here are those counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from churn.config.store import StoreSettings
from churn.core.prefetch import PREFETCH

PART_BYTES = StoreSettings().part_megabytes << 20
# Of a partition. Writes: lists of the model's folder, and where HEAD has found nothing: its row twice, the
# manifest twice; its row. Reads: HEAD of its row twice, of features twice, of the manifest twice.
_WRITES, _READS = 6, 6
# Of the client, for each partition: its sums of effects; HEAD and footer of features and scores. Of these, as
# of row groups, it reads some partitions at once.
_SUM_READS, _SCORED_READS = 2, 4
_LISTED_AT_ONCE = 1_000
_COMMIT_WRITES, _COMMIT_READS = 12, 20  # owner file, model, report, manifest, pointer


@dataclass(frozen=True)
class Requests:
    """Requests by what they cost."""

    writes: float  # PUT, POST, COPY and LIST
    reads: float  # GET and HEAD

    def __add__(self, other: "Requests") -> "Requests":
        """Return both together."""
        return Requests(self.writes + other.writes, self.reads + other.reads)

    def times(self, count: float) -> "Requests":
        """Return so many of them."""
        return Requests(self.writes * count, self.reads * count)

    @property
    def all(self) -> float:
        """How many there are."""
        return self.writes + self.reads


OF_MODEL = Requests(0, 4)  # once a worker: HEAD and GET of two files


def of_partition(read_bytes: float, written: Mapping[str, float]) -> Requests:
    """Return what scoring a partition takes, by the sizes of its features and of the files it writes."""
    return Requests(_WRITES + sum(map(of_upload, written.values())), _READS + ceil(read_bytes / PART_BYTES))


def of_upload(size: float) -> int:
    """Return the writes of one file: one, or beginning, parts and end."""
    return 1 if size < PART_BYTES else 2 + ceil(size / PART_BYTES)


def of_merge(row_groups: int) -> Requests:
    """Return what the client takes to add a partition of so many row groups to the report."""
    return Requests(0, _SUM_READS + _SCORED_READS + 2 * row_groups)


def waits_of_merge(row_groups: int) -> float:
    """Return for how many answers, one after the other, the client waits for a partition."""
    return of_merge(row_groups).reads / PREFETCH


def of_stamp(read_bytes: float) -> Requests:
    """Return what the client takes to stamp a partition's features: it reads all of them."""
    return Requests(0, 1 + ceil(read_bytes / PART_BYTES))


def of_commit(files: int) -> Requests:
    """Return what committing a run of so many files takes."""
    return Requests(_COMMIT_WRITES + ceil(files / _LISTED_AT_ONCE), _COMMIT_READS)
