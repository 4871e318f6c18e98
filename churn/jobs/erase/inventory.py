"""Where user ids are kept. Erasure goes by this list.

The datasets of a run and the published tables come from ``churn.core.datasets``. A test walks a committed run
and a warehouse, and fails where it finds a user id that is not listed here.
"""

import re
from collections.abc import Mapping

from churn.core.datasets import DATASETS, PUBLISHED, USER_ID

# Dataset of a run -> the column of its Parquet files with the user id.
RUN_DATASETS: Mapping[str, str] = {
    dataset.name: dataset.user_column for dataset in DATASETS if dataset.user_column is not None
}
# Published table of users -> the column of churn.published that counts its rows. The setting `id_column`
# names the tables' own id column.
TABLES: Mapping[str, str] = {dataset.published_as: dataset.rows_column for dataset in PUBLISHED}
# Tables in the schema of the setting `kept_schema`; a digest ends each name.
KEPT_TABLES = ("user_week", "user_item_week", "user_life", "user_state", "feature_rows")
KEPT_COLUMN = USER_ID


def is_kept(table: str) -> bool:
    """Return whether a table of the kept schema holds users, by its name."""
    return any(re.fullmatch(rf"{name}_[0-9a-f]+", table) for name in KEPT_TABLES)
