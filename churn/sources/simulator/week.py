"""One simulated week of a chunk of people, from which the side tables are made."""

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
class StateBefore:
    """The state of n people at the start of a week; columns are iPlayer and Sounds.

    Attributes:
        gap: (n, 2) weeks without activity.
        habit: (n, 2) habit; 0 where the product is never used.
    """

    gap: Ints
    habit: Floats


def state_before(states: Sequence[ProductState]) -> StateBefore:
    """Return a copy of the state that the week will change."""
    return StateBefore(
        np.stack([state.gap for state in states], axis=1),
        np.stack([state.habit * state.uses for state in states], axis=1),
    )


@dataclass(frozen=True)
class Week:
    """A week of n people.

    Attributes:
        number: number of the week, from 0.
        before: the state at its start.
        active: (n, 2) whether there was activity.
        begun: for each product (n, slots), the brands that a person began to follow; -1 = none.
        rows: its activity rows.
        destination: (rows,) code of iPlayer, Sounds or radio.
    """

    number: int
    before: StateBefore
    active: Flags
    begun: tuple[Ints, Ints]
    rows: Rows
    destination: Ints


def finish_week(number: int, before: StateBefore, states: Sequence[ProductState], rows: Rows) -> Week:
    """Return the week from the states and rows at its end."""
    iplayer, sounds = (
        np.where(state.follows != state.follows_before, state.follows, -1).astype(np.int32)
        for state in states
    )
    active = np.stack([state.active for state in states], axis=1)
    return Week(number, before, active, (iplayer, sounds), rows, destination_of(rows))


def choose_row_per_person(rng: np.random.Generator, people: People, week: Week, product: int) -> Ints:
    """Return one random row of a product for each person: (n,) row positions, -1 = none."""
    positions = np.full(len(people), -1, dtype=np.int32)
    rows = rng.permutation(np.flatnonzero(week.destination == product))
    positions[week.rows.user[rows]] = rows  # with several rows the last one counts
    return positions


def days_since_1970(start: date, day: Ints) -> Ints:
    """Convert days since the first simulated Monday to days since 1970-01-01."""
    return np.asarray((start - date(1970, 1, 1)).days + day, dtype=np.int32)


def dates(start: date, day: Ints) -> pa.Array:
    """Return the dates of days since the first simulated Monday."""
    return pa.array(days_since_1970(start, day)).cast(pa.date32())


def moments(start: date, day: Ints, second: Ints) -> pa.Array:
    """Return UTC timestamps of days since the first simulated Monday and seconds of the day."""
    seconds = days_since_1970(start, day).astype(np.int64) * 86_400 + second
    return pa.array(seconds * 1_000_000).cast(pa.timestamp("us"))
