"""Opens and clicks of the weekly newsletter."""

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa

from churn.sources.simulator.behaviour import logistic
from churn.sources.simulator.content import Flags, Ints
from churn.sources.simulator.faults import add_unknown_users, repeat_rows
from churn.sources.simulator.people import People
from churn.sources.simulator.side_schemas import CLICKS, OPENS, PEOPLE_TABLES
from churn.sources.simulator.week import Week, moments

SEND_DAY, SEND_SECOND = 1, 6 * 3600  # Tuesdays at six in the morning
OPEN, OPEN_HABIT = -1.8, 3.0  # log-odds of an open: intercept and coefficient of habit
CLICK, CLICK_HABIT = -2.5, 2.0  # the same for a click, given an open
DELAY = 14 * 3600.0  # mean seconds until a mail is opened
AGAIN = 0.1  # share of opened mails that are opened again
REPEATED = 0.02  # share of rows that are repeated
_WEEK = 7 * 86_400


def send_id(week: int) -> str:
    """Return the id of a week's newsletter."""
    return str(700_000 + week)


def mail_tables(
    rng: np.random.Generator, people: People, week: Week, receives: Flags, start: date
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the names and tables of one week's opens and clicks.

    Args:
        rng: random generator.
        people: n people.
        week: their week; opens depend on the habit at its start.
        receives: (n,) whether a person is sent the newsletter.
        start: the first simulated Monday.
    """
    habit = week.before.habit.max(axis=1)
    user = np.flatnonzero(receives & (rng.random(len(people)) < logistic(OPEN + OPEN_HABIT * habit)))
    sent = SEND_DAY * 86_400 + SEND_SECOND
    opened = np.minimum(sent + rng.exponential(DELAY, len(user)), _WEEK - 1.0)
    clicks = np.flatnonzero(rng.random(len(user)) < logistic(CLICK + CLICK_HABIT * habit[user]))
    again = np.flatnonzero(rng.random(len(user)) < AGAIN)
    reopened = rng.uniform(opened[again], _WEEK)
    clicked = np.minimum(opened[clicks] + rng.exponential(60.0, len(clicks)), _WEEK - 1.0)
    for name, users, seconds in (
        (OPENS, np.concatenate([user, user[again]]), np.concatenate([opened, reopened])),
        (CLICKS, user[clicks], clicked),
    ):
        table = _table(name, people, users.astype(np.int32), seconds.astype(np.int32), week.number, start)
        yield name, add_unknown_users(rng, repeat_rows(rng, table, REPEATED))


def _table(name: str, people: People, user: Ints, second: Ints, week: int, start: date) -> pa.Table:
    columns = {
        "subscriberkey": people.ids.take(user),
        "sendid": [send_id(week)] * len(user),
        "eventdatetime": moments(start, 7 * week + second // 86_400, second % 86_400),
    }
    return pa.table(columns, schema=PEOPLE_TABLES[name])
