"""When simulated people use a product, and the exact probability that they stay away.

Weeks are simulated one after the other. Given the state at the end of a week, people and products are
independent. docs/simulator.md has the formulas.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from churn.sources.simulator.content import BACK, Catalogue, Flags, Floats, Ints, Schedule
from churn.sources.simulator.people import DEVICES, PHONES, People

SLOTS = 3  # brands that a person can follow at the same time
HABIT_DECAY = 0.7  # weekly weight of the past in the habit
LEVEL_FROM_HABIT = 0.9  # weight of the habit, against the usual share, in a week's share of active days
NEW_HABIT = 0.30  # habit of a new account
ROOTED_AT, ROOTED_WIDTH = 0.27, 0.05  # midpoint and width of the logistic step of a rooted habit
WATCH = 0.97  # probability that a present person watches the episode of a followed brand
DRIFT = 0.03  # weekly probability that a followed brand is dropped
FORGET = 3  # weeks without activity after which nothing is followed
SMART_TV = DEVICES.index("smart-tv")

# Special weeks by ISO week number: effect on the days of use (log) and on staying (log-odds).
SPECIAL_WEEKS = {52: 0.15, 1: 0.12, 20: 0.06, 27: 0.06, 28: 0.06, 37: 0.06, 46: 0.06}


@dataclass(frozen=True)
class Rates:
    """Log-odds coefficients of one product; docs/simulator.md explains them."""

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
_BINOMIAL = np.array([1.0, 7.0, 21.0, 35.0, 35.0, 21.0, 7.0, 1.0])  # binomial coefficients of 7


def logistic(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x))."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


@dataclass(frozen=True)
class Season:
    """Seasonal effects by week.

    Attributes:
        days: (weeks + 2,) factor on the share of days with activity.
        leave: (weeks + 2,) term in the log-odds of leaving.
    """

    days: Floats
    leave: Floats


def make_season(start: date, weeks: int) -> Season:
    """Return seasonal effects: a cosine over the year with its peak in mid-January, and special weeks."""
    mondays = [start + timedelta(days=7 * w) for w in range(weeks + 2)]
    phase = np.array([np.cos(2 * np.pi * (day.timetuple().tm_yday - 15) / 365.25) for day in mondays])
    special = np.array([SPECIAL_WEEKS.get(day.isocalendar().week, 0.0) for day in mondays])
    return Season(np.exp(0.05 * phase + special), -0.10 * phase - special)


@dataclass(frozen=True)
class FollowedBrands:
    """Counts of a person's followed brands in a week.

    Attributes:
        airing: (n,) followed brands with an episode in the week.
        ended: (n,) followed brands whose series ended at most three weeks before, without a new one.
    """

    airing: Floats
    ended: Floats


class ProductState:
    """The state of n people towards one product at the end of a week.

    Attributes:
        habit: (n,) exponentially weighted mean of the share of active days.
        active: (n,) whether there was activity in the last week.
        gap: (n,) number of weeks since the last activity.
        follows: (n, SLOTS) brands followed at the end of the last week; -1 = free slot.
        follows_before: the same one week earlier.
    """

    def __init__(self, rng: np.random.Generator, people: People, product: int) -> None:
        """Draw the initial state: existing accounts have their usual habit, and some people are away."""
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
        """Update the state to the end of a week with ``days`` (n,) active days."""
        self.active = days > 0
        self.gap = np.where(self.active, 0, self.gap + exists).astype(np.int32)
        habit = HABIT_DECAY * self.habit + (1 - HABIT_DECAY) * days / 7
        self.habit = np.where(exists, habit, self.habit)


def followed_brands(schedule: Schedule, follows: Ints, week: int) -> FollowedBrands:
    """Count the followed brands that air, or whose series ended, in a week."""
    column = week + BACK
    # A free slot, -1, reads the appended last entry.
    airs = np.append(schedule.airs[:, column], False)
    missed = np.append(schedule.missed[:, column], False)
    return FollowedBrands(
        airs[follows].sum(axis=1).astype(np.float64), missed[follows].sum(axis=1).astype(np.float64)
    )


@dataclass(frozen=True)
class WeekTraits:
    """The terms that do not depend on a person's state in the week.

    Attributes:
        leave: (n,) log-odds of leaving from newcomers, device, age and season.
        base: (n,) usual share of days.
        season_days: factor on the share of days.
    """

    leave: Floats
    base: Floats
    season_days: float


def week_traits(people: People, season: Season, product: int, week: int) -> WeekTraits:
    """Return the terms of n people and the season in ``week``."""
    rates = RATES[product]
    phone = PHONES[people.device[:, product]]
    # People are newcomers for about six weeks; then the effect fades.
    new = logistic(np.asarray(6.0 - people.weeks_old(week)) / 1.5)
    leave = (
        new * (rates.newcomer + rates.newcomer_phone * phone)
        - rates.tv * (people.device[:, product] == SMART_TV)
        + rates.phone * phone
        + rates.age * (np.minimum(np.abs(people.age - 46) / 17, 2.0) - 0.8)
        + season.leave[week]
    )
    return WeekTraits(leave, people.base[:, product], float(season.days[week]))


def presence_probability(
    rates: Rates, trait: WeekTraits, brands: FollowedBrands, habit: Floats, active: Flags, gap: Ints
) -> Floats:
    """Return the probability of presence in a week, given the state before it; shaped like ``habit``."""
    wide = (slice(None),) + (None,) * (habit.ndim - 1)
    airing, ended = brands.airing[wide], brands.ended[wide]
    leave = (
        rates.leave
        + trait.leave[wide]
        - rates.habit * habit
        - rates.rooted * logistic((habit - ROOTED_AT) / ROOTED_WIDTH)
        # People who follow only ended series leave, the more the weaker their habit.
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


def day_share(trait: WeekTraits, habit: Floats) -> Floats:
    """Return the probability of activity on a day of a week of presence; shaped like ``habit``."""
    wide = (slice(None),) + (None,) * (habit.ndim - 1)
    level = LEVEL_FROM_HABIT * habit + (1 - LEVEL_FROM_HABIT) * trait.base[wide]
    return np.clip(level * trait.season_days, 0.02, 0.97)


def stay_away_probability(
    people: People, catalogue: Catalogue, season: Season, state: ProductState, week: int
) -> Floats:
    """Return the exact probability of no activity in week + 2, given the state at the end of ``week``.

    It is a sum over the eight outcomes of the lead week (week + 1), 0 to 7 active days. Follows need no sum:
    they take effect two weeks after they begin, so both weeks depend on known ones.

    Returns:
        (n,) probabilities; 1 for people who do not use the product.
    """
    rates = RATES[state.product]
    schedule = catalogue.schedules[state.product]
    lead, target = (week_traits(people, season, state.product, week + ahead) for ahead in (1, 2))
    here = presence_probability(
        rates,
        lead,
        followed_brands(schedule, state.follows_before, week + 1),
        state.habit,
        state.active,
        state.gap,
    )[:, None]
    share = day_share(lead, state.habit)[:, None]
    chance = here * _BINOMIAL * share**_DAYS * (1 - share) ** (7 - _DAYS)
    chance[:, 0] += 1 - here[:, 0]
    habit = HABIT_DECAY * state.habit[:, None] + (1 - HABIT_DECAY) * _DAYS / 7
    gap = np.where(_DAYS > 0, 0, state.gap[:, None] + 1).astype(np.int32)
    there = presence_probability(
        rates, target, followed_brands(schedule, state.follows, week + 2), habit, _DAYS > 0, gap
    )
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
    """Draw the number of active days of a week, (n,); new accounts are active on their first day."""
    rates = RATES[state.product]
    trait = week_traits(people, season, state.product, week)
    share = day_share(trait, state.habit)
    brands = followed_brands(catalogue.schedules[state.product], state.follows_before, week)
    here = presence_probability(rates, trait, brands, state.habit, state.active, state.gap)
    days = np.where(rng.random(len(people)) < here, rng.binomial(7, share), 0)
    joins = people.created // 7 == week
    remaining_days = np.clip(6 - (people.created - 7 * week), 0, 6)
    days = np.where(joins, 1 + rng.binomial(remaining_days, share), days)
    return np.where(state.uses & (people.created < 7 * (week + 1)), days, 0).astype(np.int32)


def choose_follows(
    rng: np.random.Generator, people: People, schedule: Schedule, state: ProductState, days: Ints, week: int
) -> None:
    """Drop followed brands and follow new ones in a week with activity; changes ``state.follows``.

    A person follows at most one new brand a week, in a slot whose brand does not air.
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
