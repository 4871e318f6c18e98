"""Write the table ``events.activity``, sorted, and summarise it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from churn.sources.ingest.columns import CONTRACT
from churn.sources.ingest.engine import identifier, literal
from churn.sources.ingest.extra import Extra
from churn.sources.ingest.log import Log
from churn.sources.ingest.rules import blank_sql, number_sql
from churn.sources.ingest.times import Clock

TABLE_FOLDER = "tables/events.activity"
_ROW_GROUP = 122_880  # DuckDB's own unit of parallel reading
_MOST_LISTED = 50
_WEEKS_COUNTED = 52
_ROW_GROUPS_A_FILE = 32  # some 4 million rows, 50 to 100 MB


@dataclass(frozen=True)
class ProductSummary:
    """One product's size and times, its categories and its devices, each the largest first.

    ``weekly_users`` is the mean number of users a week, over the latest 52 weeks with any.
    """

    rows: int
    users: int
    weekly_users: int
    categories: tuple[str, ...]
    devices: tuple[str, ...]
    first: datetime = datetime.min
    last: datetime = datetime.max


@dataclass(frozen=True)
class Summary:
    """A summary of the table.

    Attributes:
        most_rows: rows of the user with the most rows.
        products: by the raw value of the product column.
    """

    rows: int
    users: int
    first: datetime
    last: datetime
    duplicates: int
    products: Mapping[str, ProductSummary]
    most_rows: int = 0


def write_activity(
    con: Any,
    log: Log,
    column_of: Mapping[str, str],
    clock: Clock,
    stage: Path,
    extras: Sequence[Extra] = (),
) -> list[Path]:
    """Write ``events.activity`` and return its files in order.

    Rows are sorted by week, so that a run reads only the weeks it needs; then by user, so that ids compress
    well; then by all other columns, so that the same log gives the same order.
    """
    folder = stage / TABLE_FOLDER
    folder.mkdir(parents=True)
    expressions = {name: _column(log, column_of, name, clock) for name in CONTRACT}
    expressions |= {extra.kept: extra.sql(log) for extra in extras}
    listed = ", ".join(f"{sql} AS {name}" for name, sql in expressions.items())
    con.execute(
        f"COPY (SELECT * FROM (SELECT {listed} FROM {log.scan}) ORDER BY date_trunc('week', occurred_at), "
        f"user_id, occurred_at, product, category, item_id, device, value) TO {literal(str(folder))} "
        "(FORMAT parquet, COMPRESSION zstd, "
        f"ROW_GROUP_SIZE {_ROW_GROUP}, ROW_GROUPS_PER_FILE {_ROW_GROUPS_A_FILE}, "
        "FILENAME_PATTERN 'part-{i}', OVERWRITE_OR_IGNORE)"
    )
    parts: list[Path] = []
    for path in sorted(folder.glob("part-*.parquet"), key=lambda path: int(path.stem.removeprefix("part-"))):
        parts.append(path.rename(folder / f"part-{len(parts):05d}.parquet"))
    return parts


def _column(log: Log, column_of: Mapping[str, str], name: str, clock: Clock) -> str:
    column = column_of.get(name)
    if name == "occurred_at":
        return clock.sql
    if name == "value":
        return "CAST(1 AS DOUBLE)" if column is None else f"coalesce({number_sql(log, column)}, 0)"
    if column is None:
        return "'main'" if name == "product" else "CAST(NULL AS VARCHAR)"
    text = f"CAST({identifier(column)} AS VARCHAR)"
    return (
        text if name in ("user_id", "product") else f"CASE WHEN NOT {blank_sql(log, column)} THEN {text} END"
    )


def summarise(con: Any, parts: Sequence[Path]) -> Summary:
    """Return a summary of a written table."""
    scan = f"read_parquet([{', '.join(literal(str(part)) for part in parts)}])"
    rows, users, first, last, most = con.execute(
        "SELECT sum(n), count(*), min(first), max(last), max(n) FROM (SELECT count(*) AS n, "
        f"min(occurred_at) AS first, max(occurred_at) AS last FROM {scan} GROUP BY user_id)"
    ).fetchone()
    # Equal rows are neighbours in the sorted files, so one pass finds them in constant memory.
    (duplicates,) = con.execute(
        f"SELECT count(*) FILTER (h = before) FROM (SELECT h, lag(h) OVER () AS before FROM "
        f"(SELECT hash({', '.join(CONTRACT)}) AS h FROM {scan}))"
    ).fetchone()
    sizes = con.execute(
        "SELECT product, count(*), count(DISTINCT user_id), min(occurred_at), max(occurred_at) "
        f"FROM {scan} GROUP BY 1"
    ).fetchall()
    weekly = _weekly_users(con, scan)
    categories, devices = _largest(con, scan, "category"), _largest(con, scan, "device")
    products = {
        product: ProductSummary(
            int(count),
            int(people),
            weekly[product],
            tuple(categories.get(product, ())),
            tuple(devices.get(product, ())),
            began,
            ended,
        )
        for product, count, people, began, ended in sizes
    }
    return Summary(int(rows), int(users), first, last, int(duplicates), products, int(most))


def _weekly_users(con: Any, scan: str) -> dict[str, int]:
    """Return the mean number of users a week by product, over its latest 52 weeks with any."""
    weeks = (
        "SELECT product, date_trunc('week', occurred_at) AS week, count(DISTINCT user_id) AS users "
        f"FROM {scan} GROUP BY ALL"
    )
    rows = con.execute(
        f"SELECT product, round(avg(users)) FROM (SELECT * FROM ({weeks}) "
        f"QUALIFY row_number() OVER (PARTITION BY product ORDER BY week DESC) <= {_WEEKS_COUNTED}) "
        "GROUP BY ALL"
    ).fetchall()
    return {product: int(users) for product, users in rows}


def _largest(con: Any, scan: str, column: str) -> dict[str, list[str]]:
    """Return up to 50 values of a column by product, most events first."""
    rows = con.execute(
        f"SELECT product, {column} FROM (SELECT product, {column}, count(*) AS n FROM {scan} "
        f"WHERE {column} IS NOT NULL GROUP BY ALL) "
        f"QUALIFY row_number() OVER (PARTITION BY product ORDER BY n DESC, {column}) <= {_MOST_LISTED} "
        f"ORDER BY product, n DESC, {column}"
    ).fetchall()
    values: dict[str, list[str]] = {}
    for product, value in rows:
        values.setdefault(product, []).append(value)
    return values
