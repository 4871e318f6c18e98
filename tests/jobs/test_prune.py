"""Retention: which runs go, that nobody meets half of one, and that the current run never does."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.core.errors import RunError, UsageError
from churn.lake import staging_local
from churn.lake.lake import Lake, Pruned
from churn.lake.staging_s3 import S3Staging
from tests.support.lakes import (
    AS_OF,
    PLACES,
    STARTED,
    WEEK,
    DiskPlace,
    Place,
    commit,
    disk_and_s3,
    own_settings,
    pointed,
    visible,
)

_settings = pytest.fixture(autouse=True)(own_settings)
place = pytest.fixture(params=PLACES)(disk_and_s3)
WEEKS = 5


@pytest.fixture
def lake(place: Place) -> Lake:
    """Five target weeks of food, two runs in the third; one of drink."""
    lake = Lake(place.root)
    for back in range(WEEKS):
        commit(lake, f"w{back}", as_of=AS_OF - timedelta(weeks=back))
    commit(lake, "w2-again", as_of=AS_OF - timedelta(weeks=2), started_at=STARTED + timedelta(hours=1))
    commit(lake, "d", product="drink", as_of=AS_OF - timedelta(weeks=9))
    return lake


def ids(lake: Lake, product: str | None = None) -> list[str]:
    return [run.manifest.run_id for run in lake.runs(product)]


def test_the_newest_weeks_are_kept_with_all_their_runs(lake: Lake, place: Place) -> None:
    pruned = lake.prune("food", 3, dry_run=False)

    assert [(old.run_id, old.week_start) for old in pruned] == [
        ("w4", WEEK - timedelta(weeks=4)),
        ("w3", WEEK - timedelta(weeks=3)),
    ]
    assert ids(lake) == ["d", "w2", "w2-again", "w1", "w0"]
    assert not [name for name in place.names() if "run=w3" in name or "run=w4" in name]
    assert not [name for name in place.names() if ".owner" in name]
    assert pointed(place) == "w0"
    for run in lake.runs():
        run.verify(checksums=True)
    assert lake.prune("food", 3, dry_run=False) == []


def test_a_dry_run_tells_the_same_and_removes_nothing(lake: Lake, place: Place) -> None:
    before = place.names()
    told = lake.prune("food", 2, dry_run=True)
    assert place.names() == before
    assert lake.prune("food", 2, dry_run=False) == told
    assert [old.run_id for old in told] == ["w4", "w3", "w2", "w2-again"]
    assert {old.files for old in told} == {2}
    assert all(old.bytes > 500 for old in told)


def test_each_product_keeps_its_own_weeks(lake: Lake, place: Place) -> None:
    assert [old.run_id for old in lake.prune(None, 1, dry_run=False)] == ["w4", "w3", "w2", "w2-again", "w1"]
    assert ids(lake) == ["d", "w0"]
    assert (pointed(place, "drink"), pointed(place, "food")) == ("d", "w0")


def test_a_run_that_is_being_written_is_no_week_that_counts_and_stays(lake: Lake) -> None:
    with (
        lake.start_run("food", WEEK + timedelta(weeks=1), "next"),
        lake.start_run("food", date(2026, 1, 5), "backfill"),
    ):
        assert lake.prune("food", WEEKS, dry_run=False) == []
        assert [old.run_id for old in lake.prune("food", WEEKS - 1, dry_run=False)] == ["w4"]
        assert ids(lake, "food")[-1] == "w0"


@pytest.mark.parametrize("weeks", [0, -1])
def test_the_current_run_cannot_be_pruned(lake: Lake, weeks: int) -> None:
    with pytest.raises(UsageError, match="keep 1 at least"):
        lake.prune("food", weeks, dry_run=False)
    assert len(ids(lake)) == WEEKS + 2


def test_an_unknown_product_has_nothing_to_prune_and_a_hostile_one_is_refused(lake: Lake) -> None:
    assert lake.prune("nothing", 1, dry_run=False) == []
    with pytest.raises(UsageError, match="cannot name a folder"):
        lake.prune("../food", 1, dry_run=False)


def test_pruning_that_is_cut_short_leaves_whole_runs_and_is_swept(
    lake: Lake, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = visible(place)

    def stop(*_: Any) -> bool:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        # A kill after the run went out of sight, and before its files did.
        if isinstance(place, DiskPlace):
            remove = staging_local.remove_folder
            calls = []

            def second(folder: str) -> bool:
                calls.append(folder)
                return remove(folder) if len(calls) == 1 else stop()

            patch.setattr(staging_local, "remove_folder", second)
        else:
            patch.setattr(S3Staging, "list", stop)
        with pytest.raises(RunError, match="pruning the lake"):
            lake.prune("food", 4, dry_run=False)

    assert ids(lake, "food") == ["w3", "w2", "w2-again", "w1", "w0"]
    assert visible(place) == [name for name in before if "run=w4" not in name]
    assert [name for name in place.names() if "w4" in name], "its files are still there"
    lake.start_run("food", WEEK, "next").discard()
    left = [name for name in place.names() if "w4" in name and not name.endswith(".owner")]
    assert left == []


@given(weeks=st.lists(st.integers(0, 8), max_size=8), keep=st.integers(1, 9))
def test_what_is_kept_are_the_newest_weeks_that_have_runs(
    tmp_path_factory: pytest.TempPathFactory, weeks: list[int], keep: int
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for number, back in enumerate(weeks):
        commit(lake, f"r{number}", as_of=AS_OF - timedelta(weeks=back))
    pruned = lake.prune("food", keep, dry_run=False)

    kept = sorted({run.manifest.target_week_start for run in lake.runs()})
    all_weeks = sorted({WEEK - timedelta(weeks=back) for back in weeks})
    assert kept == all_weeks[-keep:]
    assert {old.week_start for old in pruned} == set(all_weeks) - set(kept)
    assert len(pruned) + len(lake.runs()) == len(weeks)
    assert all(isinstance(old, Pruned) for old in pruned)
