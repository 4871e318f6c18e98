"""A log seen through computed columns and a filter: what named formats and paths into columns are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from churn.core.errors import UsageError
from churn.sources.ingest.engine import FAULT, LINE, identifier
from churn.sources.ingest.log import Log
from churn.sources.ingest.paths import read_path


@dataclass(frozen=True)
class Computed:
    """A computed column.

    Attributes:
        sql: SQL over the log's own columns.
        kind: its DuckDB type.
        needs: the log's columns that it reads.
    """

    sql: str
    kind: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class View(Log):
    """A log with computed columns; rows that a filter does not keep are left out.

    Attributes:
        base: the log below.
        computed: column to how it is computed.
        always: computed columns that are localised even if nobody wants them.
        kept: SQL condition over computed columns, true for rows to keep; empty keeps every row.
        unfiltered: after localising, SQL that scans every row, also those left out.
    """

    base: Log = field(kw_only=True)
    computed: Mapping[str, Computed] = field(kw_only=True)
    always: tuple[str, ...] = ()
    kept: str = ""
    unfiltered: str = ""

    def localise(self, con: Any, stage: Path, column_of: Mapping[str, str]) -> "View":
        """Return the view over the localised log, its rows numbered as in their files."""
        chosen = sorted({*column_of.values(), *self.always})
        base = self.base.localise(con, stage, self._own(column_of, chosen))
        listed = "".join(f", {self._computed(name).sql} AS {identifier(name)}" for name in chosen)

        def every(scan: str) -> str:
            line, fault = identifier(LINE), identifier(FAULT)
            if not base.numbered:
                scan = f"(SELECT *, row_number() OVER () AS {line}, NULL AS {fault} FROM {scan})"
            return f"(SELECT {line}, {fault}{listed} FROM {scan})"

        def wrapped(scan: str) -> str:
            if not self.kept:
                return every(scan)
            return f"(FROM {every(scan)} WHERE {identifier(FAULT)} IS NOT NULL OR ({self.kept}))"

        return replace(
            self,
            kind="parquet",
            parts=tuple(replace(part, scan=wrapped(part.scan)) for part in base.parts),
            scan=wrapped(base.scan),
            unfiltered=every(base.scan),
            numbered=base.numbered or "row",
            faults=base.faults,
            rejected=base.rejected,
        )

    def _own(self, column_of: Mapping[str, str], chosen: Sequence[str]) -> dict[str, str]:
        """Return the wanted columns of the log below; plain ones by the name of the contract."""
        own = {name: self._computed(column).needs for name, column in column_of.items()}
        wanted = {name: needs[0] for name, needs in own.items() if len(needs) == 1}
        for need in (need for name in chosen for need in self._computed(name).needs):
            if need not in wanted.values():
                wanted[f"inside {need}"] = need
        return wanted

    def _computed(self, name: str) -> Computed:
        return self.computed.get(name) or Computed(identifier(name), self.columns[name], (name,))


def with_paths(log: Log, wanted: Iterable[str]) -> Log:
    """Return a log that also has the wanted paths into its columns, as columns of text.

    Texts that are no path, or lead into a column that the log does not have, are left to the caller.
    """
    computed: dict[str, Computed] = {}
    for text in wanted:
        if not text or text in log.columns:
            continue
        try:
            path = read_path(text)
        except UsageError:
            continue
        if path.steps and path.column in log.columns:
            computed[text] = Computed(path.sql(log.columns[path.column]), "VARCHAR", (path.column,))
    if not computed:
        return log
    columns = {**log.columns, **{name: column.kind for name, column in computed.items()}}
    return View(
        log.label,
        log.kind,
        log.parts,
        columns,
        log.scan,
        log.timezone,
        log.value_unit,
        log.verb,
        base=log,
        computed=computed,
    )
