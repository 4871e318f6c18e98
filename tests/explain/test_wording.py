import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.config.load import builtin_products
from churn.config.settings import Product
from churn.core import datasets
from churn.core.errors import RunError, UsageError
from churn.explain.user import explain_user
from churn.explain.wording import describe_reasons, describe_sum, habit, limit
from churn.features.catalogue import TEXT, Feature, catalogue
from churn.features.phrases import Phrases
from churn.sources.availability import Availability
from churn.warehouse.templates import sql_root

SHOP = Product(
    title="food",
    match=("food",),
    verb="bought",
    value_unit="dollars",
    categories=("produce",),
    devices=("till",),
)
EVENTS = Product(title="app", match=("app",), value_unit="events", categories=("a {b} c", "news | views"))
PRODUCTS = {
    **{name: Product(**given) for name, given in builtin_products().items()},
    "shop": SHOP,
    "events": EVENTS,
    "boxes": Product(title="boxes", match=("boxes",), verb="shopped in", value_unit="boxes"),
}
FEATURES = [
    (name, feature)
    for name, product in PRODUCTS.items()
    for feature in catalogue(product, Availability()).features
]
BY_NAME = {name: {f.name: f for p, f in FEATURES if p == name} for name in PRODUCTS}


def said(feature: Feature, value: str | None, contribution: float = 0.47, own=None, typical=None) -> str:
    """A reason without its effect."""
    reason = {"feature": feature.name, "value": value, "contribution": contribution}
    line = describe_reasons([reason], {feature.name: feature}, own, typical)[0]
    found = re.fullmatch(
        r"(?s)(.*) \((?:(?:raises|lowers) the risk: x[\d.,e+]+ odds|.*), [+-]\d+\.\d\d\)", line
    )
    assert found, line
    return found[1]


# --- every feature of every product ---


def is_english(text: str) -> bool:
    wrong = [
        r"[{}\[\]]" if "a {b} c" not in text else r"\[",
        r" {2}|^ | $| ,",
        r"\b(nan|None|inf|null)\b",
        # One of many, many of one. "1 series" is right, and "categories" is not one of them.
        r"(?<![\d.,])1 (?!series\b)(\w+ )?\w*[^s\W]s\b(?! ago)",
        r"(?<![\d.,])[2-9] (day|week|play|item|hour|minute|second|event|year|purchase|box|unit|dollar)\b",
        r"_|\bw\d+\b|e[+-]\d",
        r"only .*only|no no|under 0\.0\b|-0\b",
    ]
    return not [pattern for pattern in wrong if re.search(pattern, text)]


VALUES = (
    "0",
    "1",
    "2",
    "0.2571",
    "1.5",
    "12.3",
    "999.7",
    "12345.678",
    "1e-7",
    "0.9999",
    "100000000",
    None,
    "wales",
)


@pytest.mark.parametrize("value", VALUES)
def test_every_feature_of_every_product_is_told_in_english(value: str | None) -> None:
    for product, feature in FEATURES:
        if feature.type == TEXT and value == "1e-7":  # a text is told as it is
            continue
        for contribution in (0.47, -0.47, 0.0):
            for usual in (None, 0.0, 1.0, 1.5, 4.0, 13.7, 5000.0):
                own = {name: usual if i == 0 else 2.0 for i, name in enumerate(habit(feature))}
                typical = {} if usual is None else {feature.name: usual}
                text = said(feature, value, contribution, own, typical)
                assert is_english(text), (product, feature.name, text)


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_feature_has_a_phrase_for_raises_and_one_for_lowers(product: str) -> None:
    for feature in BY_NAME[product].values():
        assert feature.phrases.raises, feature.name
        assert feature.phrases.lowers, feature.name
        assert "{only}" not in feature.phrases.lowers
        assert set(habit(feature)) <= BY_NAME[product].keys()
        assert bool(feature.phrases.tail) or not feature.phrases.usual
        if feature.type == TEXT:
            assert feature.phrases.missing


@given(
    st.sampled_from(FEATURES),
    st.one_of(st.none(), st.floats(width=32), st.integers(-10, 10**9), st.text(max_size=30)),
    st.floats(-30, 30, width=32),
    st.one_of(st.none(), st.floats(0, 1e9)),
)
def test_any_value_can_be_told(pair, value, contribution, usual) -> None:
    feature = pair[1]
    stored = None if value is None else str(value)
    text = said(feature, stored, contribution, dict.fromkeys(habit(feature), usual), {feature.name: usual})
    assert text
    if feature.type != TEXT and not isinstance(value, str) and value != math.inf:
        assert not re.search(r"\b(nan|None|inf)\b", text)


@given(st.text(max_size=40))
def test_a_category_is_told_by_its_own_name(category: str) -> None:
    product = Product(title="tv", value_unit="seconds", categories=(category,))
    (feature,) = (
        f for f in catalogue(product, Availability()).features if f.name.startswith("share_category")
    )
    assert said(feature, "0.5") == f"50% of playback in {category}"
    assert said(feature, "0") == f"no playback in {category}"


def test_a_unit_that_is_blank_leaves_no_gap() -> None:
    for feature in catalogue(Product(title="x", value_unit=" "), Availability()).features:
        assert is_english(said(feature, "0") + " " + said(feature, "3")), feature.name


def test_the_habit_is_divided_by_the_weights_that_the_sql_gives_it() -> None:
    assert "0.7 ** loop.index0" in (sql_root() / "features" / "features_activity.sql").read_text()
    steady = str(sum(3 * 0.7**week for week in range(13)))
    assert said(BY_NAME["iplayer"]["habit_days"], steady) == "watched on 3 days a week lately"


def test_two_features_never_say_the_same() -> None:
    for product, features in BY_NAME.items():
        if product == "events":  # where an event's value is 1, two columns are one
            continue
        texts = [said(feature, "3") for feature in features.values()]
        assert len(set(texts)) == len(texts), product


# --- what is said ---

HABITS = {
    "days_13w": 50,
    "active_weeks_13w": 13,
    "value_13w": 117_000,
    "events_13w": 18,
    "days_between_visits": 1.7,
}
TYPICAL = {
    "habit_days": 9.0, "tenure_days": 214, "share_category_drama": 0.12, "days_4w": 11, "gaps": 2,
    "longest_gap_weeks": 2.5, "lifetime_value": 1_000_000, "items_13w": 41, "streak_weeks": 5, "age": 44,
    "activation_weeks": 12, "favourite_share": 0.4, "favourite_f3": -0.2, "newsletter_days": 400,
    "mail_opens_13w": 6, "follows_ever": 8, "subscribes_1w": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("product", "feature", "value", "contribution", "text"),
    [
        ("iplayer", "days_w2", "1", 0.5, "watched on only 1 day last week, usually 4"),
        ("iplayer", "days_w2", "6", -0.5, "watched on 6 days last week, usually 4"),
        ("iplayer", "days_w2", "6", 0.5, "watched on 6 days last week, usually 4"),  # "only" must be true
        ("iplayer", "days_w2", "1", -0.5, "watched on 1 day last week, usually 4"),
        ("iplayer", "days_w3", "0", 0.5, "not active the week before last, usually 4 days"),
        ("iplayer", "days_w14", "2", -0.1, "watched on 2 days 13 weeks ago, usually 4"),
        ("iplayer", "value_w2", "2400", 0.5, "watched for only 40 minutes last week, usually 2.5 hours"),
        ("iplayer", "value_w2", "0", 0.5, "no playback last week, usually 2.5 hours"),
        ("iplayer", "events_w2", "1", 0.5, "1 visit last week, usually 1 or 2"),  # not "only"
        ("iplayer", "events_w2", "0", 0.5, "no visits last week, usually 1 or 2"),
        ("iplayer", "habit_days", "3.3", 0.5, "watched on only 1 day a week lately, typically 2.7"),
        ("iplayer", "tenure_days", "12", 0.5, "first seen only 12 days ago, typically 7 months ago"),
        ("iplayer", "tenure_days", "900", -0.5, "first seen 2.5 years ago, typically 7 months ago"),
        ("iplayer", "share_category_drama", "0.257", 0.5, "26% of playback in Drama, typically 12%"),
        ("iplayer", "share_category_children_s", "0", 0.5, "no playback in Children's"),
        ("iplayer", "share_device_smart_tv", "0.004", 0.5, "under 1% of playback on smart-tv"),
        ("iplayer", "share_daypart_overnight", "1", 0.5, "100% of playback overnight (00:00 to 05:59)"),
        ("iplayer", "share_days_device_smart_tv", "0.5", 0.5, "50% of days of use on smart-tv"),
        ("iplayer", "preferred_device", "smart-tv", 0.5, "mostly on smart-tv"),
        ("iplayer", "preferred_device", None, 0.5, "no plays in 13 weeks on a listed device"),
        ("iplayer", "page_views_1w", "1", 0.5, "1 page viewed last week"),
        ("iplayer", "page_views_per_event", "2.5", 0.5, "2.5 pages a visit in 13 weeks"),
        (
            "iplayer", "schedule_match", "-0.301", 0.5,
            "30% fewer releases than usual due in the predicted week, each category counting as much as it is used",
        ),
        (
            "iplayer", "schedule_match_drama", "0.12", -0.5,
            "12% more releases in Drama than usual due in the predicted week, counting as much as they are used",
        ),
        ("iplayer", "long_items_1w", "1", 0.5, "1 episode played for ten minutes or more last week"),
        ("iplayer", "repeats_1w", "0", 0.5, "no episode played twice last week, ten minutes each time"),
        ("iplayer", "finales_1w", "1", 0.5, "1 series played for ten minutes or more as a season ended last week"),
        ("sounds", "share_listening_live_radio", "0.25", -0.5, "25% of playback in live radio"),
        ("sounds", "share_days_listening_live_radio", "0", 0.5, "no day of use with live radio"),
        ("sounds", "preferred_listening", "radio", 0.5, "listening mostly to radio"),
        ("sounds", "preferred_listening_type", None, 0.5, "nothing listened to in 13 weeks is known"),
        ("iplayer", "days_since_last", "6", 0.5, "last active 6 days ago, usually every 1.7 days"),
        ("iplayer", "gap_variation", "0.57", 0.5, "time between active weeks varying by 57% of its mean"),
        ("iplayer", "gap_variation", "0", -0.5, "always the same time between active weeks"),
        ("iplayer", "gaps", "1", 0.5, "away once for a week or more, typically twice"),
        ("iplayer", "gaps", "0", -0.5, "never away for a week or more, typically twice"),
        ("iplayer", "longest_gap_weeks", "1", 0.5, "away for 1 week at the longest, typically 2 or 3"),
        ("iplayer", "value_last_to_mean", "0.4", 0.5, "playback last week 60% below the average of 13 weeks"),
        ("iplayer", "days_last_to_mean", "2.5", -0.5, "active days last week 2.5 times the average of 13 weeks"),
        ("iplayer", "days_since_last_to_usual", None, 0.5, "active on a single day so far"),
        ("iplayer", "events_slope", "-1.25", 0.5, "weekly visits falling by 1.2 a week"),
        ("iplayer", "events_zero_week", "17.2", 0.5, "trend of weekly visits reaches zero in 5 weeks"),
        ("iplayer", "events_zero_week", "-3", 0.5, "trend of weekly visits was at zero 15 weeks ago"),
        ("iplayer", "events_zero_week", "1e9", 0.5, "trend of weekly visits reaches zero in more than a year"),
        ("iplayer", "events_falling", "0", 0.5, "weekly visits not falling"),
        ("iplayer", "series_due_target_1w", "1", -0.5, "1 series of last week with an episode due in the predicted week"),
        ("iplayer", "episodes_due_target", "1", -0.5, "1 episode due in the predicted week, of series of the last 4 weeks"),
        ("iplayer", "days_to_next_episode", "1", -0.5, "next episode in 1 day, of series of the last 4 weeks"),
        ("iplayer", "days_to_next_episode", None, 0.5, "no episode in the coming two weeks, of series of the last 4 weeks"),
        ("iplayer", "episodes_missed", "0", 0.5, "nothing left to catch up on, of series of the last 4 weeks"),
        ("iplayer", "other_days_1w", "1", 0.5, "other products used on 1 day last week"),
        ("iplayer", "other_value_13w", "7200", 0.5, "2 hours with other products in 13 weeks"),
        ("iplayer", "other_products_13w", "1", 0.5, "1 product used beside this one in 13 weeks"),
        ("iplayer", "own_share_13w", "1", 0.5, "100% of all use is of this product"),
        ("iplayer", "other_days_since_last", "40", 0.5, "other products last used 6 weeks ago"),
        ("iplayer", "items_13w", "1", 0.5, "only 1 item in 13 weeks, typically 41"),
        ("iplayer", "items_13w", "50", -0.5, "50 different items in 13 weeks, typically 41"),
        ("iplayer", "is_16_to_34", "0", -0.5, "not 16 to 34 years old"),
        ("iplayer", "age", None, 0.1, "no age known"),
        ("iplayer", "age", "18", 0.1, "18 years old, typically 44"),
        ("iplayer", "nation", "Wales", 0.1, "nation Wales"),
        ("iplayer", "nation", "007", 0.1, "nation 007"),
        ("iplayer", "personalisation", "true", 0.1, "personalisation on: yes"),
        ("iplayer", "account_age_days", "400", 0.1, "account 13 months old"),
        ("iplayer", "lifetime_value", "7200", 0.1, "watched for only 2 hours since first seen, typically 278 hours"),
        ("iplayer", "is_uk", "0", 0.1, "outside the United Kingdom"),
        ("iplayer", "acorn_type", "Student flats", 0.1, "neighbourhood type Student flats"),
        ("iplayer", "segment_cbbc", "X. Inactive", 0.1, "frequency segment for CBBC: X. Inactive"),
        ("iplayer", "segment_panbbc", "B. Weekly", 0.1, "frequency segment for all products: B. Weekly"),
        ("iplayer", "activation_weeks", "1", 0.5, "came or came back only 1 week before last week, typically 12"),
        ("iplayer", "activation_weeks", "20", -0.5, "came or came back 20 weeks before last week, typically 12"),
        ("iplayer", "activation_weeks", "0", 0.5, "came or came back last week, typically 12 weeks"),
        ("iplayer", "activation_weeks", None, -0.5, "not known when the user came or came back"),
        ("iplayer", "activation_genre", "Drama", 0.1, "came or came back for Drama"),
        ("iplayer", "activation_master_brand", "bbc_one", 0.1, "came or came back for a programme of bbc_one"),
        ("shop", "activation_master_brand", None, 0.1, "not known for what the user came or came back"),
        ("iplayer", "favourite_share", "0.75", 0.1, "75% of playback in the favourite programme, typically 40%"),
        ("shop", "favourite_share", "0.75", 0.1, "75% of spending in the favourite item, typically 40%"),
        ("iplayer", "favourite_genre", "Drama", 0.1, "genre of the favourite programme: Drama"),
        ("iplayer", "favourite_master_brand", "cbbc", 0.1, "channel or station of the favourite programme: cbbc"),
        ("iplayer", "favourite_f3", "0.41", 0.1,
         "the favourite programme at 0.4 on the recommender's factor 3, typically -0.2"),
        ("iplayer", "newsletter_opted_in", "1", -0.1, "opted in to the newsletter"),
        ("iplayer", "newsletter_opted_in", "0", 0.1, "opted out of the newsletter"),
        ("iplayer", "newsletter_days", "12", 0.1, "chose about the newsletter 12 days ago, typically 13 months ago"),
        ("iplayer", "newsletter_days", None, 0.1, "no choice about the newsletter known"),
        ("iplayer", "mail_opens_13w", "1", 0.1, "opened e-mails only once in 13 weeks, typically 6 times"),
        ("iplayer", "mail_opens_13w", "0", 0.1, "opened no e-mail in 13 weeks, typically 6 times"),
        ("iplayer", "mail_clicks_1w", "2", -0.1, "clicked in e-mails twice last week"),
        ("iplayer", "follows_ever", "1", 0.1, "followed only 1 programme so far, typically 8"),
        ("sounds", "subscribes_1w", "0", 0.1, "subscribed to no programmes last week"),
        ("sounds", "bookmarks_13w", "3", -0.1, "bookmarked 3 items in 13 weeks"),
        ("shop", "other_value_1w", "12.5", 0.1, "spent 12.50 dollars on other products last week"),
        ("shop", "value_w2", "12.5", 0.1, "spent only 12.50 dollars last week, usually 9,000"),
        ("shop", "value_w2", "0", 0.1, "no spending last week, usually 9,000 dollars"),
        ("shop", "days_4w", "1", 0.1, "bought on only 1 day in 4 weeks, typically 11"),
        ("shop", "events_w4", "2", -0.1, "2 purchases 3 weeks ago, usually 1 or 2"),
        ("events", "value_w2", "1", -0.1, "1 event last week, usually 9,000"),
        ("events", "share_category_a_b_c", "0.5", -0.1, "50% of events in a {b} c"),
        ("boxes", "value_w2", "1", -0.1, "shopped 1 box last week, usually 9,000"),
        ("boxes", "days_w2", "0", -0.1, "not active last week, usually 4 days"),
    ],
)  # fmt: skip
def test_what_is_said(product, feature, value, contribution, text) -> None:
    assert said(BY_NAME[product][feature], value, contribution, HABITS, TYPICAL) == text


def test_a_user_with_one_week_has_no_habit() -> None:
    days = BY_NAME["iplayer"]["days_w2"]
    assert said(days, "2", own={"days_13w": 2, "active_weeks_13w": 1}) == "watched on 2 days last week"
    assert (
        said(days, "2", own={"days_13w": 6, "active_weeks_13w": 2})
        == "watched on only 2 days last week, usually 3"
    )


@pytest.mark.parametrize(
    "own", [{}, {"days_13w": None, "active_weeks_13w": 3}, {"days_13w": math.nan, "active_weeks_13w": 3}]
)
def test_an_unknown_habit_is_left_out(own) -> None:
    assert said(BY_NAME["iplayer"]["days_w2"], "2", own=own) == "watched on 2 days last week"


@pytest.mark.parametrize(
    ("contribution", "effect"),
    [
        (0.47, "raises the risk: x1.6 odds, +0.47"),
        (-0.47, "lowers the risk: x0.63 odds, -0.47"),
        (0.04, "raises the risk: x1.04 odds, +0.04"),
        (3.0, "raises the risk: x20.1 odds, +3.00"),
        (-5.0, "lowers the risk: x0.0067 odds, -5.00"),
        (0.0, "does not change the risk, +0.00"),
    ],
)
def test_the_effect_is_told_as_a_factor_on_the_odds_and_in_log_odds(contribution, effect) -> None:
    feature = BY_NAME["iplayer"]["days_w2"]
    reason = {"feature": "days_w2", "value": "1", "contribution": contribution}
    assert describe_reasons([reason], {"days_w2": feature}) == [f"watched on 1 day last week ({effect})"]


@pytest.mark.parametrize(
    ("value", "shown"), [("1", "1"), ("true", "yes"), ("wales", "wales"), ("0.123", "0.1"), (None, "unknown")]
)
def test_a_feature_that_the_catalogue_does_not_know_goes_by_its_name(value, shown) -> None:
    reason = {"feature": "days_w2", "value": value, "contribution": 1.0}
    assert describe_reasons([reason], {}) == [f"days w2: {shown} (raises the risk: x2.7 odds, +1.00)"]


def test_a_feature_without_phrases_goes_by_its_meaning() -> None:
    feature = Feature("days_w2", "activity", "step", "integer", "days", "active days", Phrases())
    assert said(feature, "3") == "active days: 3"


# --- a run ---

AS_OF = "2026-06-28"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two partitions of five users each: what a run keeps that an explanation needs."""
    for name in ("scores", "reasons", "features", "logs/partitions"):
        (tmp_path / name).mkdir(parents=True)
    reasons = [
        ("days_w2", "1", 0.47), ("age", None, -0.2), ("days_4w", "2", 0.1), ("gone", "3", 0.05),
        ("days_w3", "2", 0.004),
    ]  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"title": "BBC iPlayer", "target_weeks": 1}))
    for part in range(2):
        users = [f"u{part}{i}" for i in range(5)]
        scores = {
            "user_id": users, "predicted_probability": [0.254] * 5,
            "target_week_start_date": ["2026-07-06"] * 5, "as_of": [AS_OF] * 5, "run_id": ["r1"] * 5,
            "margin": [-1.0774] * 5,
        }  # fmt: skip
        features = {
            "user_id": users, "days_w2": [1, 2, 3, 4, 5], "days_13w": [40, 9, 9, 9, 9],
            "active_weeks_13w": [10, 3, 3, 3, 1], "days_4w": [2, 10 * part + 4, 10 * part + 4, 40, 40], "age": [None] * 5,
        }  # fmt: skip
        rows = [
            {"user_id": user, "rank": rank, "feature": feature, "value": value, "contribution": contribution}
            for user in users
            for rank, (feature, value, contribution) in enumerate(reasons, start=1)
        ]
        file = f"part-{part:05d}.parquet"
        pq.write_table(pa.table(scores), tmp_path / "scores" / file)
        pq.write_table(pa.table(features), tmp_path / "features" / file)
        (tmp_path / "logs" / "partitions" / f"part-{part:05d}.json").write_text(json.dumps({"bias": -1.386}))
        pq.write_table(
            pa.Table.from_pylist(rows, schema=datasets.REASONS.schema), tmp_path / "reasons" / file
        )
    described = [asdict(feature) for feature in BY_NAME["iplayer"].values()]
    (tmp_path / "logs" / "features.json").write_text(json.dumps(described))
    return tmp_path


def test_a_user_is_explained_with_own_habits_and_the_median_of_others(run: Path) -> None:
    assert explain_user(str(run), "u00") == [
        "u00: 25.4% likely to stay away from BBC iPlayer in the week of 2026-07-06 (as of 2026-06-28, run r1)",
        "  Everybody starts at 20.0% (-1.39).",
        "  1. watched on only 1 day last week, usually 4 (raises the risk: x1.6 odds, +0.47)",
        "  2. no age known (lowers the risk: x0.82 odds, -0.20)",
        "  3. watched on only 2 days in 4 weeks, typically 4 (raises the risk: x1.1 odds, +0.10)",
        "  4. gone: 3 (raises the risk: x1.05 odds, +0.05)",
        f"  The {len(BY_NAME['iplayer']) - 4} other signs together lower the risk: x0.90 odds, -0.11.",
        "  In all 25.4% (-1.08).",
    ]


@given(
    st.floats(-6, 6),
    st.lists(st.floats(-3, 3), max_size=5),
    st.floats(-9, 9),
)
def test_the_printed_numbers_add_up(bias: float, contributions: list[float], margin: float) -> None:
    start, end = describe_sum(bias, contributions, margin, 20)
    printed = [float(number) for number in re.findall(r"[+-]\d+\.\d\d", " ".join([*start, *end]))]
    first, rest, total = printed
    assert first + sum(round(value, 2) for value in contributions) + rest == pytest.approx(total, abs=1e-6)


def test_others_are_those_of_the_users_own_partition(run: Path) -> None:
    assert "typically 14" in explain_user(f"file://{run}", "u10")[4]
    assert "usually" not in explain_user(f"file://{run}", "u14")[2], "one week makes no habit"


def test_a_run_is_explained_in_its_own_words(run: Path) -> None:
    path = run / "logs" / "features.json"
    path.write_text(path.read_text().replace("watched on ", "looked at on "))
    assert explain_user(str(run), "u00")[2].startswith("  1. looked at on only 1 day last week, usually 4 (")


def test_a_run_from_before_there_were_phrases_is_explained_by_meanings(run: Path) -> None:
    path = run / "logs" / "features.json"
    entries = [{k: v for k, v in entry.items() if k != "phrases"} for entry in json.loads(path.read_text())]
    path.write_text(json.dumps(entries))
    assert explain_user(str(run), "u00")[2].startswith(
        "  1. active days in the last observed week: 1 (raises"
    )


def test_a_user_who_was_not_scored_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="user 'nobody' was not scored"):
        explain_user(str(run), "nobody")


@pytest.mark.parametrize(
    "name", ["scores/part-00000", "features/part-00000", "reasons/part-00000", "logs/features"]
)
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_run_is_refused_with_a_sentence(run: Path, name: str, damage: str) -> None:
    for path in list((run / name).parent.glob(f"{Path(name).name[:4]}*.*")):
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RunError, match=r"damaged|has no reasons"):
        explain_user(str(run), "u00")


@pytest.mark.parametrize(
    ("feature", "value", "usual", "text"),
    [
        ("share_device_smart_tv", "1", 1.0, "100% of playback on smart-tv"),
        ("share_device_smart_tv", "0.9999", 0.9999, "over 99% of playback on smart-tv"),
        ("share_device_smart_tv", "0.5", 1.0, "50% of playback on smart-tv, typically 100%"),
        ("share_category_drama", "0.257", 0.26, "26% of playback in Drama"),
        ("days_w2", "4", 4.1, "watched on 4 days last week"),
        ("days_w2", "4", 1.5, "watched on 4 days last week, usually 1 or 2"),
        ("streak_weeks", "5", 5, "active for 5 weeks in a row"),
        ("gaps", "2", 2, "away twice for a week or more"),
    ],
)
def test_a_comparison_that_tells_nothing_is_left_out(feature, value, usual, text) -> None:
    found = BY_NAME["iplayer"][feature]
    own = {name: 2 * usual if i == 0 else 2.0 for i, name in enumerate(habit(found))}
    assert said(found, value, 0.5, own, {feature: usual}) == text


# --- limits, in the report ---


@pytest.mark.parametrize(
    ("product", "feature", "value", "told"),
    [
        ("iplayer", "value_4w", 16_182.0, "4.5 hours"),
        ("iplayer", "value_w2", 600.0, "10 minutes"),
        ("iplayer", "value_w2", 0.25, "0.25 seconds"),
        ("iplayer", "habit_days", 6.78, "2.1 days"),  # which is the sum of weights, and told as days a week
        ("iplayer", "days_4w", 10.0, "10 days"),
        ("iplayer", "events_13w", 46.0, "46 visits"),
        ("iplayer", "series_1w", 1.0, "1 series"),
        ("iplayer", "share_due_target", 0.366, "37%"),
        ("iplayer", "share_due_target", 0.004, "0.4%"),
        ("iplayer", "share_due_target", 0.997, "99.7%"),
        ("iplayer", "tenure_days", 400.0, "13 months"),
        ("iplayer", "value_last_to_mean", 0.8, "80%"),
        ("iplayer", "schedule_match", -0.12, "-12%"),
        ("iplayer", "events_zero_week", 14.0, "2 weeks"),
        ("iplayer", "gaps", 2.0, "2 gaps"),
        ("iplayer", "events_slope", -0.25, "-0.2 visits a week"),
        ("iplayer", "age", 26.0, "26 years"),
        ("shop", "value_4w", 12.5, "12.50 dollars"),
    ],
)
def test_a_limit_is_told_in_the_unit_that_reasons_use(product, feature, value, told) -> None:
    assert limit(BY_NAME[product][feature], value) == told


@given(st.sampled_from(FEATURES), st.floats(-100, 1e9, allow_subnormal=False))
def test_every_limit_is_a_number_fit_to_follow_below(named: tuple[str, Feature], value: float) -> None:
    text = limit(named[1], value)
    assert re.match(r"-?\d", text)
    assert not re.search(r"under|over|ago|below|above|times|  | $", text)


def test_no_meaning_speaks_of_seconds_where_values_are_told_in_hours() -> None:
    assert BY_NAME["iplayer"]["value_4w"].meaning == "playback in 4 weeks"
    assert BY_NAME["shop"]["value_4w"].meaning == "spending in 4 weeks"
    assert BY_NAME["boxes"]["value_4w"].meaning == "boxes in 4 weeks"
    assert [f.name for name, f in FEATURES if re.search(r"\bseconds\b", f.meaning)] == []
