"""Frequency segments of eight products, from the weeks of use up to the segment's date."""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from churn.core.calendar import OBSERVATION_WEEKS, WEEK
from churn.sources.simulator.content import GENRE_WEIGHT, GENRES, Flags, Ints
from churn.sources.simulator.faults import add_unknown_users, replace_by_missing
from churn.sources.simulator.people import People
from churn.sources.simulator.side_schemas import PEOPLE_TABLES, SEGMENTS
from churn.sources.simulator.week import Week, dates

PRODUCTS = ("iplayer", "sounds", "news", "sport", "cbbc", "cbeebies", "weather", "panbbc")
# Products without activity rows: genre, share of people who ever use it, and share of weeks with use at
# average taste.
_ELSEWHERE = {
    "news": ("News", 0.6, 0.55),
    "sport": ("Sport", 0.35, 0.45),
    "cbbc": ("Children's", 0.08, 0.4),
    "cbeebies": ("Children's", 0.1, 0.5),
    "weather": ("Weather", 0.3, 0.4),
}
# Segment and least number of weeks with use, of the last 13.
SEGMENT_WEEKS = (("A. Every week", 12), ("B. Most weeks", 7), ("C. Now and then", 3), ("D. Rarely", 1))
INACTIVE = "X. Inactive"
BLANK = 0.003  # share of missing segments
_RECENT = (1 << OBSERVATION_WEEKS) - 1


def segment_of(weeks: int) -> str:
    """Return the segment of a person who used a product in ``weeks`` of the last 13 weeks."""
    return next((name for name, least in SEGMENT_WEEKS if weeks >= least), INACTIVE)


_NAMES = np.array([segment_of(weeks) for weeks in range(OBSERVATION_WEEKS + 1)], dtype=object)


class Segments:
    """Tracks the weeks of use of n people, and makes the segments of each month's last Sunday."""

    def __init__(self, rng: np.random.Generator, people: People, start: date) -> None:
        """Draw each person's weekly rate of use of the five products without activity rows."""
        n = len(people)
        self.rng, self.people, self.start = rng, people, start
        self.weeks: Ints = np.zeros((n, len(PRODUCTS)), dtype=np.int32)  # bit i: used i weeks ago
        self.ever: Flags = np.zeros((n, len(PRODUCTS)), dtype=np.bool_)
        usual = GENRE_WEIGHT / GENRE_WEIGHT.sum(axis=1, keepdims=True)
        shares = [np.diff(taste, axis=1, prepend=0.0) / usual[p] for p, taste in enumerate(people.taste)]
        liking = np.minimum((shares[0] + shares[1]) / 2, 3.0)
        self.rate = np.zeros((n, len(_ELSEWHERE)))
        for i, (genre, goes, often) in enumerate(_ELSEWHERE.values()):
            rate = 1 - (1 - often) ** liking[:, GENRES.index(genre)]
            self.rate[:, i] = np.where(rng.random(n) < goes, rate, 0.0)

    def tables(self, week: Week) -> Iterator[pa.Table]:
        """Add a finished week; yield a table if it ends on the last Sunday of a month."""
        exists = self.people.created < 7 * (week.number + 1)
        elsewhere = (self.rng.random(self.rate.shape) < self.rate) & exists[:, None]
        used = np.concatenate([week.active, elsewhere], axis=1)
        used = np.concatenate([used, used.any(axis=1, keepdims=True)], axis=1)
        self.weeks = ((self.weeks << 1) | used) & _RECENT
        self.ever |= used
        sunday = self.start + (week.number + 1) * WEEK - timedelta(days=1)
        if (sunday + WEEK).month != sunday.month:
            yield self._table(7 * week.number + 6)

    def _table(self, day: int) -> pa.Table:
        """Return one row per person and product that the person has used so far."""
        product, user = np.nonzero(self.ever.T)
        names = _NAMES[np.bitwise_count(self.weeks[user, product])]
        columns = {
            "bbc_hid3": self.people.ids.take(user),
            "product": np.array(PRODUCTS)[product],
            "segvalue": replace_by_missing(self.rng, names, BLANK),
            "date_of_segmentation": dates(self.start, np.full(len(user), day, dtype=np.int32)),
        }
        return add_unknown_users(self.rng, pa.table(columns, schema=PEOPLE_TABLES[SEGMENTS]))
