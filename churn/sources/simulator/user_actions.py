"""Follows, bookmarks and other actions, and opting in to the newsletter."""

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from churn.sources.simulator.content import IPLAYER, NULL, SOUNDS, Catalogue, Flags, Ints
from churn.sources.simulator.faults import Texts, add_unknown_users
from churn.sources.simulator.people import People
from churn.sources.simulator.side_schemas import PEOPLE_TABLES, PROFILE_EVENTS, UAS_VIEW
from churn.sources.simulator.week import Week, choose_row_per_person, dates, moments

RECORDED = 0.5  # probability that a person who begins to follow a brand presses the button
AS_SERIES = 0.15  # share of these follows that name the series instead of the brand
BOOKMARK = 0.01  # probability of a bookmark, per Sounds row with a programme
OTHER = 0.002  # rate of each other kind of action, per row with a programme
OTHER_NEWSLETTER_ROW = 0.0005  # probability of a change to another newsletter, per row

OPTED_IN = 0.35  # share of accounts that opt in when they are created
OPT_OUT, OPT_IN = 0.004, 0.003  # weekly probabilities; opting in later needs a week with activity
NEWSLETTER = ("follows", "newsletter", "profile", "pan_bbc")
OTHER_NEWSLETTER = ("follows", "newsletter", "profile", "bbc_food")

# activitytype, resourcetype, resourcedomain
_TV_FOLLOW = (("FOLLOWS", "brand", "tv"), ("FOLLOWS", "series", "tv"))
_RADIO_FOLLOW = (("FOLLOWS", "brand", "radio"), ("FOLLOWS", "series", "radio"))
_MUSIC_FOLLOW = (("FOLLOWS", "brand", "music"), ("FOLLOWS", "series", "music"))
_BOOKMARKS = (("FAVOURITES", "episode", "radio"), ("FAVOURITES", "clip", "radio"))
_OTHER = (
    (IPLAYER, ("FAVOURITES", "clip", "tv")),
    (SOUNDS, ("FAVOURITES", "track", "music")),
    (SOUNDS, ("FOLLOWS", "artist", "music")),
    (SOUNDS, ("FOLLOWS", "genre", "music")),
    (SOUNDS, ("FAVOURITES", "playlist", "music")),
)
_KINDS = np.array(
    [*_TV_FOLLOW, *_RADIO_FOLLOW, *_MUSIC_FOLLOW, *_BOOKMARKS, *(kind for _, kind in _OTHER)], dtype=object
)
_FIRST_FOLLOW = {IPLAYER: 0, SOUNDS: 2}
_BOOKMARK_AT, _OTHER_AT = 6, 8


def _texts_of(start: date, day: Ints) -> pa.Array:
    return pc.strftime(dates(start, day), format="%Y%m%d")


class Actions:
    """The follows and bookmarks of n people."""

    def __init__(self, rng: np.random.Generator, catalogue: Catalogue, people: People, start: date) -> None:
        """Look up the brands' ids."""
        self.rng, self.people, self.start = rng, people, start
        self.clip = np.append(np.array(catalogue.table["episode_id"].to_pylist()) == NULL, False)
        ids = np.array(catalogue.table["brand_id"].to_pylist(), dtype=object)
        genres = np.array(catalogue.table["pips_genre_level_1_names"].to_pylist(), dtype=object)
        # A brand without a single episode has row -1, and is never followed.
        versions = [schedule.episode.max(axis=1) for schedule in catalogue.schedules]
        self.brand_ids: list[Texts] = [ids[rows] for rows in versions]
        self.music: list[Flags] = [
            np.array([text.split(";")[0] == "Music" for text in genres[rows]]) for rows in versions
        ]

    def tables(self, week: Week) -> Iterator[tuple[str, pa.Table]]:
        """Yield the week's rows of both tables: programme follows are in both, other actions in one."""
        kinds: list[NDArray[np.integer]] = []
        rows: list[NDArray[np.integer]] = []
        for product in (IPLAYER, SOUNDS):
            at = choose_row_per_person(self.rng, self.people, week, product)
            user, slot = np.nonzero(week.begun[product] >= 0)
            pressed = self.rng.random(len(user)) < RECORDED
            user, brand = user[pressed], week.begun[product][user[pressed], slot[pressed]]
            series = self.rng.random(len(user)) < AS_SERIES
            music = self.music[product][brand] if product == SOUNDS else np.zeros(len(user), dtype=np.bool_)
            kinds.append(_FIRST_FOLLOW[product] + 2 * music + series)
            rows.append(at[user])
            yield UAS_VIEW, self._followed(week, at[user], self.brand_ids[product][brand], product)
        programme = week.rows.version >= 0
        played = np.flatnonzero(programme & (week.destination == SOUNDS))
        marked = played[self.rng.random(len(played)) < BOOKMARK]
        kinds.append(_BOOKMARK_AT + self.clip[week.rows.version[marked]])
        rows.append(marked)
        for i, (product, _) in enumerate(_OTHER):
            count = self.rng.poisson(OTHER * (week.destination == product).sum())
            seen = np.flatnonzero(programme & (week.destination == product))
            chosen = seen[self.rng.integers(len(seen), size=count)] if len(seen) else seen
            kinds.append(np.full(len(chosen), _OTHER_AT + i))
            rows.append(chosen)
        yield PROFILE_EVENTS, self._events(week, np.concatenate(kinds), np.concatenate(rows))

    def _events(self, week: Week, kinds: NDArray[np.integer], rows: NDArray[np.integer]) -> pa.Table:
        activity, resource, domain = _KINDS[kinds].T
        columns = {
            "hashedidentity": self.people.ids.take(week.rows.user[rows]),
            "cal_yyyymmdd": _texts_of(self.start, 7 * week.number + week.rows.day[rows]),
            "activitytype": activity,
            "resourcetype": resource,
            "resourcedomain": domain,
        }
        return add_unknown_users(self.rng, pa.table(columns, schema=PEOPLE_TABLES[PROFILE_EVENTS]))

    def _followed(self, week: Week, rows: Ints, brands: Texts, product: int) -> pa.Table:
        domain = "tv" if product == IPLAYER else "radio"
        user, day, second = (values[rows] for values in (week.rows.user, week.rows.day, week.rows.second))
        resource = np.broadcast_to(np.array(("follows", "brand", domain), dtype=object), (len(rows), 3))
        actions = np.full(len(rows), "followed", dtype=object)
        named = np.column_stack([resource, brands])
        return uas_table(
            self.rng, self.people, self.start, user, 7 * week.number + day, second, actions, named
        )


def uas_table(
    rng: np.random.Generator,
    people: People,
    start: date,
    user: Ints,
    day: Ints,
    second: Ints,
    actions: Texts,
    named: Texts,
) -> pa.Table:
    """Return rows of ``prez.uasview``.

    Args:
        rng: random generator for the rows of unknown users.
        people: the people.
        start: the first simulated Monday.
        user: (rows,) index of the person.
        day: (rows,) day since ``start``.
        second: (rows,) second of the day.
        actions: (rows,) "followed" or "unfollowed".
        named: (rows, 4) activitytype, resourcetype, resourcedomain, resourceid.
    """
    columns = {
        "hashedidentity": people.ids.take(user),
        "cal_yyyymmdd": _texts_of(start, day),
        "servertime": moments(start, day, second),
        "action": actions,
        "activitytype": named[:, 0],
        "resourcetype": named[:, 1],
        "resourcedomain": named[:, 2],
        "resourceid": named[:, 3],
    }
    return add_unknown_users(rng, pa.table(columns, schema=PEOPLE_TABLES[UAS_VIEW]))


class Newsletter:
    """Which of n people have opted in to the newsletter.

    Attributes:
        opted_in: (n,) at the end of the last week; for future accounts, at their creation.
        since: (n,) day of the last change.
    """

    def __init__(self, rng: np.random.Generator, people: People, start: date) -> None:
        """Draw who opts in when the account is created."""
        self.rng, self.people, self.start = rng, people, start
        self.opted_in: Flags = rng.random(len(people)) < OPTED_IN
        self.since: Ints = people.created.copy()
        self._before, self._since_before = self.opted_in, self.since

    def first_table(self) -> pa.Table:
        """Return the opt-ins at the creation of all accounts."""
        user = np.flatnonzero(self.opted_in).astype(np.int32)
        return self._table(user, self.since[user], np.ones(len(user), dtype=np.bool_), NEWSLETTER)

    def opted_in_before(self, day: int) -> Flags:
        """Return who had opted in before a day of the current week or later, (n,).

        Changes on that day or later do not count.
        """
        return np.asarray(
            np.where(self.since < day, self.opted_in, self._before & (self._since_before < day))
        )

    def tables(self, week: Week) -> Iterator[pa.Table]:
        """Yield a week's changes: opting out in any week, opting in only in a week with activity."""
        monday, n = 7 * week.number, len(self.people)
        active = np.full(n, -1, dtype=np.int32)
        active[week.rows.user] = week.rows.day  # the last day with activity
        chance = np.where(self.opted_in, OPT_OUT, OPT_IN * (active >= 0))
        user = np.flatnonzero((self.rng.random(n) < chance) & (self.since < monday)).astype(np.int32)
        any_day = self.rng.integers(7, size=len(user))
        day = monday + np.where(self.opted_in[user], any_day, active[user]).astype(np.int32)
        self._before, self._since_before = self.opted_in.copy(), self.since.copy()
        self.opted_in[user] ^= True
        self.since[user] = day
        yield self._table(user, day, self.opted_in[user], NEWSLETTER)
        other = week.rows.user[self.rng.random(len(week.rows.user)) < OTHER_NEWSLETTER_ROW]
        followed = self.rng.random(len(other)) < 0.6
        day = np.full(len(other), monday + 6, dtype=np.int32)
        yield self._table(other, day, followed, OTHER_NEWSLETTER)

    def _table(self, user: Ints, day: Ints, followed: Flags, named: tuple[str, str, str, str]) -> pa.Table:
        second = self.rng.integers(6 * 3600, 24 * 3600, size=len(user)).astype(np.int32)
        actions = np.where(followed, "followed", "unfollowed").astype(object)
        texts = np.broadcast_to(np.array(named, dtype=object), (len(user), 4))
        return uas_table(self.rng, self.people, self.start, user, day, second, actions, texts)
