"""Simulate a broadcaster whose true churn probabilities are known.

The simulator writes the source tables as Parquet, and the exact churn probability of every snapshot.
docs/simulator.md describes the process.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from churn.core.calendar import OBSERVATION_WEEKS, WEEK, Windows
from churn.core.errors import UsageError
from churn.core.private import private_files
from churn.sources.simulator.activity_rows import (
    ACTIVITY_SCHEMA,
    EXTRA_ROWS,
    activity_table,
    merge_rows,
    product_rows,
    radio_rows,
)
from churn.sources.simulator.behaviour import (
    ProductState,
    Season,
    choose_follows,
    draw_days,
    make_season,
    stay_away_probability,
)
from churn.sources.simulator.content import IPLAYER, SOUNDS, Catalogue, make_catalogue
from churn.sources.simulator.item_tables import item_tables
from churn.sources.simulator.late_rows import LateRows
from churn.sources.simulator.people import People, make_people, profile_tables
from churn.sources.simulator.side_tables import SideTables
from churn.sources.simulator.week import finish_week, state_before
from churn.sources.simulator.write import (
    ACTIVITY,
    CONTENT,
    EXTENSION,
    PROFILE,
    TableWriter,
    TruthWriters,
    part_path,
    replacement_folder,
    write_description,
    write_table,
)

__all__ = ["Simulated", "simulate"]

PRODUCTS = ("iplayer", "sounds")
LAST_SUNDAY = date(2026, 6, 28)


@dataclass(frozen=True)
class Simulated:
    """A summary of a simulation.

    Attributes:
        into: the data folder.
        users: number of accounts.
        weeks: number of simulated weeks.
        start: Monday of the first week.
        end: Sunday of the last week.
        activity_rows: rows of the activity table, late ones included.
        churn_rates: mean true churn probability by product, over all snapshots.
    """

    into: Path
    users: int
    weeks: int
    start: date
    end: date
    activity_rows: int
    churn_rates: Mapping[str, float]


@private_files()
def simulate(
    into: str | Path,
    *,
    users: int = 20_000,
    weeks: int = 30,
    seed: int = 1,
    end: date = LAST_SUNDAY,
    chunk_users: int = 25_000,
    late_share: float = 0.0,
    extra_rows: float = EXTRA_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Write a simulated broadcaster's data folder.

    Example:
        >>> churn.simulate("demo/data", users=20_000, weeks=30, seed=1).end
        datetime.date(2026, 6, 28)

    The same arguments, ``chunk_users`` included, give the same bytes: each chunk of people has its own random
    generator, spawned from ``seed``. Memory grows with the chunk, not with ``users``.

    Args:
        into: folder to create; an earlier simulation there is replaced when the new one is complete.
        users: number of accounts, at least 1.
        weeks: number of simulated weeks, at least 13; the true probabilities start with week 13.
        seed: seed of all random numbers, at least 0.
        end: Sunday of the last week.
        chunk_users: people simulated together, at least 1.
        late_share: probability that an activity row arrives one week late, at most 0.5; late rows are in
            files of their own, ``part-<chunk>-late-<Monday of the week of arrival>.parquet``.
        extra_rows: mean number of further programmes on a day with activity, at most 20. The model of who
            comes when does not depend on it, but the random draws do.
        progress: called with (user-weeks done, user-weeks in total).

    Raises:
        UsageError: an argument is out of range, ``end`` is not a Sunday, or ``into`` holds something else.
        RunError: the folder cannot be written.
    """
    into = Path(into)
    _check(users, weeks, seed, end, chunk_users, late_share, extra_rows)
    start = end - weeks * WEEK + timedelta(days=1)
    chunks = range(0, users, chunk_users)
    world_seed, *chunk_seeds = np.random.SeedSequence(seed).spawn(1 + len(chunks))
    catalogue = make_catalogue(np.random.default_rng(world_seed), start, weeks)
    season = make_season(start, weeks)
    rows = 0
    with replacement_folder(into) as folder:
        write_table(folder, CONTENT, 0, catalogue.table)
        for name, table in item_tables(world_seed, catalogue).items():
            write_table(folder, name, 0, table)
        with ExitStack() as stack:
            truth = TruthWriters(folder, stack)
            for part, (first, chunk_seed) in enumerate(zip(chunks, chunk_seeds, strict=True)):
                rng = np.random.default_rng(chunk_seed)
                people = make_people(rng, first, min(chunk_users, users - first), weeks)
                accounts, details = profile_tables(rng, people, start)
                write_table(folder, PROFILE, part, accounts)
                write_table(folder, EXTENSION, part, details)
                side_seed, late_seed = chunk_seed.spawn(2)
                late = LateRows(folder, part, late_seed, late_share, start)
                with (
                    TableWriter(part_path(folder, ACTIVITY, part), ACTIVITY_SCHEMA) as activity,
                    SideTables(folder, part, side_seed, catalogue, people, accounts, start) as side,
                ):
                    into_tables = _Tables(activity, late, side, truth)
                    for week in _simulate_weeks(
                        rng, catalogue, season, people, start, weeks, extra_rows, into_tables
                    ):
                        if progress:
                            progress(first * weeks + len(people) * (week + 1), users * weeks)
                rows += activity.rows + late.rows
        description = {
            "users": users,
            "weeks": weeks,
            "seed": seed,
            "chunk_users": chunk_users,
            "late_share": late_share,
            "extra_rows": extra_rows,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "activity_rows": rows,
            "churn_rates": truth.churn_rates(),
        }
        write_description(folder, description)
    return Simulated(into, users, weeks, start, end, rows, truth.churn_rates())


@dataclass(frozen=True)
class _Tables:
    """The writers of one chunk of people."""

    activity: TableWriter
    late: LateRows
    side: SideTables
    truth: TruthWriters


def _simulate_weeks(
    rng: np.random.Generator,
    catalogue: Catalogue,
    season: Season,
    people: People,
    start: date,
    weeks: int,
    extra_rows: float,
    into: _Tables,
) -> Iterator[int]:
    """Simulate and write a chunk of people week by week; yield each week's number when it is written."""
    states = [ProductState(rng, people, product) for product in (IPLAYER, SOUNDS)]
    for week in range(weeks):
        parts = []
        exists = people.created < 7 * (week + 1)
        before = state_before(states)
        for state in states:
            days = draw_days(rng, people, catalogue, season, state, week)
            choose_follows(rng, people, catalogue.schedules[state.product], state, days, week)
            parts.append(product_rows(rng, catalogue, people, state, days, week, extra_rows))
            state.advance(days, exists)
        present = np.flatnonzero(states[IPLAYER].active | states[SOUNDS].active).astype(np.int32)
        parts.append(radio_rows(rng, catalogue, people, present, week))
        rows = merge_rows(catalogue, people, parts)
        table = activity_table(catalogue, people, rows, start, week)
        into.activity.write(into.late.hold_back(table, week))
        into.side.write(finish_week(week, before, states, rows))
        if week + 1 >= OBSERVATION_WEEKS:
            as_of = start + (week + 1) * WEEK - timedelta(days=1)
            away = [stay_away_probability(people, catalogue, season, state, week) for state in states]
            for state, name, probability in zip(states, PRODUCTS, away, strict=True):
                into.truth.write(name, as_of, people.ids, probability, state.active)
            # Given the state, the two products are independent.
            either = states[IPLAYER].active | states[SOUNDS].active
            into.truth.write("pan", as_of, people.ids, away[IPLAYER] * away[SOUNDS], either)
        yield week


def _check(
    users: int, weeks: int, seed: int, end: date, chunk_users: int, late_share: float, extra_rows: float
) -> None:
    """Raise one error that lists all arguments out of range."""
    bounds = (
        ("users", users, 1, 99_999_999),
        ("weeks", weeks, OBSERVATION_WEEKS, 520),
        ("seed", seed, 0, 2**63),
        ("chunk_users", chunk_users, 1, 1_000_000),
        ("late_share", late_share, 0, 0.5),
        ("extra_rows", extra_rows, 0, 20),
    )
    faults = [
        f"{name} is {value}, but must be from {low} to {high}"
        for name, value, low, high in bounds
        if not low <= value <= high
    ]
    if faults:
        raise UsageError("the simulation cannot be made: " + "; ".join(faults))
    try:
        Windows(end)
    except UsageError as error:
        raise UsageError(f"a simulation ends on a Sunday: {error}") from error
