"""How many rows an engine says that it read from a source table: from its own profile of each statement."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from churn.warehouse.duckdb import client, session


class _ProfiledCursor(session.DuckDBSession):
    def __init__(self, cursor: Any, database: Path | None, profiles: list[dict[str, Any]]) -> None:
        super().__init__(cursor, database)
        self._profiles = profiles
        cursor.execute("pragma enable_profiling = 'no_output'")

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
        changed = super().execute(sql, parameters)
        self._keep(sql)
        return changed

    def fetch(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        found = super().fetch(sql, parameters)
        self._keep(sql)
        return found

    def _keep(self, sql: str) -> None:
        self._profiles.append({**json.loads(self._cursor.get_profiling_information()), "sql": sql})


class ProfiledWarehouse(client.DuckDBWarehouse):
    """DuckDB that keeps the profile of each statement. (Its views' scans name the files that they read.)"""

    def __init__(self, database: Path | None, data: Path, *, memory: str = "4GB", threads: int = 0) -> None:
        self.profiles: list[dict[str, Any]] = []
        super().__init__(database, data, memory=memory, threads=threads)

    def _cursor(self) -> _ProfiledCursor:
        return _ProfiledCursor(self._connection.cursor(), self._database, self.profiles)

    def scans(self, table: str) -> list[tuple[str, int]]:
        """Return each scan of a source table's files: its statement, and the rows that it read.

        Rows that the scan itself leaves out, as their date is not asked for, are not among them.
        """
        return [
            (profile["sql"], node["operator_cardinality"])
            for profile in self.profiles
            for node in _nodes(profile)
            if f"/{table}/" in str((node.get("extra_info") or {}).get("Filename(s)", ""))
        ]


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("children", []):
        yield from _nodes(child)
