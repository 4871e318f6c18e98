"""Tables that stay from run to run: names that end in a digest, and short SQL."""

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
    """Tables that one definition makes.

    Attributes:
        schema: the schema that has them.
        digest: of the definition; their names end in it.
        names: what their SQL templates may use.
        values: what their statements may bind.
    """

    schema: str
    digest: str
    names: Mapping[str, Any]
    values: Mapping[str, Any]

    @property
    def in_templates(self) -> dict[str, Any]:
        """What their SQL templates may use: ``names``, and ``kept``, which qualifies a table's name."""
        return {"kept": self.table, **self.names}

    def name(self, name: str) -> str:
        """Return a table's name without its schema."""
        return identifier(f"{name}_{self.digest}")

    def table(self, name: str) -> str:
        """Return a table's qualified name."""
        return f"{self.schema}.{self.name(name)}"


def digest(definition: Sequence[Any]) -> str:
    """Return eight hexadecimal digits that change with a definition of JSON values and dates."""
    return hashlib.sha256(json.dumps(definition, default=str).encode()).hexdigest()[:_DIGEST]


def utc_now() -> datetime:
    """Return the present time in UTC, to the second, without a time zone."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def run(warehouse: Warehouse, session: Session | Warehouse, text: str, values: Mapping[str, Any]) -> int:
    """Run a short statement in Redshift's dialect; return how many rows it changed."""
    statement = render(text, {}, values, "kept", warehouse.dialect)
    return session.execute(statement.sql, statement.parameters)


def query(
    warehouse: Warehouse,
    session: Session | Warehouse,
    text: str,
    values: Mapping[str, Any],
    names: Mapping[str, Any] | None = None,
    schema: str = "kept",
) -> list[dict[str, Any]]:
    """Run a short query in Redshift's dialect; return its rows. See ``render`` for names and schema."""
    statement = render(text, names or {}, values, schema, warehouse.dialect)
    rows: list[dict[str, Any]] = session.fetch(statement.sql, statement.parameters).to_pylist()
    return rows


def table_names(warehouse: Warehouse, schema: str) -> list[str]:
    """Return the names of a schema's tables, sorted; tables of every definition are among them."""
    text = "select table_name from information_schema.tables where table_schema = :schema"
    return sorted(row["table_name"] for row in query(warehouse, warehouse, text, {"schema": schema}))


def names_by_schema(warehouse: Warehouse) -> dict[str, list[str]]:
    """Return the names of all tables, without views, by schema; both are sorted."""
    text = "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
    names: dict[str, list[str]] = {}
    for row in sorted(query(warehouse, warehouse, text, {}), key=lambda row: row["table_name"]):
        if IDENTIFIER.match(row["table_schema"]):
            names.setdefault(row["table_schema"], []).append(row["table_name"])
    return dict(sorted(names.items()))
