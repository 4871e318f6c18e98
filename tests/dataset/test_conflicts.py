"""Rows of a source table that contradict each other are counted, warned of and refused; equal ones count once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.config.settings import Settings
from churn.core.errors import SourceError
from churn.dataset.build import plan_dataset, run_steps
from churn.sources.contract import ACTIVITY, KEYED_TABLES
from churn.warehouse.base import Warehouse
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.data_folders import (
    AS_OF,
    FOLLOWS,
    SEGMENTS,
    TODAY,
    as_text,
    broadcaster_folder,
    broadcaster_rows,
    event_settings,
)

PROFILE = "prez.id_profile"
IPLAYER = {"title": "iPlayer", "match": ["iplayer"], "follows": ["follow"], "factors": 10}
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def tables() -> Rows:
    """The broadcaster's tables, without the few rows that its tables repeat."""
    return {
        name: list({as_text(row): row for row in rows}.values()) for name, rows in broadcaster_rows().items()
    }


@contextmanager
def opened(
    data: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[tuple[Warehouse, Settings]]:
    """A warehouse on these tables, and settings of a product."""
    broadcaster_folder(data, tables)
    settings = Settings.model_validate(event_settings(data, iplayer=IPLAYER).model_dump() | {"source": "bbc"})
    with closing(DuckDBWarehouse(None, data, memory="1GB", threads=1)) as warehouse:
        yield warehouse, settings


def warnings(data: Path, tables: Rows, **changes: Any) -> tuple[str, ...]:
    with opened(data, tables) as (warehouse, settings):
        chosen = settings.model_copy(update=changes)
        return plan_dataset(warehouse, chosen, "iplayer", AS_OF, "run_x", today=TODAY).warnings


def test_tables_that_are_loaded_twice_change_nothing(tmp_path: Path, tables: Rows) -> None:
    found = []
    twice = {name: [*rows, *(rows if name != ACTIVITY else [])] for name, rows in tables.items()}
    for name, given in (("once", tables), ("twice", twice)):
        with opened(tmp_path / name, given) as (warehouse, settings):
            plan = plan_dataset(warehouse, settings, "iplayer", AS_OF, "run_x", today=TODAY)
            run_steps(warehouse, plan)
            assert plan.warnings == ()
            found.append(
                warehouse.fetch("select * from run_x.feature_set order by user_id, as_of_date").to_pylist()
            )
    assert found[0] == found[1] != []


def contradicted(rows: list[dict[str, Any]], fact: str, number: int) -> list[dict[str, Any]]:
    """Rows with a second row for the first ones, which names another value."""
    known = [row for row in rows if row[fact] not in (None, "null", "N/A", "n/a")][:number]
    others = [row | {fact: row[fact] + 1 if isinstance(row[fact], int | float) else "other"} for row in known]
    assert len(others) == number
    return [*rows, *others]


@pytest.mark.parametrize("table", KEYED_TABLES["bbc"])
def test_each_table_of_keys_is_counted_warned_of_and_refused(
    tmp_path: Path, tables: Rows, table: str
) -> None:
    keyed = KEYED_TABLES["bbc"][table]
    rows = [dict.fromkeys([*keyed.keys, *keyed.facts, *row]) | row for row in tables[table]]
    if table == SEGMENTS:  # the latest date has many rows
        rows = [row | {"date_of_segmentation": AS_OF} for row in rows]
    one = tables | {table: contradicted(rows, keyed.facts[0], 1)}
    (warning,) = warnings(tmp_path / "few", one, max_conflicting=0.5)
    assert warning.startswith(f"{table}: 1 of ")
    assert f"{keyed.what} (" in warning
    assert keyed.effect in warning
    with pytest.raises(SourceError, match=r"more than 0% of the keys:\n  - " + table) as refused:
        warnings(tmp_path / "many", one, max_conflicting=0)
    assert "Was a table loaded twice?" in str(refused.value)


def test_accounts_that_contradict_themselves_are_counted_among_present_users(
    tmp_path: Path, tables: Rows
) -> None:
    many = tables | {PROFILE: contradicted(tables[PROFILE], "age", 6)}
    with opened(tmp_path, many) as (warehouse, settings):
        with pytest.raises(
            SourceError, match=r"rows of source tables contradict each other in more than 10%"
        ) as refused:
            plan_dataset(warehouse, settings, "iplayer", AS_OF, "run_x", today=TODAY)
        (row,) = warehouse.fetch(
            "select count(*) as keys, sum(conflicting) as conflicts from run_x.profile where user_id in"
            f" (select audience_id from {ACTIVITY} where destination = 'PS_IPLAYER'"
            f" and date_of_event between date '{AS_OF}' - 6 and date '{AS_OF}'"
            " and page_name = 'play.page')"
        ).to_pylist()
        assert 0 < row["conflicts"] < row["keys"]
        counted = f"{row['conflicts']} of {row['keys']} users of the last observed week"
        assert f"prez.id_profile: {counted}" in str(refused.value)
        chosen = settings.model_copy(update={"max_conflicting": 0.9})
        (warning,) = plan_dataset(warehouse, chosen, "iplayer", AS_OF, "run_y", today=TODAY).warnings
        assert counted in warning
        assert "these users are not scored or trained on" in warning


def test_follows_that_differ_in_a_column_that_is_not_read_all_count(tmp_path: Path, tables: Rows) -> None:
    first = tables[FOLLOWS][0] | {"resourceid": "a"}
    rows = [first, first, first | {"resourceid": "b"}]
    broadcaster_folder(tmp_path, tables)
    pq.write_table(pa.Table.from_pylist(rows), next((tmp_path / "tables" / FOLLOWS).glob("*.parquet")))
    settings = Settings.model_validate(
        event_settings(tmp_path, iplayer=IPLAYER).model_dump() | {"source": "bbc"}
    )
    with closing(DuckDBWarehouse(None, tmp_path, memory="1GB", threads=1)) as warehouse:
        plan_dataset(warehouse, settings, "iplayer", AS_OF, "run_x", today=TODAY)
        assert warehouse.fetch("select count(*) as n from run_x.follows")["n"].to_pylist() == [2]
