"""The simulated schedule: brands with series and weekly episodes, and programmes outside series.

Week 0 is the first week of the simulation. The catalogue starts ``BACK`` weeks earlier and ends two weeks
later, with the target week of the last as-of date.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

IPLAYER, SOUNDS = 0, 1
BACK = 14  # weeks of schedule before the first simulated week
AHEAD = 2  # weeks of published schedule after the last one
NULL = "null"

GENRES = (
    "Comedy",
    "Drama",
    "Entertainment",
    "Children's",
    "Factual",
    "Learning",
    "Music",
    "News",
    "Religion & Ethics",
    "Sport",
    "Weather",
)
# Share of each genre in the schedule and in average taste; rows: iPlayer, Sounds.
GENRE_WEIGHT = np.array(
    [
        [0.13, 0.22, 0.15, 0.09, 0.13, 0.03, 0.04, 0.09, 0.02, 0.09, 0.01],
        [0.13, 0.10, 0.08, 0.02, 0.15, 0.04, 0.25, 0.12, 0.03, 0.07, 0.01],
    ]
)
SCRIPTED = np.array([g in ("Comedy", "Drama", "Entertainment", "Factual") for g in GENRES])
LIVE_GENRES = np.array([g in ("News", "Sport", "Weather", "Music") for g in GENRES])

BRANDS = (220, 180)  # brands with series
CONTINUING = (0.10, 0.14)  # share of them that never end
EPISODES = ((3, 8), (4, 9))  # fewest and most episodes of a series
REST = (5, 14)  # weeks between two series of a brand
CASUAL_ITEMS = 6  # programmes outside series per product, genre and week
MEMORY = 3  # number of weeks in which an ended series is missed

CONTENT_COLUMNS = (
    "version_id",
    "version_type",
    "episode_id",
    "series_id",
    "brand_id",
    "clip_id",
    "brand_title",
    "series_title",
    "programme_title",
    "episode_title",
    "presentation_title",
    "clip_title",
    "programme_duration",
    "genres_list_a_names",
    "pips_genre_level_1_names",
    "format_names",
    "media_type",
    "master_brand_id",
    "master_brand_name",
    "tx_date",
    "tx_start",
    "bbc_st_pips",
)

_MASTERS = (
    (("bbc_one", "BBC One"), ("bbc_two", "BBC Two"), ("bbc_three", "BBC Three"), ("bbc_four", "BBC Four")),
    (
        ("bbc_radio_four", "BBC Radio 4"),
        ("bbc_radio_one", "BBC Radio 1"),
        ("bbc_radio_two", "BBC Radio 2"),
        ("bbc_sounds_podcasts", "BBC Sounds Podcasts"),
    ),
)
_FIRST = [
    "Harbour",
    "Midnight",
    "Silver",
    "Hidden",
    "Northern",
    "Quiet",
    "Golden",
    "Broken",
    "Paper",
    "Winter",
    "Copper",
    "Distant",
    "Second",
    "Open",
    "Velvet",
    "Salt",
    "Empty",
    "Long",
    "Crooked",
    "Bright",
]
_LAST = [
    "Files",
    "Orchard",
    "Street",
    "Lines",
    "Tide",
    "Garden",
    "Kitchen",
    "Detectives",
    "Letters",
    "Bridge",
    "Hours",
    "Company",
    "Stories",
    "House",
    "Road",
    "Island",
    "Workshop",
    "Trial",
    "Season",
    "Choir",
]


@dataclass(frozen=True)
class Schedule:
    """What one product publishes. Weeks index the second axis, shifted by ``BACK``.

    Attributes:
        airs: (brands, weeks) whether the brand publishes an episode in the week.
        missed: (brands, weeks) whether its series ended at most ``MEMORY`` weeks before, without a new one.
        episode: (brands, weeks) row of the catalogue, or -1.
        previous: (brands, weeks) row of the same series' episode of the week before, or -1.
        weekday: (brands,) day of the week on which it is published (0 = Monday).
        pick: (weeks, brands + genres) cumulative weights for picking a brand to follow: the brands of genre g
            share the interval (g, g + 1].
        pick_brand: (brands + genres,) the brand of each weight; -1 = none.
        casual: (weeks, genres) first of the ``CASUAL_ITEMS`` catalogue rows of programmes outside series.
    """

    airs: Flags
    missed: Flags
    episode: Ints
    previous: Ints
    weekday: Ints
    pick: Floats
    pick_brand: Ints
    casual: Ints


@dataclass(frozen=True)
class Catalogue:
    """The content table, and columns of it as arrays by row.

    Attributes:
        table: one row per version, with ``CONTENT_COLUMNS``.
        schedules: the schedules of iPlayer and Sounds.
        duration: (versions,) seconds.
        weekday: (versions,) weekday of first transmission.
        live: (versions,) whether it is mostly watched as a live broadcast.
        codes: dictionary codes (versions + 1,) of each id and genre column of the activity table; the last
            code means 'null'.
        texts: the dictionaries of those codes.
    """

    table: pa.Table
    schedules: tuple[Schedule, Schedule]
    duration: Ints
    weekday: Ints
    live: Flags
    codes: dict[str, Ints]
    texts: dict[str, pa.Array]


class _Rows:
    """Collects catalogue rows in the order in which they are drawn."""

    def __init__(self, start: date) -> None:
        self.start = start
        self.columns: dict[str, list[str]] = {name: [] for name in CONTENT_COLUMNS}
        self.duration: list[int] = []
        self.weekday: list[int] = []
        self.live: list[bool] = []

    def add(self, week: int, weekday: int, hour: int, duration: int, live: bool, **texts: str) -> int:
        """Append a version; return its row number."""
        row = len(self.duration)
        day = self.start + timedelta(days=7 * week + weekday)
        texts.setdefault("version_id", f"v{row:07x}")
        texts["programme_duration"] = str(duration)
        texts["tx_date"] = day.isoformat()
        texts["tx_start"] = f"{day.isoformat()} {hour:02d}:00:00"
        for name, values in self.columns.items():
            values.append(texts.get(name, NULL))
        self.duration.append(duration)
        self.weekday.append(weekday)
        self.live.append(live)
        return row


def _genre_text(rng: np.random.Generator, genre: int) -> str:
    """Return the genre's name; sometimes with a second genre, as in real catalogues."""
    second = int(rng.integers(len(GENRES)))
    if rng.random() < 0.1 and second != genre:
        return f"{GENRES[genre]};{GENRES[second]}"
    return GENRES[genre]


def _runs(rng: np.random.Generator, product: int, weeks: int) -> list[tuple[int, int]]:
    """Return (first week, episodes) of each series of a brand that overlaps weeks -BACK to weeks + 1."""
    if rng.random() < CONTINUING[product]:
        return [(-BACK, BACK + weeks + AHEAD)]
    low, high = EPISODES[product]
    first = -BACK - int(rng.integers(0, high + REST[1]))
    runs = []
    while first < weeks + AHEAD:
        episodes = int(rng.integers(low, high + 1))
        if first + episodes > -BACK:
            runs.append((first, episodes))
        first += episodes + int(rng.integers(REST[0], REST[1] + 1))
    return runs


def _brands(
    rng: np.random.Generator, rows: _Rows, product: int, weeks: int
) -> tuple[Ints, Ints, Ints, Floats, Ints]:
    """Add the brands' episodes to ``rows``.

    Returns:
        Rows of episodes and previous episodes (brands, weeks), weekday, pick weight (weeks, brands), genre.
    """
    brands, span = BRANDS[product], BACK + weeks + AHEAD
    episode = np.full((brands, span), -1, dtype=np.int32)
    previous = np.full((brands, span), -1, dtype=np.int32)
    weekday = rng.choice(7, size=brands, p=[0.6, 0.25, 0.1, 0.05, 0.0, 0.0, 0.0]).astype(np.int32)
    genre = rng.choice(len(GENRES), size=brands, p=GENRE_WEIGHT[product]).astype(np.int32)
    popularity = (1.0 + np.arange(brands)) ** -0.5
    weight = np.zeros((span, brands))
    minutes = (30, 45, 60) if product == IPLAYER else (15, 30, 45)
    for b in range(brands):
        master = _MASTERS[product][int(rng.integers(4))]
        title = f"{_FIRST[int(rng.integers(20))]} {_LAST[int(rng.integers(20))]}"
        genres = _genre_text(rng, int(genre[b]))
        seconds = 60 * int(rng.choice(minutes))
        hour = int(rng.integers(6, 23))
        brand_id = f"b{product}{b:06x}"
        for number, (first, episodes) in enumerate(_runs(rng, product, weeks), start=1):
            last_row = -1
            for i in range(episodes):
                week = first + i
                if not -BACK <= week < weeks + AHEAD:
                    continue
                column = week + BACK
                last_row, before = (
                    rows.add(
                        week,
                        int(weekday[b]),
                        hour,
                        seconds,
                        False,
                        version_type="Original",
                        episode_id=f"m{len(rows.duration):07x}",
                        series_id=f"s{product}{b:04x}{number:02x}",
                        brand_id=brand_id,
                        brand_title=title,
                        series_title=f"Series {number}",
                        programme_title=title,
                        episode_title=f"Episode {i + 1}",
                        presentation_title=f"{i + 1}/{episodes}",
                        genres_list_a_names=genres,
                        pips_genre_level_1_names=genres,
                        format_names=NULL,
                        media_type="video" if product == IPLAYER else "audio",
                        master_brand_id=master[0],
                        master_brand_name=master[1],
                        bbc_st_pips=brand_id,
                    ),
                    last_row,
                )
                episode[b, column], previous[b, column] = last_row, before
                # People start with premieres more often, and never with a finale.
                weight[column, b] = popularity[b] * (3.0 if i < 2 else 1.0) * (i < episodes - 1)
    return episode, previous, weekday, weight, genre


def _casual(rng: np.random.Generator, rows: _Rows, product: int, weeks: int) -> Ints:
    """Add the programmes outside series (news, matches, films, clips); return their first rows."""
    span = BACK + weeks + AHEAD
    first = np.zeros((span, len(GENRES)), dtype=np.int32)
    for column in range(span):
        for g, name in enumerate(GENRES):
            first[column, g] = len(rows.duration)
            for i in range(CASUAL_ITEMS):
                # Item 0 is published on Monday, so that every day has a programme to choose.
                weekday = 0 if i == 0 else int(rng.integers(7))
                master = _MASTERS[product][int(rng.integers(4))]
                live = bool(LIVE_GENRES[g]) and i < 4
                clip = i == CASUAL_ITEMS - 1
                strand = (
                    bool(LIVE_GENRES[g]) and i == 1
                )  # a strand has a brand but no series; a one-off has neither
                row = len(rows.duration)
                texts = {
                    "version_type": "Original",
                    "episode_id": NULL if clip else f"m{row:07x}",
                    "clip_id": f"p{row:07x}" if clip else NULL,
                    "clip_title": f"{name} highlights" if clip else NULL,
                    "brand_id": f"b{product}f{g:02x}{i:03x}" if strand else ("N/A" if clip else NULL),
                    "brand_title": f"{master[1].split()[1]} {name} {i + 1}" if strand else NULL,
                    "programme_title": f"{name} {i + 1}",
                    "episode_title": f"{name} of week {column + 1}",
                    "presentation_title": "",
                    "genres_list_a_names": name,
                    "pips_genre_level_1_names": name,
                    "format_names": "n/a" if clip else NULL,
                    "media_type": "video" if product == IPLAYER else "audio",
                    "master_brand_id": master[0],
                    "master_brand_name": master[1],
                }
                seconds = 180 if clip else int(rng.choice([1200, 1800, 3600, 5400]))
                rows.add(column - BACK, weekday, int(rng.integers(6, 23)), seconds, live, **texts)
    return first


def _pick_tables(weight: Floats, genre: Ints) -> tuple[Floats, Ints]:
    """Return cumulative pick weights by week, and the brand of each (see ``Schedule.pick``)."""
    order = np.argsort(genre, kind="stable")
    span = weight.shape[0]
    columns, brands = [], []
    for g in range(len(GENRES)):
        members = order[genre[order] == g]
        share = weight[:, members]
        total = share.sum(axis=1, keepdims=True)
        steps = np.cumsum(np.divide(share, total, out=np.zeros_like(share), where=total > 0), axis=1)
        # A last entry without a brand closes the interval; it is picked only if the genre has no brand on.
        columns.append(np.concatenate([g + np.minimum(steps, 1.0), np.full((span, 1), g + 1.0)], axis=1))
        brands.append(np.append(members, -1))
    return np.concatenate(columns, axis=1), np.concatenate(brands).astype(np.int32)


def _schedule(rng: np.random.Generator, rows: _Rows, product: int, weeks: int) -> Schedule:
    episode, previous, weekday, weight, genre = _brands(rng, rows, product, weeks)
    airs = episode >= 0
    missed = np.zeros_like(airs)
    for gap in range(1, MEMORY + 1):
        missed[:, gap:] |= airs[:, :-gap]
    missed &= ~airs
    pick, pick_brand = _pick_tables(weight, genre)
    casual = _casual(rng, rows, product, weeks)
    return Schedule(airs, missed, episode, previous, weekday, pick, pick_brand, casual)


def make_catalogue(rng: np.random.Generator, start: date, weeks: int) -> Catalogue:
    """Return the schedule of both products, from ``BACK`` weeks before ``start`` to two weeks after the end.

    Args:
        rng: random generator.
        start: Monday of week 0.
        weeks: simulated weeks.
    """
    rows = _Rows(start)
    schedules = (_schedule(rng, rows, IPLAYER, weeks), _schedule(rng, rows, SOUNDS, weeks))
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.columns.items()})
    codes, texts = {}, {}
    for name in ("version_id", "episode_id", "series_id", "brand_id", "clip_id", "pips_genre_level_1_names"):
        encoded = table[name].combine_chunks().dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if NULL not in values:
            values.append(NULL)
        codes[name] = np.append(encoded.indices.to_numpy(), values.index(NULL)).astype(np.int32)
        texts[name] = pa.array(values, pa.string())
    return Catalogue(
        table,
        schedules,
        np.array(rows.duration, dtype=np.int32),
        np.array(rows.weekday, dtype=np.int32),
        np.array(rows.live, dtype=np.bool_),
        codes,
        texts,
    )
