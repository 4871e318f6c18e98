"""What a chunk of people did in one week, for the tables that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn.sources.simulator.activity_rows import Rows, destination_of
from churn.sources.simulator.behaviour import ProductState
from churn.sources.simulator.content import Flags, Floats, Ints
from churn.sources.simulator.people import People

Longs = NDArray[np.int64]


@dataclass(frozen=True)
class Before:
    """The state of n people at the start of a week; columns: iPlayer, Sounds.

    Attributes:
        gap: (n, 2) weeks without activity.
        habit: (n, 2) habit; 0 where the product is never used.
    """

    gap: Ints
    habit: Floats


def before_week(states: Sequence[ProductState]) -> Before:
    """Take down what the week is going to change."""
    return Before(
        np.stack([state.gap for state in states], axis=1),
        np.stack([state.habit * state.uses for state in states], axis=1),
    )


@dataclass(frozen=True)
class Week:
    """A week of n people.

    Attributes:
        number: 0 = the first simulated week.
        before: the state at its start.
        active: (n, 2) whether there was activity.
        begun: for each product (n, slots) the brands that began to be followed in it; -1 = none.
        rows: its activity rows.
        destination: (rows,) iPlayer, Sounds or radio.
    """

    number: int
    before: Before
    active: Flags
    begun: tuple[Ints, Ints]
    rows: Rows
    destination: Ints


def week_of(number: int, before: Before, states: Sequence[ProductState], rows: Rows) -> Week:
    """Put a week together when it is over."""
    iplayer, sounds = (
        np.where(state.follows != state.follows_before, state.follows, -1).astype(np.int32)
        for state in states
    )
    active = np.stack([state.active for state in states], axis=1)
    return Week(number, before, active, (iplayer, sounds), rows, destination_of(rows))


def row_of_each(rng: np.random.Generator, people: People, week: Week, product: int) -> Ints:
    """(n,) position of one of a person's rows of a product, any of them alike; -1 = none."""
    found = np.full(len(people), -1, dtype=np.int32)
    rows = rng.permutation(np.flatnonzero(week.destination == product))
    found[week.rows.user[rows]] = rows  # of several rows the last one stays
    return found


def days_since_1970(start: date, day: Ints) -> Ints:
    """Days counted from the first simulated Monday, as days counted from 1970."""
    return np.asarray((start - date(1970, 1, 1)).days + day, dtype=np.int32)


def dates(start: date, day: Ints) -> pa.Array:
    """Dates of days counted from the first simulated Monday."""
    return pa.array(days_since_1970(start, day)).cast(pa.date32())


def moments(start: date, day: Ints, second: Ints) -> pa.Array:
    """Timestamps (UTC) of days counted from the first simulated Monday, and seconds of the day."""
    seconds = days_since_1970(start, day).astype(np.int64) * 86_400 + second
    return pa.array(seconds * 1_000_000).cast(pa.timestamp("us"))
