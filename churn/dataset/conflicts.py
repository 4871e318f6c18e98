"""Rows of a source table that contradict each other: counted, warned of, and refused where there are many.

A key, such as a user, should have one row in a table of facts. Rows that say the same count once.
Contradicting rows come from a table that was loaded twice, or from two sources that were mixed.
"""

from collections.abc import Collection
from typing import Any

from churn.config.settings import Settings
from churn.core.calendar import day_offsets
from churn.core.errors import SourceError
from churn.core.timing import StageTimer
from churn.dataset.plan import DatasetPlan
from churn.features.aggregates.tables import query
from churn.features.product_filter import match_names, match_parameters
from churn.sources.contract import KEYED_TABLES, PREDICTIONS, VIEWS, KeyedTable
from churn.warehouse.base import Warehouse
from churn.warehouse.templates import sql_root

# Share of conflicting keys above which a run warns. Below, the terminal and the log count them.
WARNED_SHARE = 0.001
_ACCOUNTS = KeyedTable((), (), "users of the last observed week", "these users are not scored or trained on")


def check_conflicts(
    warehouse: Warehouse, settings: Settings, plan: DatasetPlan, views: Collection[str], stages: StageTimer
) -> tuple[str, ...]:
    """Count keys whose rows contradict each other, in every source table that should have one row a key.

    Args:
        plan: the run's plan; the source views and the weekly aggregates are made.
        views: the source views that can be read.
        stages: logs what is too little to be warned of.

    Returns:
        Warnings, for the caller to log and to report.

    Raises:
        SourceError: in a table more keys than the setting ``max_conflicting`` allows have contradicting rows.
            The message lists every such table.
    """
    available = plan.facts.available
    read = {*views, *([PREDICTIONS] if available.predictions else [])}
    counts = [
        (table, keyed, _count(warehouse, "conflicts", _names(table, keyed)))
        for table, keyed in KEYED_TABLES[plan.source].items()
        if any(table in VIEWS[plan.source][view] for view in read)
    ]
    if available.profile:
        values = {**match_parameters(plan.product), "known_until": plan.windows.as_of}
        names = {**day_offsets(), **match_names(plan.product), "kept": plan.tables.name}
        row = _count(warehouse, "accounts", names, values, plan.schema)
        counts.append(("prez.id_profile", _ACCOUNTS, row))
    warnings, faults = [], []
    for table, keyed, row in counts:
        keys, conflicts = int(row["keys"]), int(row["conflicts"])
        if not conflicts:
            continue
        share = conflicts / keys
        sentence = (
            f"{table}: {conflicts:,} of {keys:,} {keyed.what} ({share:.2%}) have rows that contradict each "
            f"other; {keyed.effect}"
        )
        if share > settings.max_conflicting:
            faults.append(sentence)
        elif share > WARNED_SHARE:
            warnings.append(sentence)
        else:
            stages.log("prepare", sentence)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise SourceError(
            f"rows of source tables contradict each other in more than {settings.max_conflicting:.0%} of the "
            f"keys:\n{listed}\nWas a table loaded twice? Load it once, or raise max_conflicting in churn.toml"
        )
    return tuple(warnings)


def _names(table: str, keyed: KeyedTable) -> dict[str, Any]:
    return {"table": table, "keys": keyed.keys, "facts": keyed.facts, "latest": keyed.latest}


def _count(
    warehouse: Warehouse,
    name: str,
    names: dict[str, Any],
    values: dict[str, Any] | None = None,
    schema: str = "kept",
) -> dict[str, Any]:
    text = (sql_root() / "checks" / f"{name}.sql").read_text("utf-8")
    return query(warehouse, warehouse, text, values or {}, names, schema)[0]
