"""How far a training is, in words."""

import time
from collections.abc import Callable

Told = Callable[[str], None]  # takes a sentence; called after every round


class Rounds:
    """Tells after each round of one fit how many there were, and how many seconds are left."""

    def __init__(self, step: str, tell: Told, *, at_most: bool = False) -> None:
        """Start the clock.

        Args:
            step: what the rounds are for.
            tell: takes each sentence.
            at_most: whether it may stop earlier.
        """
        self._step, self._tell = step, tell
        self._limit = "at most " if at_most else ""
        self._start = time.monotonic()

    def __call__(self, done: int, most: int) -> None:
        """Tell of a round that has ended."""
        left = (time.monotonic() - self._start) / done * (most - done)
        self._tell(f"{self._step}: round {done:,} of {self._limit}{most:,}, {self._limit}{left:.0f} s left")
