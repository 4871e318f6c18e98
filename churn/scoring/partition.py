"""The task and the result of one partition, and their sum over a run."""

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pydantic import BaseModel, ConfigDict

from churn.config.explain import ContributionType
from churn.core.errors import CheckError
from churn.lake.manifest import FileStamp

_logger = logging.getLogger(__name__)


def partition_name(index: int) -> str:
    """Return a partition's name in file names and messages: ``part-00003``."""
    return f"part-{index:05d}"


@dataclass(frozen=True)
class PartitionTask:
    """The input of a worker for one partition."""

    index: int  # the same in features and outputs
    features: str  # Parquet, a path or fsspec URL
    run_folder: str  # the folder of the unfinished run, a path or fsspec URL
    product: str
    as_of: date
    target_week_start: date  # Monday of the target week
    run_id: str
    model_folder: str
    score_datetime: datetime  # one moment for the whole run, with a time zone; written in UTC
    reasons: int = 5  # for each user
    contributions: ContributionType = "float32"  # `none` = they are not written
    sentences: bool = False  # whether reasons have sentences, from the run's logs/features.json
    themes: bool = False  # whether contributions are summed up by feature group, from the same file
    learner_scores: bool = False  # whether each learner of a stack has scores of its own
    batch_rows: int | None = None  # rows in memory at once; None = as many as their features allow

    @property
    def name(self) -> str:
        """The partition's name in file names and messages: ``part-00003``."""
        return partition_name(self.index)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all attributes: it tells whether a stored result is of this task."""
        return hashlib.sha256(json.dumps(vars(self), default=str, sort_keys=True).encode()).hexdigest()


class PartitionResult(BaseModel):
    """The result of one partition: what the run's totals need."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    index: int
    task: str  # its fingerprint
    rows: int  # users scored
    files: dict[str, FileStamp]  # size and SHA-256 of its file in each dataset
    model_version: str
    bias: float  # log-odds
    probability_sum: float
    classified: int  # users at or above the threshold
    margin_range: tuple[float, float] | None  # least and greatest margin; None without rows
    checked_rows: int  # users whose margin XGBoost predicted too
    additivity_gap: float  # largest difference between bias + contributions and that margin, log-odds
    rounding: float  # largest rounding error of contributions written as float16, log-odds; 0 for float32
    ignored: tuple[str, ...]  # columns of the features file that the model does not use
    seconds: dict[str, float]  # wall time by stage
    cpu: dict[str, float]  # CPU time by stage

    @property
    def bytes(self) -> int:
        """Total size of its files."""
        return sum(stamp.size for stamp in self.files.values())


@dataclass(frozen=True)
class RunSummary:
    """Totals over the partitions of a run."""

    partitions: int
    rows: int  # users scored
    bytes: int  # total size of the files
    datasets: frozenset[str]  # those written
    model_version: str
    bias: float  # log-odds
    mean_probability: float
    classified: int  # users at or above the threshold
    checked_rows: int  # users whose margin XGBoost predicted too
    additivity_gap: float  # largest difference between bias + contributions and that margin, log-odds
    rounding: float  # largest rounding error of contributions written as float16, log-odds; 0 for float32
    ignored: tuple[str, ...]  # columns of the features file that the model does not use
    cpu: dict[str, float]  # CPU seconds of the workers by stage


def summarise_partitions(
    rows: Sequence[PartitionResult], expected: Sequence[int] | None = None
) -> RunSummary:
    """Return the totals over the partitions of a run.

    Args:
        rows: the results of all partitions, in any order.
        expected: number of feature rows of each partition, by index; None = unknown.

    Raises:
        CheckError: a partition is missing, occurs twice, or has another model or number of rows; or every
            user has the same score.
    """
    rows = sorted(rows, key=lambda row: row.index)
    total = sum(row.rows for row in rows)
    failures = _partition_failures(rows, expected)
    ranges = [row.margin_range for row in rows if row.margin_range is not None]
    if total > 1 and min(low for low, _ in ranges) == max(high for _, high in ranges):
        failures.append(f"all {total:,} users have the same score: the model tells nobody apart")
    if failures:
        raise CheckError("scoring", failures)
    ignored = tuple(dict.fromkeys(name for row in rows for name in row.ignored))
    if ignored:
        _logger.info("columns that the model does not use were ignored: %s", ", ".join(ignored))
    stages = dict.fromkeys(stage for row in rows for stage in row.cpu)
    return RunSummary(
        partitions=len(rows),
        rows=total,
        bytes=sum(row.bytes for row in rows),
        datasets=frozenset(name for row in rows for name in row.files),
        model_version=rows[0].model_version,
        bias=rows[0].bias,
        mean_probability=sum(row.probability_sum for row in rows) / total if total else math.nan,
        classified=sum(row.classified for row in rows),
        checked_rows=sum(row.checked_rows for row in rows),
        additivity_gap=max(row.additivity_gap for row in rows),
        rounding=max(row.rounding for row in rows),
        ignored=ignored,
        cpu={stage: sum(row.cpu.get(stage, 0.0) for row in rows) for stage in stages},
    )


def _partition_failures(rows: Sequence[PartitionResult], expected: Sequence[int] | None) -> list[str]:
    if not rows:
        return ["there are no partitions: nobody was scored"]
    found = Counter(row.index for row in rows)
    count = len(found) if expected is None else len(expected)
    failures = [f"{partition_name(index)} is missing" for index in range(count) if index not in found]
    for index, times in sorted(found.items()):
        if index >= count:
            failures.append(f"{partition_name(index)} is not of this run")
        if times > 1:
            failures.append(f"{partition_name(index)} is there {times} times")
    if expected is not None:
        failures += [
            f"{partition_name(row.index)} has {row.rows:,} rows, its features have {expected[row.index]:,}"
            for row in rows
            if row.index < count and row.rows != expected[row.index]
        ]
    versions = sorted({row.model_version for row in rows})
    if len(versions) > 1:
        failures.append(f"partitions were scored by different models: {', '.join(versions)}")
    return failures
