"""How often weeks with missing data are found, and how often a whole week is taken for one.

    python -m tests.benchmarks.incomplete_weeks [--repeats 100]

Simulates users with a habit of their own, leaves data out of one week, and looks for it. Prints two tables in
Markdown, for docs/benchmarks.md.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from churn.features.completeness import WeekCounts, incomplete_weeks

WEEKS = 40
FIRST = date(2025, 9, 1)
Events = NDArray[np.int64]  # (users, weeks, 7)


@dataclass(frozen=True)
class Audience:
    """How users of a product behave.

    Attributes:
        users: people in all; about two thirds are active in a week.
        events: mean events of an active user in a week.
        trend: factor from week to week on the number of users.
        jumps: standard deviation of the logarithm of a week's level.
        holiday: factor on the events of two weeks in a row.
    """

    users: int = 3_000
    events: float = 6.0
    trend: float = 1.0
    jumps: float = 0.03
    holiday: float = 1.0

    def simulate(self, rng: np.random.Generator) -> Events:
        """Return the events of each user, week and day."""
        size = self.trend ** np.arange(WEEKS)
        size /= size.max()
        level = np.exp(rng.normal(0, self.jumps, WEEKS))
        level[16:18] *= self.holiday
        rates = np.exp(rng.normal(np.log(self.events), 0.8, self.users))
        there = rng.random((self.users, 1)) < size  # people come, or go, for good
        days = rng.dirichlet(np.full(7, 20.0))
        active = rng.random((self.users, WEEKS)) < 0.75
        means = (rates[:, None] * level * there * active)[:, :, None] * days
        return rng.poisson(means)


AUDIENCES = {
    "3,000 users, 6 events a week": Audience(),
    "3,000 users, 60 events a week": Audience(events=60),
    "3,000 users, 1.5 events a week": Audience(events=1.5),
    "300 users": Audience(users=300),
    "60 users": Audience(users=60),
    "30 users": Audience(users=30),
    "grows by 10 % a week": Audience(trend=1.1),
    "shrinks by 10 % a week": Audience(trend=0.9),
    "levels jump (standard deviation 30 %)": Audience(jumps=0.3),
    "two quiet weeks at 50 % of the events": Audience(holiday=0.5),
    "two quiet weeks at 30 % of the events": Audience(holiday=0.3),
}


def rows_kept(share: float) -> Callable[[Events, np.random.Generator], Events]:
    """Return a fault that keeps each row with a probability."""
    return lambda week, rng: rng.binomial(week, share)


def users_kept(share: float) -> Callable[[Events, np.random.Generator], Events]:
    """Return a fault that keeps each user with a probability."""
    return lambda week, rng: week * (rng.random((len(week), 1)) < share)


def days_missing(*days: int) -> Callable[[Events, np.random.Generator], Events]:
    """Return a fault that leaves out days, Monday 0."""

    def fault(week: Events, _: np.random.Generator) -> Events:
        kept = week.copy()
        kept[:, list(days)] = 0
        return kept

    return fault


FAULTS = {
    **{f"{share:.0%} of the rows": rows_kept(share) for share in (0.0, 0.03, 0.1, 0.3, 0.5)},
    **{f"{share:.0%} of the users": users_kept(share) for share in (0.03, 0.1, 0.3, 0.5)},
    "Wed to Fri missing": days_missing(2, 3, 4),
    "Sat, Sun missing": days_missing(5, 6),
    "Sun missing": days_missing(6),
}


def count(events: Events) -> WeekCounts:
    """Return the weekly figures of simulated events."""
    by_week = events.sum(axis=2)
    logs = np.log(np.maximum(by_week, 1)).sum(axis=0)
    return WeekCounts(
        FIRST,
        users=(by_week > 0).sum(axis=0).astype(float),
        events=by_week.sum(axis=0).astype(float),
        log_events=logs,
        day_users=(events > 0).sum(axis=0).astype(float),
    )


def found_at(events: Events) -> set[int]:
    """Return the numbers of the weeks that are found incomplete."""
    return {(week - FIRST) // timedelta(days=7) for week in incomplete_weeks({"tv": count(events)})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    repeats = parser.parse_args().repeats
    names = list(FAULTS)
    for title, at in (("in the middle", 20), ("the last one", WEEKS - 1)):
        print(f"\nFaulty week {title}: share of simulations in which it is found\n")
        print(f"| audience | {' | '.join(names)} | whole weeks taken for faulty |")
        print(f"| --- | {' | '.join('---:' for _ in names)} | ---: |")
        for label, audience in AUDIENCES.items():
            hits, wrong, whole = dict.fromkeys(names, 0), 0, 0
            for repeat in range(repeats):
                rng = np.random.default_rng([repeat, at])
                events = audience.simulate(rng)
                wrong += len(found_at(events))
                whole += WEEKS
                for name, fault in FAULTS.items():
                    faulty = events.copy()
                    faulty[:, at] = fault(faulty[:, at], rng)
                    hits[name] += at in found_at(faulty)
            shares = " | ".join(f"{hits[name] / repeats:.0%}" for name in names)
            print(f"| {label} | {shares} | {wrong} of {whole:,} |", flush=True)


if __name__ == "__main__":
    main()
