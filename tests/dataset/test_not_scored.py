"""One cause for a user who was not scored."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

from churn.config.settings import Settings
from churn.core.calendar import Windows
from churn.dataset.build import plan_dataset
from churn.dataset.not_scored import why_not_scored
from churn.warehouse.base import Warehouse
from churn.warehouse.open import open_in_memory
from tests.support.data_folders import AS_OF, event, event_folder, event_settings, weekly_events

MONTH_AGO = AS_OF - timedelta(weeks=4)


def aggregated(data: Path, settings: Settings) -> Warehouse:
    """A warehouse that has aggregated the activity, as a run leaves it."""
    warehouse = open_in_memory(settings)
    plan_dataset(warehouse, settings, "tv", AS_OF, "run_tv")
    return warehouse


def test_each_cause_is_told_alone(tmp_path: Path) -> None:
    rows = [
        *weekly_events(["regular"], 30, product="tv"),
        event("gone", MONTH_AGO, product="tv", value=500.0),
        event("little", AS_OF, product="tv", value=3.0),
        event("other", AS_OF, product="radio", value=500.0),
    ]
    data = event_folder(tmp_path, rows)
    settings = event_settings(data, tv={"title": "TV", "match": ["tv"], "minimum_value": 10})
    with closing(aggregated(data, settings)) as warehouse:

        def why(user: str) -> str | None:
            return why_not_scored(warehouse, settings, "tv", Windows(AS_OF), user)

        assert why("nobody") == f"the activity up to {AS_OF} has no such id"
        assert why("gone") == (
            f"last active on {MONTH_AGO}, and only users active in the week to {AS_OF} are scored"
        )
        assert why("little") == "3 units in 13 weeks, and only users with more than 10 are scored"
        assert why("other") == f"never active with TV up to {AS_OF}, only with other products"
        assert why("regular") is None
        assert why("x' or 'a' = 'a") == f"the activity up to {AS_OF} has no such id"


def test_without_kept_activity_there_is_no_cause(tmp_path: Path) -> None:
    data = event_folder(tmp_path, [event("a", AS_OF, product="tv")])
    settings = event_settings(data, tv={"title": "TV", "match": ["tv"]})
    with closing(open_in_memory(settings)) as warehouse:
        assert why_not_scored(warehouse, settings, "tv", Windows(AS_OF), "a") is None
