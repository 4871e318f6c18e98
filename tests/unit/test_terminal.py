"""Ctrl-C and SIGTERM: the first unwinds the program, further ones do not disturb it while it does."""

import os
import signal
from collections.abc import Iterator

import pytest

from flows import console as terminal


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(terminal, "_last_stop", float("-inf"))
    terminal.end_in_order()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    terminal._stop_requested.clear()
    terminal._ending.clear()


def test_a_stop_that_is_asked_for_again_does_not_disturb_what_the_first_takes_away() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert terminal.stop_requested()


def test_a_stop_that_does_not_end_can_be_asked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(terminal, "_SAME_STOP_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_nothing_disturbs_the_end() -> None:
    terminal.ending()
    os.kill(os.getpid(), signal.SIGTERM)
    assert not terminal.stop_requested()
