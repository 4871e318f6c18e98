"""How simulated people come, stay and go, and the exact probability that they stay away.

Everything happens week by week and, given the state at the end of a week, independently for each person and
product. docs/simulator.md states the same formulas in mathematical notation.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from churn.sources.simulator.content import BACK, Catalogue, Flags, Floats, Ints, Schedule
from churn.sources.simulator.people import DEVICES, PHONES, People

SLOTS = 3  # brands that a person can follow at the same time
HABIT_DECAY = 0.7  # weight of the past in the habit, a week
LEVEL_FROM_HABIT = 0.9  # how far this week's days depend on the habit, and not on the usual share of days
NEW_HABIT = 0.30  # habit at which every account starts
ROOTED_AT, ROOTED_WIDTH = 0.27, 0.05  # where a habit takes root, and how sharply
WATCH = 0.97  # a person who is there watches the episode of a brand they follow
DRIFT = 0.03  # a followed brand is dropped, a week
FORGET = 3  # weeks away after which nothing is followed any more
SMART_TV = DEVICES.index("smart-tv")

# Special weeks by ISO week number: effect on the days of use (log) and on staying (log-odds).
SPECIAL_WEEKS = {52: 0.15, 1: 0.12, 20: 0.06, 27: 0.06, 28: 0.06, 37: 0.06, 46: 0.06}


@dataclass(frozen=True)
class Rates:
    """Log-odds coefficients of one product (see docs/simulator.md for their meaning)."""

    leave: float
    habit: float
    rooted: float
    newcomer: float
    newcomer_phone: float
    ended: float
    part_ended: float
    airing: float
    tv: float
    phone: float
    age: float
    come_back: float
    come_back_habit: float
    come_back_airing: float
    gap: float
    follow: float


IPLAYER_RATES = Rates(
    leave=0.65,
    habit=3.0,
    rooted=2.0,
    newcomer=1.2,
    newcomer_phone=0.8,
    ended=3.5,
    part_ended=0.3,
    airing=1.6,
    tv=0.6,
    phone=0.3,
    age=0.5,
    come_back=0.1,
    come_back_habit=3.5,
    come_back_airing=0.6,
    gap=0.3,
    follow=0.25,
)
SOUNDS_RATES = Rates(
    leave=0.6,
    habit=3.2,
    rooted=2.2,
    newcomer=1.3,
    newcomer_phone=0.6,
    ended=3.3,
    part_ended=0.3,
    airing=1.5,
    tv=0.0,
    phone=-0.5,
    age=0.5,
    come_back=0.1,
    come_back_habit=3.5,
    come_back_airing=0.6,
    gap=0.3,
    follow=0.32,
)
RATES = (IPLAYER_RATES, SOUNDS_RATES)

_DAYS = np.arange(8)
_WAYS = np.array([1.0, 7.0, 21.0, 35.0, 35.0, 21.0, 7.0, 1.0])  # binomial coefficients of 7


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x))."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


@dataclass(frozen=True)
class Season:
    """What the time of the year does to everybody.

    Attributes:
        days: (weeks + 2,) factor on the share of days with activity.
        leave: (weeks + 2,) addition to the log-odds of leaving.
    """

    days: Floats
    leave: Floats


def make_season(start: date, weeks: int) -> Season:
    """More use in winter than in summer (cosine over the year, peak in mid-January), and special weeks."""
    mondays = [start + timedelta(days=7 * w) for w in range(weeks + 2)]
    phase = np.array([np.cos(2 * np.pi * (day.timetuple().tm_yday - 15) / 365.25) for day in mondays])
    special = np.array([SPECIAL_WEEKS.get(day.isocalendar().week, 0.0) for day in mondays])
    return Season(np.exp(0.05 * phase + special), -0.10 * phase - special)


@dataclass(frozen=True)
class Pull:
    """What a person's followed brands do in a week.

    Attributes:
        airing: (n,) followed brands with an episode in the week.
        ended: (n,) followed brands whose series ended at most three weeks before, with nothing new yet.
    """

    airing: Floats
    ended: Floats


class ProductState:
    """The state of n people towards one product at the end of a week.

    Attributes:
        habit: (n,) exponentially weighted mean of the share of active days.
        active: (n,) whether there was activity in the last week.
        gap: (n,) weeks without activity up to now.
        follows: (n, SLOTS) brands followed at the end of the last week; -1 = free slot.
        follows_before: the same one week earlier.
    """

    def __init__(self, rng: np.random.Generator, people: People, product: int) -> None:
        """Start with the usual habit of accounts that exist; some of their owners are away."""
        n, base = len(people), people.base[:, product]
        self.product = product
        self.uses = people.uses[:, product]
        exists = people.created < 0
        self.active = (rng.random(n) < 0.25 + 0.7 * base) & exists
        gap = np.where(exists, rng.geometric(0.25, n), 1)
        self.gap = np.where(self.active, 0, gap).astype(np.int32)
        self.habit = np.where(exists, base * HABIT_DECAY**self.gap, NEW_HABIT)
        self.follows = np.full((n, SLOTS), -1, dtype=np.int32)
        self.follows_before = self.follows.copy()

    def advance(self, days: Ints, exists: Flags) -> None:
        """Move to the end of a week in which people were active on so many ``days``."""
        self.active = days > 0
        self.gap = np.where(self.active, 0, self.gap + exists).astype(np.int32)
        habit = HABIT_DECAY * self.habit + (1 - HABIT_DECAY) * days / 7
        self.habit = np.where(exists, habit, self.habit)


def pull(schedule: Schedule, follows: Ints, week: int) -> Pull:
    """What the published schedule means to people who follow these brands."""
    column = week + BACK
    # Row -1, a free slot, reads the appended last entry.
    airs = np.append(schedule.airs[:, column], False)
    missed = np.append(schedule.missed[:, column], False)
    return Pull(airs[follows].sum(axis=1).astype(np.float64), missed[follows].sum(axis=1).astype(np.float64))


@dataclass(frozen=True)
class Traits:
    """The parts of the log-odds that do not change within a week.

    Attributes:
        leave: (n,) newcomers, device, age and season, for leaving.
        base: (n,) usual share of days.
        season_days: factor on the share of days.
    """

    leave: Floats
    base: Floats
    season_days: float


def traits(people: People, season: Season, product: int, week: int) -> Traits:
    """Collect what matters in ``week`` about n people and the season."""
    rates = RATES[product]
    phone = PHONES[people.device[:, product]]
    # A newcomer for about six weeks: flat at first, then fading.
    new = logistic(np.asarray(6.0 - people.weeks_old(week)) / 1.5)
    leave = (
        new * (rates.newcomer + rates.newcomer_phone * phone)
        - rates.tv * (people.device[:, product] == SMART_TV)
        + rates.phone * phone
        + rates.age * (np.minimum(np.abs(people.age - 46) / 17, 2.0) - 0.8)
        + season.leave[week]
    )
    return Traits(leave, people.base[:, product], float(season.days[week]))


def presence(rates: Rates, trait: Traits, pulled: Pull, habit: Floats, active: Flags, gap: Ints) -> Floats:
    """Probability of being there in a week, given the state before it: shaped like ``habit``."""
    wide = (slice(None),) + (None,) * (habit.ndim - 1)
    airing, ended = pulled.airing[wide], pulled.ended[wide]
    leave = (
        rates.leave
        + trait.leave[wide]
        - rates.habit * habit
        - rates.rooted * logistic((habit - ROOTED_AT) / ROOTED_WIDTH)
        # Who follows nothing but what has ended leaves, the more so without a habit to fall back on.
        + rates.ended * (ended > 0) * (airing == 0) * (1.2 - habit)
        + rates.part_ended * (ended > 0) * (airing > 0)
        - rates.airing * np.minimum(airing, 2.0) * (1.0 - 0.5 * habit)
    )
    back = (
        rates.come_back
        + rates.come_back_habit * habit
        + rates.come_back_airing * np.minimum(airing, 2.0)
        - rates.gap * np.log(np.maximum(gap, 1))
    )
    return logistic(np.where(active, -leave, back))


def day_share(trait: Traits, habit: Floats) -> Floats:
    """Probability of activity on a day of a week in which the person is there; shaped like ``habit``."""
    wide = (slice(None),) + (None,) * (habit.ndim - 1)
    level = LEVEL_FROM_HABIT * habit + (1 - LEVEL_FROM_HABIT) * trait.base[wide]
    return np.clip(level * trait.season_days, 0.02, 0.97)


def stay_away_probability(
    people: People, catalogue: Catalogue, season: Season, state: ProductState, week: int
) -> Floats:
    """Exact probability of no activity in week + 2, given everything up to the end of ``week``.

    What happens in the lead week (week + 1) is summed over its eight outcomes, 0 to 7 active days. Follows
    need no sum: they count from the second week after they were made, so both weeks depend on known ones.

    Returns:
        (n,) probabilities; 1 for people who do not use the product.
    """
    rates = RATES[state.product]
    schedule = catalogue.schedules[state.product]
    lead, target = (traits(people, season, state.product, week + ahead) for ahead in (1, 2))
    here = presence(
        rates, lead, pull(schedule, state.follows_before, week + 1), state.habit, state.active, state.gap
    )[:, None]
    share = day_share(lead, state.habit)[:, None]
    chance = here * _WAYS * share**_DAYS * (1 - share) ** (7 - _DAYS)
    chance[:, 0] += 1 - here[:, 0]
    habit = HABIT_DECAY * state.habit[:, None] + (1 - HABIT_DECAY) * _DAYS / 7
    gap = np.where(_DAYS > 0, 0, state.gap[:, None] + 1).astype(np.int32)
    there = presence(rates, target, pull(schedule, state.follows, week + 2), habit, _DAYS > 0, gap)
    quiet = 1 - there * (1 - (1 - day_share(target, habit)) ** 7)
    return np.where(state.uses, (chance * quiet).sum(axis=1), 1.0)


def draw_days(
    rng: np.random.Generator,
    people: People,
    catalogue: Catalogue,
    season: Season,
    state: ProductState,
    week: int,
) -> Ints:
    """(n,) number of active days of a week; newcomers use the product on the day they make their account."""
    rates = RATES[state.product]
    trait = traits(people, season, state.product, week)
    share = day_share(trait, state.habit)
    pulled = pull(catalogue.schedules[state.product], state.follows_before, week)
    here = presence(rates, trait, pulled, state.habit, state.active, state.gap)
    days = np.where(rng.random(len(people)) < here, rng.binomial(7, share), 0)
    joins = people.created // 7 == week
    left = np.clip(6 - (people.created - 7 * week), 0, 6)
    days = np.where(joins, 1 + rng.binomial(left, share), days)
    return np.where(state.uses & (people.created < 7 * (week + 1)), days, 0).astype(np.int32)


def choose_follows(
    rng: np.random.Generator, people: People, schedule: Schedule, state: ProductState, days: Ints, week: int
) -> None:
    """Drift away from brands and pick up new ones in a week with activity; changes ``state.follows``.

    A person follows at most one new brand a week, in a slot whose brand has nothing on.
    """
    n = len(days)
    column = week + BACK
    airs = np.append(schedule.airs[:, column], False)
    state.follows_before = state.follows
    follows = state.follows.copy()
    active = days > 0
    follows[~active & (state.gap + 1 >= FORGET)] = -1
    dropped = (rng.random(follows.shape) < DRIFT) & active[:, None] & airs[follows]
    follows[dropped] = -1
    idle = ~airs[follows]
    slot = idle.argmax(axis=1)
    eager = RATES[state.product].follow * people.scripted[:, state.product]
    picks = active & idle.any(axis=1) & (rng.random(n) < eager)
    genre = (people.taste[state.product] < rng.random(n)[:, None]).sum(axis=1)
    place = np.searchsorted(schedule.pick[column], genre + rng.random(n), side="left")
    brand = schedule.pick_brand[np.minimum(place, len(schedule.pick_brand) - 1)]
    picks &= (brand >= 0) & ~(follows == brand[:, None]).any(axis=1)
    rows = np.flatnonzero(picks)
    follows[rows, slot[rows]] = brand[rows]
    state.follows = follows
