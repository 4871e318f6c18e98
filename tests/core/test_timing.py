"""Progress of a stage: on a terminal once a second, in a log every half minute."""

import logging
import time

import pytest

from churn.core import timing
from churn.core.timing import StageTimer


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test moves on."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_progress_is_shown_every_second_and_logged_every_half_minute(caplog, clock):
    caplog.set_level(logging.INFO, "churn.core.live")
    caplog.set_level(logging.INFO, "churn.core.timing")
    stages = StageTimer("food")
    for tenth in range(900):
        clock[0] = 1_000 + tenth / 10
        stages.progress("train", f"round {tenth}")
    shown = [record.getMessage() for record in caplog.records if record.name == "churn.core.live"]
    logged = [record for record in caplog.records if record.name == "churn.core.timing"]
    assert len(shown) == 90
    assert shown[1].split() == ["food", "train", "round", "10"]
    assert [record.getMessage().split()[-1] for record in logged] == ["300", "600"]
    assert all(record.progress for record in logged)


def test_a_stage_clears_what_was_shown_also_if_it_fails(caplog):
    caplog.set_level(logging.INFO, "churn.core.live")
    stages = StageTimer("food")

    def fail():
        with stages.stage("train", "train"):
            stages.progress("train", "round 1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [record.getMessage() for record in caplog.records][-1] == ""


def test_nothing_is_shown_unless_it_is_asked_for(caplog):
    caplog.set_level(logging.INFO)
    StageTimer("food").progress("train", "round 1")
    assert caplog.records == []
    assert timing.live.level == logging.WARNING
