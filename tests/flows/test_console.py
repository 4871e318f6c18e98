"""Ctrl-C, SIGTERM and SIGHUP: the first unwinds the program, further ones do not disturb it while it does."""

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from churn.core.timing import StageTimer
from flows import console


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(console, "_last_stop", float("-inf"))
    monkeypatch.setattr(console, "_installed", False)
    monkeypatch.setattr(console, "_fault", None)
    console.install_signal_handlers()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    console._stop_requested.clear()
    console._ending.clear()


def test_a_stop_that_is_asked_for_again_does_not_disturb_what_the_first_takes_away() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert console.stop_requested()


def test_a_stop_that_does_not_end_can_be_asked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(console, "_SAME_STOP_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.process
def test_nothing_disturbs_the_end() -> None:
    console.at_exit()
    os.kill(os.getpid(), signal.SIGTERM)
    assert not console.stop_requested()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_exit_code_says_which_signal_it_was(number: signal.Signals, code: int) -> None:
    signal.signal(number, signal.SIG_DFL)  # nohup would have it ignored
    console.install_signal_handlers()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert console.stopped() == ("stopped; nothing half-written is to be seen", code)


def test_a_program_that_cannot_go_on_says_why() -> None:
    with pytest.raises(KeyboardInterrupt):
        console.stop_because("the server is gone")
    assert console.stopped() == ("the server is gone", 1)


def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    console.install_signal_handlers()
    signal.raise_signal(signal.SIGHUP)
    assert not console.stop_requested()


def test_another_handler_of_sigterm_is_replaced_in_the_command_line_only() -> None:
    other = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    console.restore_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) == other


def test_a_deployment_keeps_the_handler_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_installed", False)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    console.restore_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


@pytest.fixture
def loggers() -> Iterator[None]:
    names = ("churn", "churn.core.timing", "churn.core.live", "churn.jobs.backtest")
    kept = [(each, each.handlers[:], each.level, each.propagate) for each in map(logging.getLogger, names)]
    yield
    for logger, handlers, level, propagate in kept:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_one_line_of_a_terminal_and_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, loggers: None, terminal: bool
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", written)
    console.show_progress()
    stages = StageTimer("food")
    with stages.stage("train", "train"):
        stages.progress("train", "round 1 of 9")
    *live, last = written.getvalue().split("\r\x1b[K")
    assert live == (["  food       train    round 1 of 9"] if terminal else [])
    assert last.startswith("  food       train    train ")
    assert last.count("\n") == 1
