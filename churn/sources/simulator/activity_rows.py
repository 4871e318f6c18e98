"""Make a week's rows of the activity table."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn.sources.simulator.behaviour import WATCH, ProductState
from churn.sources.simulator.content import BACK, CASUAL_ITEMS, IPLAYER, NULL, SOUNDS, Catalogue, Ints
from churn.sources.simulator.people import DAYPARTS, DEVICES, WEEKDAY_WEIGHT, People

ACTIVITY_COLUMNS = (
    "audience_id",
    "destination",
    "app_name",
    "page_name",
    "date_of_event",
    "event_datetime_min",
    "playback_time_total",
    "page_views_total",
    "pips_genre_level_1_names",
    "version_id",
    "episode_id",
    "series_id",
    "brand_id",
    "clip_id",
    "broadcast_type",
    "device_type",
    "browser_brand",
)
_PLAIN = {
    "date_of_event": pa.date32(),
    "event_datetime_min": pa.timestamp("us"),
    "playback_time_total": pa.int32(),
    "page_views_total": pa.int32(),
}
PLAY, LIVE, HOME = 0, 1, 2  # kinds of page
CONTEXTS = 9 * len(DEVICES)  # destination, page and device
RADIO = 2  # the third destination: radio pages, which are not Sounds
EXTRA_ROWS = 0.25  # mean number of further programmes on a day with activity
HOME_ROWS = 0.06  # share of casual rows that are visits to the home page
RADIO_WEEKS = 0.3  # weekly probability that a present radio visitor sees the radio pages
MAIN_DEVICE = 0.8
USUAL_DAYPART = 0.7

_DEVICE_TYPE = ("Desktop", "Smart TV", "Smartphone", "Smartphone", "Tablet", "Tablet", "Games Console")
_BROWSER = ("Chrome", "HbbTV", "Applications", "Safari", "Applications", "Safari", "Edge")
_APP = ("web", "tv", "app", "web", "app", "web", "web")
_PAGES = (
    ("iplayer.playback.page", "iplayer.live.page", "iplayer.home.page"),
    ("sounds.playback.page", "sounds.live.page", "sounds.home.page"),
    ("radio.programme.page", "radio.live.page", "radio.schedule.page"),
)
_FIRST_HOUR = np.array([first for first, _ in DAYPARTS])
_HOURS = np.array([last - first + 1 for first, last in DAYPARTS])


@dataclass(frozen=True)
class Rows:
    """Activity rows as arrays of one length.

    Attributes:
        user: index of the person.
        day: 0 = Monday .. 6 = Sunday.
        version: catalogue row; -1 = none.
        context: destination, page and device as one code (see ``context_code``).
        second: second of the day of the first event.
        playback: seconds played.
        views: page views.
    """

    user: Ints
    day: Ints
    version: Ints
    context: Ints
    second: Ints
    playback: Ints
    views: Ints


def context_code(destination: int | Ints, page: int | Ints, device: Ints) -> Ints:
    """Return one code for destination (iPlayer, Sounds, radio), kind of page and device."""
    return np.asarray((np.asarray(destination) * 3 + page) * len(DEVICES) + device, dtype=np.int32)


def _pick_days(rng: np.random.Generator, people: People, users: Ints, days: Ints, week: int) -> Ints:
    """Return the weekdays in random order, (rows, 7); the first ``days`` of them are active.

    Weighted sampling without replacement by exponential clocks (Efraimidis and Spirakis, 2006).
    """
    clock = rng.exponential(size=(len(users), 7)) / WEEKDAY_WEIGHT[people.rhythm[users]]
    first = (people.created[users] - 7 * week)[:, None]
    clock[np.arange(7) < first] = np.inf  # no day before the account exists
    clock[np.arange(7) == first] = -1.0  # the day on which it is created comes first
    return np.argsort(clock, axis=1).astype(np.int32)


def _followed(
    rng: np.random.Generator,
    catalogue: Catalogue,
    state: ProductState,
    users: Ints,
    days: Ints,
    order: Ints,
    week: int,
) -> tuple[Ints, Ints, Ints]:
    """Return the watched episodes of followed brands: position in ``users``, weekday, catalogue row."""
    schedule = catalogue.schedules[state.product]
    follows = state.follows[users]
    airs = np.append(schedule.airs[:, week + BACK], False)
    position, slot = np.nonzero(airs[follows] & (rng.random(follows.shape) < WATCH))
    brand = follows[position, slot]
    chosen = (rng.random(len(position)) * days[position]).astype(np.int32)
    day = order[position, chosen]
    # Before this week's episode is published, people watch last week's if there is one.
    published = day >= schedule.weekday[brand]
    version = np.where(published, schedule.episode[brand, week + BACK], schedule.previous[brand, week + BACK])
    exists = version >= 0
    return position[exists].astype(np.int32), day[exists], version[exists]


def _casual(
    rng: np.random.Generator,
    catalogue: Catalogue,
    people: People,
    product: int,
    users: Ints,
    day: Ints,
    week: int,
) -> Ints:
    """Choose published programmes outside series by taste; return their catalogue rows."""
    genre = (people.taste[product][users] < rng.random(len(users))[:, None]).sum(axis=1)
    genre = np.minimum(genre, people.taste[product].shape[1] - 1)
    item = (rng.random(len(users)) ** 1.5 * CASUAL_ITEMS).astype(np.int32)
    casual = catalogue.schedules[product].casual
    version = casual[week + BACK, genre] + item
    late = catalogue.weekday[version] > day
    return np.asarray(np.where(late, casual[week + BACK - 1, genre] + item, version), dtype=np.int32)


def _seconds(rng: np.random.Generator, daypart: Ints) -> Ints:
    """Draw the second of the day, mostly in the usual daypart."""
    n = len(daypart)
    part = np.where(rng.random(n) < USUAL_DAYPART, daypart, rng.integers(0, len(DAYPARTS), n))
    return np.asarray((_FIRST_HOUR[part] + rng.random(n) * _HOURS[part]) * 3600, dtype=np.int32)


def _devices(rng: np.random.Generator, people: People, product: int, users: Ints) -> Ints:
    main = rng.random(len(users)) < MAIN_DEVICE
    return np.asarray(np.where(main, people.device[users, product], people.second_device[users, product]))


def product_rows(
    rng: np.random.Generator,
    catalogue: Catalogue,
    people: People,
    state: ProductState,
    days: Ints,
    week: int,
    extra_rows: float,
) -> Rows:
    """Return the week's rows of one product: one per active day, and ``extra_rows`` more on average."""
    product = state.product
    users = np.flatnonzero(days).astype(np.int32)
    count = days[users]
    order = _pick_days(rng, people, users, count, week)
    position, day, version = _followed(rng, catalogue, state, users, count, order, week)
    covered = np.zeros((len(users), 7), dtype=np.bool_)
    covered[position, day] = True
    rank = np.broadcast_to(np.arange(7), order.shape)
    active = rank < count[:, None]
    bare = active & ~np.take_along_axis(covered, order, axis=1)
    whole = int(extra_rows)
    extra = active * (whole + (rng.random(order.shape) < extra_rows - whole))
    at_bare = np.nonzero(bare)
    at_extra = [np.repeat(at, extra[extra > 0]) for at in np.nonzero(extra)]
    casual_at = np.concatenate([at_bare[0], at_extra[0]])
    casual_day = np.concatenate([order[at_bare], order[tuple(at_extra)]])
    casual = _casual(rng, catalogue, people, product, users[casual_at], casual_day, week)
    home = rng.random(len(casual)) < HOME_ROWS
    casual[home] = -1

    user = users[np.concatenate([position, casual_at])]
    version = np.concatenate([version, casual]).astype(np.int32)
    followed = np.arange(len(user)) < len(position)
    page = np.where(version < 0, HOME, np.where(~followed & catalogue.live[version], LIVE, PLAY))
    part = np.where(followed, 0.6 + 0.4 * rng.random(len(user)), rng.random(len(user)) ** 0.7)
    playback = np.where(version < 0, 0, np.maximum(catalogue.duration[version] * part, 20)).astype(np.int32)
    return Rows(
        user=user,
        day=np.concatenate([day, casual_day]).astype(np.int32),
        version=version,
        context=context_code(product, page, _devices(rng, people, product, user)),
        second=_seconds(rng, people.daypart[user, product]),
        playback=playback,
        views=(1 + rng.geometric(0.6, len(user)) - (page != HOME)).astype(np.int32),
    )


def radio_rows(
    rng: np.random.Generator, catalogue: Catalogue, people: People, present: Ints, week: int
) -> Rows:
    """Return visits to radio pages by some of the people who used iPlayer or Sounds in the week.

    Nobody visits only radio pages, so the product of both destinations has the same users with and without
    them.
    """
    users = present[people.radio[present] & (rng.random(len(present)) < RADIO_WEEKS)]
    first = np.clip(people.created[users] - 7 * week, 0, 6)
    day = (first + rng.random(len(users)) * (7 - first)).astype(np.int32)
    return Rows(
        user=users.astype(np.int32),
        day=day,
        version=_casual(rng, catalogue, people, SOUNDS, users, day, week),
        context=context_code(RADIO, LIVE, _devices(rng, people, SOUNDS, users)),
        second=_seconds(rng, people.daypart[users, SOUNDS]),
        playback=(60 + rng.exponential(1500.0, len(users))).astype(np.int32),
        views=np.ones(len(users), dtype=np.int32),
    )


ACTIVITY_SCHEMA = pa.schema(
    [
        (name, _PLAIN.get(name, pa.dictionary(pa.int32(), pa.string())))  # plain text in the file
        for name in ACTIVITY_COLUMNS
    ]
)


def merge_rows(catalogue: Catalogue, people: People, parts: list[Rows]) -> Rows:
    """Return one week's rows by day and person, without duplicates of page, version and device."""
    merged = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)
    }
    versions = len(catalogue.duration) + 1
    place = merged["day"].astype(np.int64) * len(people) + merged["user"]
    key = (place * CONTEXTS + merged["context"]) * versions + merged["version"] + 1
    _, first = np.unique(key, return_index=True)
    return Rows(**{name: values[first] for name, values in merged.items()})


def destination_of(rows: Rows) -> Ints:
    """Return the destination code of each row: iPlayer, Sounds or radio."""
    return np.asarray(rows.context // (3 * len(DEVICES)))


def activity_table(catalogue: Catalogue, people: People, rows: Rows, start: date, week: int) -> pa.Table:
    """Return one week's rows as a table with ``ACTIVITY_COLUMNS``.

    Text columns are dictionary arrays, which saves copying text.
    """
    user, version = rows.user, rows.version
    days = (start - date(1970, 1, 1)).days + 7 * week + rows.day
    moment = days.astype(np.int64) * 86_400_000_000 + rows.second.astype(np.int64) * 1_000_000
    destination, page, device = np.unravel_index(rows.context, (3, 3, len(DEVICES)))
    names = ("iplayer", "sounds", "radio")
    apps = [f"{name}-{app}" for name in names for app in _APP]
    columns = {
        "audience_id": _texts(user, people.ids),
        "destination": _texts((destination != IPLAYER).astype(np.int32), ["PS_IPLAYER", "PS_SOUNDS"]),
        "app_name": _texts(destination * len(DEVICES) + device, apps),
        "page_name": _texts(destination * 3 + page, [text for texts in _PAGES for text in texts]),
        "date_of_event": pa.array(days.astype(np.int32)).cast(pa.date32()),
        "event_datetime_min": pa.array(moment).cast(pa.timestamp("us")),
        "playback_time_total": pa.array(rows.playback),
        "page_views_total": pa.array(rows.views),
        "broadcast_type": _texts(page, ["On Demand", "Live", NULL]),
        "device_type": _texts(device, _DEVICE_TYPE),
        "browser_brand": _texts(device, _BROWSER),
    }
    for name, codes in catalogue.codes.items():
        columns[name] = _texts(codes[version], catalogue.texts[name])
    return pa.table({name: columns[name] for name in ACTIVITY_COLUMNS}, schema=ACTIVITY_SCHEMA)


def _texts(codes: NDArray[np.integer[Any]], texts: pa.Array | Sequence[str]) -> pa.Array:
    """Return a dictionary array of ``texts[code]``.

    Repeated texts are merged first: a dictionary with repeats gives Parquet files that differ between runs.
    """
    if not isinstance(texts, pa.Array):
        names, merged = np.unique(np.array(texts), return_inverse=True)
        codes, texts = merged[codes], pa.array(names.tolist(), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts)
