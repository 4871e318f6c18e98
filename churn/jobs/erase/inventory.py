"""Where user ids are kept: the one list that erasure goes by.

A test walks a committed run and a warehouse, and fails where a user id is kept that this list does not know.
"""

import re
from collections.abc import Mapping

from churn.config.settings import Settings

# Datasets of a run, the folders of its Parquet files, and the column of each that holds the user id.
RUN_DATASETS: Mapping[str, str] = {
    "features": "user_id",
    "scores": "user_id",
    "shap": "user_id",
    "reasons": "user_id",
}
PUBLISHED = "churn"  # the schema of the published tables
# What is published, and how many rows of each table: totals, but whoever publishes locks it first.
RECORD = f"{PUBLISHED}.published"
# Published tables of users, each of which calls the id as the setting `id_column` says; and the record's
# column that counts its rows.
TABLES: Mapping[str, str] = {f"{PUBLISHED}.scores": "score_rows", f"{PUBLISHED}.reasons": "reason_rows"}


# What is kept of users from run to run, in the schema that the setting `kept_schema` names; a digest ends
# each name.
KEPT_TABLES = ("user_week", "user_item_week", "user_life", "user_state", "feature_rows")
KEPT_COLUMN = "user_id"


def is_kept(table: str) -> bool:
    """Tell whether a table of the kept schema holds users, by its name."""
    return any(re.fullmatch(rf"{name}_[0-9a-f]+", table) for name in KEPT_TABLES)


def table_columns(settings: Settings) -> dict[str, str]:
    """Return the published tables that may hold users, and the column of each that holds the id."""
    return dict.fromkeys(TABLES, settings.id_column)
