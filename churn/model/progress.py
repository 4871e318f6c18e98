"""How far a training is, in words."""

import time
from collections.abc import Callable

import xgboost as xgb

Told = Callable[[str], None]  # takes a sentence; called after every round


class Rounds(xgb.callback.TrainingCallback):  # type: ignore[misc]  # XGBoost has no types
    """Tells after each round of one step how many there were, and how many seconds are left."""

    def __init__(self, step: str, total: int, tell: Told | None, *, at_most: bool = False) -> None:
        """Start the clock.

        Args:
            step: what the rounds are for.
            total: the number of rounds.
            tell: takes each sentence; None tells nobody.
            at_most: whether it may stop earlier.
        """
        super().__init__()
        self._step, self._total, self._tell = step, total, tell
        self._limit = "at most " if at_most else ""
        self._start = time.monotonic()

    def after_iteration(self, model: xgb.Booster | None, epoch: int, evals_log: object) -> bool:
        """Tell of a round that has ended; return False, as training goes on."""
        if self._tell is not None:
            done = epoch + 1
            left = (time.monotonic() - self._start) / done * (self._total - done)
            of = f"{self._limit}{self._total:,}"
            self._tell(f"{self._step}: round {done:,} of {of}, {self._limit}{left:.0f} s left")
        return False
