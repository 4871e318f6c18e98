"""Frequency segments of eight products, from the weeks of use up to their date."""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from churn.core.calendar import OBSERVATION_WEEKS, WEEK
from churn.sources.simulator.content import GENRE_WEIGHT, GENRES, Flags, Ints
from churn.sources.simulator.faults import blank, with_strangers
from churn.sources.simulator.people import People
from churn.sources.simulator.side_schemas import PEOPLE_TABLES, SEGMENTS
from churn.sources.simulator.week import Week, dates

PRODUCTS = ("iplayer", "sounds", "news", "sport", "cbbc", "cbeebies", "weather", "panbbc")
# The five without activity of their own: the genre that brings people there, the share of people who ever
# go, and how many weeks out of all the people of average taste do.
_ELSEWHERE = {
    "news": ("News", 0.6, 0.55),
    "sport": ("Sport", 0.35, 0.45),
    "cbbc": ("Children's", 0.08, 0.4),
    "cbeebies": ("Children's", 0.1, 0.5),
    "weather": ("Weather", 0.3, 0.4),
}
# At least so many of the last 13 weeks with use.
SEGMENT_WEEKS = (("A. Every week", 12), ("B. Most weeks", 7), ("C. Now and then", 3), ("D. Rarely", 1))
INACTIVE = "X. Inactive"
BLANK = 0.003  # share of the segments that are missing
_RECENT = (1 << OBSERVATION_WEEKS) - 1


def segment_of(weeks: int) -> str:
    """The segment of somebody who used a product in so many of the last 13 weeks."""
    return next((name for name, least in SEGMENT_WEEKS if weeks >= least), INACTIVE)


_NAMES = np.array([segment_of(weeks) for weeks in range(OBSERVATION_WEEKS + 1)], dtype=object)


class Segments:
    """Keeps the weeks of use of n people, and gives the segments of each month's last Sunday."""

    def __init__(self, rng: np.random.Generator, people: People, start: date) -> None:
        """Draw how often each person goes to the five products without activity."""
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
        """Take in a week that is over; gives a table if it ends on the last Sunday of a month."""
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
        """One row a person and product that the person has used up to now."""
        product, user = np.nonzero(self.ever.T)
        names = _NAMES[np.bitwise_count(self.weeks[user, product])]
        columns = {
            "bbc_hid3": self.people.ids.take(user),
            "product": np.array(PRODUCTS)[product],
            "segvalue": blank(self.rng, names, BLANK),
            "date_of_segmentation": dates(self.start, np.full(len(user), day, dtype=np.int32)),
        }
        return with_strangers(self.rng, pa.table(columns, schema=PEOPLE_TABLES[SEGMENTS]))
