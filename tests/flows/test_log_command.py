"""``churn run LOG``: what it refuses before anything starts, and the whole way from a log to a report."""

import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.command_line import exit_code

SUNDAY = date(2026, 6, 28)


def test_options_of_reading_need_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["run", "--column", "user_id=uid"]) == 2
    assert "--column says how to read a log: name the log" in capsys.readouterr().err
    assert exit_code(["run", "--skip-bad-rows", "1%"]) == 2
    assert "--skip-bad-rows says how to read a log" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["1", "x%", "-1%", "101%", "%"])
def test_a_share_is_a_percentage(capsys: pytest.CaptureFixture[str], share: str) -> None:
    assert exit_code(["ingest", "log.csv", "--into", "data", "--skip-bad-rows", share]) == 2
    assert "is not a percentage like 1%" in capsys.readouterr().err


def test_a_log_that_does_not_exist_is_an_error_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(["run", "plays.csv"]) == 1
    assert "there is no file plays.csv" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def write_plays(path: Path) -> None:
    """Write 34 weeks of plays of 700 people, the last day a Sunday."""
    chance = random.Random(1)
    lines = []
    for person in range(700):
        liking = chance.betavariate(1.2, 2)
        for ahead in range(7 * 34):
            if chance.random() < liking * 0.5:
                day = SUNDAY - timedelta(days=ahead)
                lines.append(f"u{person};{day:%d/%m/%Y} {chance.randint(7, 22):02d}:15")
    path.write_text("uid;ts\n" + "\n".join(lines) + "\n")


@pytest.mark.slow
def test_one_command_leads_from_a_log_to_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    write_plays(tmp_path / "plays.csv")
    command = ["run", "plays.csv", "--column", "user_id=uid", "--column", "occurred_at=ts"]
    command += ["--time-format", "%d/%m/%Y %H:%M"]
    assert exit_code(command) == 0
    first = capsys.readouterr().out
    assert f"As of {SUNDAY}." in first
    assert "main: report plays-out/lake/runs/product=main/" in first
    assert len(list(tmp_path.glob("plays-out/lake/**/report.html"))) == 1
    assert exit_code(command) == 0
    again = capsys.readouterr().out
    assert "plays.csv has not changed since plays-data was made from it" in again
    assert "is already committed for 2026-06-28; nothing was computed" in again
