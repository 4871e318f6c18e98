"""An event log that DuckDB can scan: its parts, its columns, and the SQL that scans them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from churn.core.errors import SourceError
from churn.sources.ingest.engine import file_literal

_MOST_FAULTS = 20
NOT_TAKEN = "was not taken, and nothing was written"


@dataclass(frozen=True)
class Rejected:
    """A line that the reader left out: its file, its number as an editor counts, and why, without the row."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Part:
    """One file of a log: its name for messages, and the SQL that scans it."""

    label: str
    scan: str


@dataclass(frozen=True)
class Log:
    """An event log that DuckDB can scan.

    Attributes:
        label: its name for messages.
        kind: ``parquet``, ``csv``, ``json`` or ``sql`` (a named source).
        parts: its files, in order.
        columns: column to DuckDB type, in the log's order.
        scan: SQL that scans all of it.
        timezone: default zone to which instants are converted.
        value_unit: unit of its value.
        verb: what people do with its products, for the report's sentences.
        shown: contract column to the name shown as its origin, if that is not a column.
        repeated: columns that a header names more than once; they cannot be used.
        faults: what is wrong with lines that were left out, in words.
        rejected: the lines that were left out; none where ``faults`` tell of a fault after which nothing in
            a file is sure.
        numbered: ``line`` or ``row`` if the parts hold the columns LINE and FAULT; empty if they do not.
        decimal: the sign before decimals in values that are text.
        source_timezone: zone in which times without a zone were written; empty if that is unknown.
    """

    label: str
    kind: str
    parts: tuple[Part, ...]
    columns: Mapping[str, str]
    scan: str
    timezone: str = "UTC"
    value_unit: str = "units"
    verb: str = "used"
    shown: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    numbered: str = ""
    decimal: str = "."
    source_timezone: str = ""

    def localise(self, con: Any, stage: Path, column_of: Mapping[str, str]) -> "Log":
        """Return a log that is cheap to scan repeatedly and whose rows can be numbered.

        Args:
            con: a DuckDB connection.
            stage: the staging folder.
            column_of: contract column to the log's column: the columns that are wanted.
        """
        return self


def listed_faults(label: str, says: str, faults: Sequence[str]) -> str:
    """Return a message that lists faults, one a line."""
    lines = "".join(f"\n  - {fault}" for fault in faults[:_MOST_FAULTS])
    more = f"\n  - and {len(faults) - _MOST_FAULTS:,} more" if len(faults) > _MOST_FAULTS else ""
    return f"{label} {says}:{lines}{more}"


def refusal(label: str, says: str, faults: Sequence[str]) -> SourceError:
    """Return the error of one or several files; each fault names its file."""
    return SourceError(faults[0] if len(faults) == 1 else listed_faults(label, says, faults))


def scan_parquet(paths: Sequence[Path]) -> str:
    """Return SQL that scans Parquet files of the same columns."""
    return f"read_parquet([{', '.join(map(file_literal, paths))}], hive_partitioning = false)"
