"""Write the tables that are derived from behaviour.

Each table has its own random generator, so that no table depends on another.
"""

from contextlib import ExitStack
from datetime import date
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from churn.core.calendar import OBSERVATION_WEEKS
from churn.sources.simulator.content import IPLAYER, SOUNDS, Catalogue, Flags
from churn.sources.simulator.faults import add_unknown_users, draw_missing, repeat_rows, replace_by_missing
from churn.sources.simulator.mails import SEND_DAY, mail_tables
from churn.sources.simulator.people import People
from churn.sources.simulator.segments import Segments
from churn.sources.simulator.side_schemas import (
    AGES,
    GENDERS,
    IPLAYER_ACTIVATIONS,
    PEOPLE_TABLES,
    SEGMENTS,
    SOUNDS_ACTIVATIONS,
    UAS_VIEW,
)
from churn.sources.simulator.user_actions import Actions, Newsletter
from churn.sources.simulator.week import Week, dates
from churn.sources.simulator.write import TableWriter, part_path

PREDICTED = 0.85  # share of accounts with a predicted gender and age
RIGHT_GENDER, RIGHT_AGE = 0.8, 0.85  # share of correct predictions
BLANK, REPEATED = 0.01, 0.002  # shares of missing and of repeated predictions


class SideTables:
    """The side tables of a chunk of people, one part each, written week by week."""

    def __init__(
        self,
        folder: Path,
        part: int,
        seed: np.random.SeedSequence,
        catalogue: Catalogue,
        people: People,
        accounts: pa.Table,
        start: date,
    ) -> None:
        """Open the parts, and write the rows that do not depend on a week."""
        self.catalogue, self.people, self.start = catalogue, people, start
        rngs = [np.random.default_rng(child) for child in seed.spawn(6)]
        self.activations, self.mails = rngs[0], rngs[1]
        self.segments = Segments(rngs[2], people, start)
        self.actions = Actions(rngs[3], catalogue, people, start)
        self.newsletter = Newsletter(rngs[4], people, start)
        accounts = accounts.slice(0, len(people))  # the rest are second rows of a few accounts
        verified, active = (
            np.array(accounts[name].to_pylist()) == value
            for name, value in (("mailverified", "true"), ("status", "active"))
        )
        self.mailable: Flags = verified & active
        with ExitStack() as stack:
            self._writers = {
                name: stack.enter_context(TableWriter(part_path(folder, name, part), schema))
                for name, schema in PEOPLE_TABLES.items()
            }
            for name, table in _predictions(rngs[5], people, accounts).items():
                self._writers[name].write(table)
            self._writers[UAS_VIEW].write(self.newsletter.first_table())
            self._stack = stack.pop_all()

    def write(self, week: Week) -> None:
        """Append a week's rows to each table."""
        for table in self.newsletter.tables(week):
            self._writers[UAS_VIEW].write(table)
        receives = self.newsletter.opted_in_before(7 * week.number + SEND_DAY) & self.mailable
        for name, table in (
            *self.actions.tables(week),
            *mail_tables(self.mails, self.people, week, receives, self.start),
            *_activations(self.activations, self.catalogue, self.people, week, self.start).items(),
            *((SEGMENTS, table) for table in self.segments.tables(week)),
        ):
            self._writers[name].write(table)

    def __enter__(self) -> "SideTables":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the parts."""
        self._stack.close()


def _activations(
    rng: np.random.Generator, catalogue: Catalogue, people: People, week: Week, start: date
) -> dict[str, pa.Table]:
    """Return the people who are new or back after 13 weeks, with their first programme if it is known."""
    tables = {}
    for product, name, column in (
        (IPLAYER, IPLAYER_ACTIVATIONS, "version_id"),
        (SOUNDS, SOUNDS_ACTIVATIONS, "episode_id"),
    ):
        new = people.created // 7 == week.number
        returns = week.active[:, product] & (new | (week.before.gap[:, product] >= OBSERVATION_WEEKS))
        users = np.flatnonzero(returns)
        at = np.flatnonzero(
            (week.destination == product) & (week.rows.version >= 0) & returns[week.rows.user]
        )
        at = at[np.lexsort((week.rows.second[at], week.rows.day[at]))]
        with_programme, first = np.unique(week.rows.user[at], return_index=True)
        content = draw_missing(rng, len(users))
        version = week.rows.version[at[first]]
        texts = catalogue.texts[column].take(catalogue.codes[column][version])
        content[np.searchsorted(users, with_programme)] = texts.to_pylist()
        monday = np.full(len(users), 7 * week.number, dtype=np.int32)
        schema = PEOPLE_TABLES[name]
        table = pa.table(
            [people.ids.take(users), dates(start, monday), pa.array(content, pa.string())], schema=schema
        )
        tables[name] = add_unknown_users(rng, table)
    return tables


def _predictions(rng: np.random.Generator, people: People, accounts: pa.Table) -> dict[str, pa.Table]:
    """Return predicted gender and age of most accounts; some are wrong."""
    n = len(people)
    declared = np.array(accounts["gender"].to_pylist(), dtype=object)
    guess = np.array(["female", "male"], dtype=object)[rng.integers(2, size=n)]
    known = np.isin(declared, ["female", "male"])
    other = np.where(declared == "female", "male", "female")
    gender = np.where(known, np.where(rng.random(n) < RIGHT_GENDER, declared, other), guess)
    young = (people.age >= 16) & (people.age <= 34)
    age = np.where(young == (rng.random(n) < RIGHT_AGE), "16-34", "35+").astype(object)
    tables = {}
    for name, predicted in ((GENDERS, gender), (AGES, age)):
        rows = np.flatnonzero(rng.random(n) < PREDICTED)
        columns = [
            people.ids.take(rows),
            pa.array(replace_by_missing(rng, predicted[rows], BLANK), pa.string()),
        ]
        table = pa.table(columns, schema=PEOPLE_TABLES[name])
        tables[name] = add_unknown_users(rng, repeat_rows(rng, table, REPEATED))
    return tables
