"""Tables that are kept from run to run: names that hold a digest, and short SQL."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from churn.core.names import IDENTIFIER, identifier
from churn.warehouse.base import Session, Warehouse
from churn.warehouse.templates import render

_DIGEST = 8


@dataclass(frozen=True)
class VersionedTables:
    """What the kept tables are made of.

    Attributes:
        schema: where they lie.
        digest: ends their names.
        names: what their templates may use.
        values: what their statements may bind.
    """

    schema: str
    digest: str
    names: Mapping[str, Any]
    values: Mapping[str, Any]

    def name(self, name: str) -> str:
        """Return what a kept table is called within its schema."""
        return identifier(f"{name}_{self.digest}")

    def table(self, name: str) -> str:
        """Return the qualified name of a kept table."""
        return f"{self.schema}.{self.name(name)}"


def digest(made_of: Sequence[Any]) -> str:
    """Return a few characters that differ where a definition does: of JSON values and dates."""
    return hashlib.sha256(json.dumps(made_of, default=str).encode()).hexdigest()[:_DIGEST]


def utc_now() -> datetime:
    """Return the time that a ledger's row gets: UTC, to the second."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def run(warehouse: Warehouse, session: Session | Warehouse, text: str, values: Mapping[str, Any]) -> int:
    """Run a short statement, written in Redshift's dialect; return the rows it changed."""
    statement = render(text, {}, values, "kept", warehouse.dialect)
    return session.execute(statement.sql, statement.parameters)


def query(
    warehouse: Warehouse, session: Session | Warehouse, text: str, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run a short query, written in Redshift's dialect; return its rows."""
    statement = render(text, {}, values, "kept", warehouse.dialect)
    found: list[dict[str, Any]] = session.fetch(statement.sql, statement.parameters).to_pylist()
    return found


def table_names(warehouse: Warehouse, schema: str) -> list[str]:
    """Return the tables of a schema, sorted: those of every definition that was ever kept there."""
    text = "select table_name from information_schema.tables where table_schema = :schema"
    return sorted(row["table_name"] for row in query(warehouse, warehouse, text, {"schema": schema}))


def names_by_schema(warehouse: Warehouse) -> dict[str, list[str]]:
    """Return the tables of every schema that could be one for kept tables, all sorted; views are none."""
    text = "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
    found: dict[str, list[str]] = {}
    for row in sorted(query(warehouse, warehouse, text, {}), key=lambda row: row["table_name"]):
        if IDENTIFIER.match(row["table_schema"]):
            found.setdefault(row["table_schema"], []).append(row["table_name"])
    return dict(sorted(found.items()))
