"""Ctrl-C and SIGTERM: the first unwinds the program, further ones do not disturb it while it does."""

import os
import signal
from collections.abc import Iterator

import pytest

from flows import console


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(console, "_last_stop", float("-inf"))
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
