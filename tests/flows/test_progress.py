"""A run goes on when Prefect refuses to show the progress of scoring."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

import tasks.weekly
from tasks.weekly import progress_artifact


class Stages:
    def __init__(self) -> None:
        self.told: list[str] = []

    def log(self, part: str, sentence: str) -> None:
        self.told.append(f"{part}: {sentence}")


class ARun:
    """As much of a run as progress needs."""

    name = "bbc_one"

    def __init__(self) -> None:
        self.stages = Stages()


class Server:
    """Prefect's server, up or down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up = True
        self.asked = 0
        self.shown: list[tuple[float, str]] = []
        self.keys: list[str] = []
        monkeypatch.setattr(tasks.weekly.TaskRunContext, "get", lambda: object())
        monkeypatch.setattr(tasks.weekly, "create_progress_artifact", self.create)
        monkeypatch.setattr(tasks.weekly, "update_progress_artifact", self.update)

    def create(self, percent: float, *, key: str, description: str) -> UUID:
        self.keys.append(key)
        self.update(None, percent, description=description)
        return uuid4()

    def update(self, _: Any, percent: float, *, description: str) -> None:
        self.asked += 1
        if not self.up:
            raise httpx.ConnectError("refused")
        self.shown.append((percent, description))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_it_is_made_once_and_then_renewed(server: Server) -> None:
    run = ARun()
    show = progress_artifact(run)  # type: ignore[arg-type]  # a stand-in
    assert show is not None
    for percent in (25, 50, 100):
        show(percent, f"at {percent}")
    assert server.shown == [(25, "at 25"), (50, "at 50"), (100, "at 100")]
    assert server.keys == ["score-bbc-one"]  # lower-case letters, digits and dashes, says Prefect
    assert run.stages.told == []


@pytest.mark.parametrize("made", [False, True])
def test_a_server_that_is_gone_is_told_once_and_asked_again_at_the_end(server: Server, made: bool) -> None:
    run = ARun()
    show = progress_artifact(run)  # type: ignore[arg-type]  # a stand-in
    assert show is not None
    if made:
        show(10, "at 10")
    server.up = False
    for percent in (20, 30, 40):
        show(percent, f"at {percent}")
    assert server.asked == 1 + made
    (told,) = run.stages.told
    assert told.startswith("score: Prefect refuses the progress (ConnectError")
    server.up = True
    show(100, "at 100")
    assert server.shown[-1] == (100, "at 100")
    assert len(run.stages.told) == 1


def test_a_server_that_stays_away_is_no_error(server: Server) -> None:
    run = ARun()
    show = progress_artifact(run)  # type: ignore[arg-type]  # a stand-in
    assert show is not None
    server.up = False
    show(50, "at 50")
    show(100, "at 100")
    assert len(run.stages.told) == 1


def test_without_a_task_run_there_is_nothing_to_show_it_on() -> None:
    assert progress_artifact(ARun()) is None  # type: ignore[arg-type]  # a stand-in
