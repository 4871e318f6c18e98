"""The simulated people: traits, tastes and account tables."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from churn.sources.simulator.content import GENRE_WEIGHT, GENRES, NULL, SCRIPTED, Flags, Floats, Ints

DEVICES = ("desktop-web", "smart-tv", "mobile-app", "mobile-web", "tablet-app", "tablet-web", "other-web")
DEVICE_WEIGHT = np.array(
    [[0.16, 0.42, 0.14, 0.05, 0.14, 0.06, 0.03], [0.18, 0.04, 0.52, 0.10, 0.10, 0.03, 0.03]]
)
PHONES = np.array(["mobile" in name for name in DEVICES])
DAYPARTS = ((6, 9), (10, 16), (17, 19), (20, 21), (22, 23), (0, 5))  # first and last hour
DAYPART_WEIGHT = np.array([[0.06, 0.18, 0.24, 0.32, 0.15, 0.05], [0.32, 0.30, 0.18, 0.08, 0.07, 0.05]])
# Weights of weekdays by rhythm: even, working days, weekend.
WEEKDAY_WEIGHT = np.array(
    [[1.0] * 7, [1.4, 1.4, 1.4, 1.4, 1.2, 0.5, 0.4], [0.5, 0.5, 0.5, 0.6, 1.1, 2.0, 2.0]]
)

NEWCOMERS = 0.22  # share of accounts created during the simulated weeks
ONLY_IPLAYER, ONLY_SOUNDS = 0.30, 0.16  # the others use both
DELETED, DUPLICATED = 0.004, 0.002

PROFILE_COLUMNS = (
    "bbc_hid3",
    "status",
    "cal_createdate",
    "age",
    "gender",
    "location",
    "enablepersonalisation",
    "mailverified",
)
EXTENSION_COLUMNS = (
    "bbc_hid3",
    "age_range",
    "nation",
    "barb_region",
    "acorn_type_description",
    "acorn_group_description",
    "acorn_category_description",
    "acorn_category",
)
_REGIONS = (
    ("England", "London"),
    ("England", "South and South East"),
    ("England", "North West"),
    ("England", "Midlands"),
    ("England", "Yorkshire"),
    ("England", "East of England"),
    ("Scotland", "Scotland"),
    ("Wales", "Wales"),
    ("Northern Ireland", "Northern Ireland"),
    (NULL, NULL),
)
_REGION_WEIGHT = (0.17, 0.16, 0.13, 0.14, 0.09, 0.1, 0.09, 0.06, 0.03, 0.03)
_ACORN = (
    "Affluent Achievers",
    "Rising Prosperity",
    "Comfortable Communities",
    "Financially Stretched",
    "Urban Adversity",
)
_AGE_RANGES = ((16, "Under 16"), (25, "16-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (200, "55+"))


@dataclass(frozen=True)
class People:
    """Traits of n people; two-column arrays hold iPlayer and Sounds.

    Attributes:
        ids: (n,) user ids.
        uses: (n, 2) whether a person uses the product at all.
        created: (n,) day on which the account was created, from the first simulated Monday; may be negative.
        base: (n, 2) usual share of days with activity in weeks of presence, in (0, 1).
        scripted: (n, 2) share of taste in genres with series, in (0, 1).
        taste: for each product (n, genres) cumulative shares.
        device: (n, 2) main device, an index into ``DEVICES``.
        second_device: (n, 2) the other device.
        daypart: (n, 2) usual daypart, an index into ``DAYPARTS``.
        rhythm: (n,) row of ``WEEKDAY_WEIGHT``.
        age: (n,) years.
        radio: (n,) whether a person sometimes visits the radio pages.
    """

    ids: pa.Array
    uses: Flags
    created: Ints
    base: Floats
    scripted: Floats
    taste: tuple[Floats, Floats]
    device: Ints
    second_device: Ints
    daypart: Ints
    rhythm: Ints
    age: Ints
    radio: Flags

    def __len__(self) -> int:
        return len(self.created)

    def weeks_old(self, week: int) -> Floats:
        """Return the age of each account at the start of a week, in weeks; 0 in its first week."""
        return np.asarray(np.maximum(7.0 * week - self.created, 0.0) / 7.0)


def _choose(rng: np.random.Generator, weights: Floats | tuple[float, ...], n: int) -> Ints:
    return rng.choice(len(weights), size=n, p=np.asarray(weights) / np.sum(weights)).astype(np.int32)


def make_people(rng: np.random.Generator, first: int, n: int, weeks: int) -> People:
    """Draw n people, numbered from ``first``; people with created >= 0 join during the simulation."""
    age = np.clip(rng.normal(44, 17, n), 13, 92).astype(np.int32)
    kind = rng.random(n)
    uses = np.stack(
        [kind < 1 - ONLY_SOUNDS, (kind < 1 - ONLY_SOUNDS - ONLY_IPLAYER) | (kind >= 1 - ONLY_SOUNDS)], 1
    )
    newcomer = rng.random(n) < NEWCOMERS
    joined = rng.integers(0, 7 * weeks, n)
    before = -1 - np.minimum(rng.exponential(900.0, n), 4000.0).astype(np.int64)
    shared = rng.normal(0.0, 0.5, n) + 0.012 * (age - 44)
    base = 1.0 / (1.0 + np.exp(-(np.array([-0.45, -0.5]) + shared[:, None] + rng.normal(0.0, 0.85, (n, 2)))))
    tastes, scripted = [], []
    for product in range(2):
        gamma = rng.gamma(np.maximum(6.0 * GENRE_WEIGHT[product], 0.12), size=(n, len(GENRES))) + 1e-9
        share = gamma / gamma.sum(axis=1, keepdims=True)
        tastes.append(np.cumsum(share, axis=1))
        scripted.append(share[:, SCRIPTED].sum(axis=1))
    devices = [_choose(rng, DEVICE_WEIGHT[p], n) for p in (0, 1)]
    others = [_choose(rng, DEVICE_WEIGHT[p], n) for p in (0, 1)]
    dayparts = [_choose(rng, DAYPART_WEIGHT[p], n) for p in (0, 1)]
    return People(
        ids=pa.array([f"u{first + i:08d}" for i in range(n)], pa.string()),
        uses=uses,
        created=np.where(newcomer, joined, before).astype(np.int32),
        base=base,
        scripted=np.stack(scripted, axis=1),
        taste=(tastes[0], tastes[1]),
        device=np.stack(devices, axis=1),
        second_device=np.stack(others, axis=1),
        daypart=np.stack(dayparts, axis=1),
        rhythm=_choose(rng, (0.5, 0.28, 0.22), n),
        age=age,
        radio=rng.random(n) < 0.25,
    )


def profile_tables(rng: np.random.Generator, people: People, start: date) -> tuple[pa.Table, pa.Table]:
    """Return the account table and its extension; a few accounts are deleted or have two rows."""
    n = len(people)
    status = np.where(rng.random(n) < DELETED, "deleted", "active")
    twice = np.flatnonzero(rng.random(n) < DUPLICATED)
    region = _choose(rng, _REGION_WEIGHT, n)
    acorn = _choose(rng, (0.22, 0.12, 0.28, 0.22, 0.16), n)
    group = rng.integers(1, 4, n)
    gender = np.array(["female", "male", "other", NULL])[_choose(rng, (0.46, 0.42, 0.01, 0.11), n)]
    age_known = rng.random(n) < 0.93
    bounds = np.array([upper for upper, _ in _AGE_RANGES])
    age_range = np.array([label for _, label in _AGE_RANGES])[
        np.searchsorted(bounds, people.age, side="right")
    ]
    place = np.array([nation for nation, _ in _REGIONS])[region]
    category = np.array(_ACORN)[acorn]
    created = pa.array([start + timedelta(days=int(day)) for day in people.created], pa.date32())
    profile = {
        "bbc_hid3": people.ids,
        "status": status,
        "cal_createdate": created,
        "age": pa.array(people.age, mask=~age_known),
        "gender": gender,
        "location": np.where(place == NULL, "outside UK", "GB"),
        "enablepersonalisation": np.where(rng.random(n) < 0.9, "true", "false"),
        "mailverified": np.where(rng.random(n) < 0.75, "true", "false"),
    }
    extension = {
        "bbc_hid3": people.ids,
        "age_range": np.where(age_known, age_range, NULL),
        "nation": place,
        "barb_region": np.array([name for _, name in _REGIONS])[region],
        "acorn_type_description": [f"{c} type {g}" for c, g in zip(category, group, strict=True)],
        "acorn_group_description": [f"{c} group {g}" for c, g in zip(category, group, strict=True)],
        "acorn_category_description": category,
        "acorn_category": (acorn + 1).astype("U"),
    }
    rows = np.concatenate([np.arange(n), twice])
    accounts = pa.table(profile).take(rows)
    details = pa.table(extension)
    return accounts, details
