import doctest
import re
from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.config.settings import Product
from churn.core.calendar import OBSERVED_OFFSETS
from churn.core.names import identifier, slug
from churn.features import catalogue as catalogue_module
from churn.features import cohorts, phrases
from churn.features.catalogue import DAYPARTS, DOUBLE, INTEGER, TEXT, WEEKDAYS, catalogue, share_columns
from churn.sources.availability import ABSENT, Availability
from churn.warehouse.templates import sql_root

NOTHING = Availability(**dict.fromkeys(ABSENT, False))
EVERYTHING = Availability()
TV = Product(
    title="tv",
    match=("tv",),
    value_unit="seconds",
    categories=("Drama", "News"),
    devices=("phone",),
    factors=2,
    follows=("follow", "bookmark"),
    listening=True,
)


@st.composite
def products(draw: st.DrawFn) -> Product:
    def distinct(values: list[str]) -> tuple[str, ...]:
        return tuple({slug(value): value for value in values}.values())

    values = st.lists(st.text(max_size=50), max_size=12)
    return Product(
        title="x",
        match=draw(st.sampled_from([(), ("x",), ("x", "y")])),
        value_unit=draw(st.sampled_from(["seconds", "dollars"])),
        categories=distinct(draw(values)),
        devices=distinct(draw(values)),
        factors=draw(st.integers(0, 20)),
        follows=draw(st.lists(st.sampled_from(["follow", "subscribe", "bookmark"]), unique=True)),
        listening=draw(st.booleans()),
    )


availabilities = st.builds(Availability, **dict.fromkeys(ABSENT, st.booleans()), reasons=st.just({}))


@given(products(), availabilities)
def test_feature_names_are_distinct_safe_and_described(product: Product, available: Availability) -> None:
    features = catalogue(product, available)
    assert len(set(features.names)) == len(features.names)
    for feature in features.features:
        assert identifier(feature.name) == feature.name
        assert feature.type in (DOUBLE, INTEGER, TEXT)
        assert feature.unit
        assert feature.meaning
        assert (
            feature.range.low is None or feature.range.high is None or feature.range.low < feature.range.high
        )
        assert feature.seed_step in {None, *range(1, 13)}
        assert (sql_root() / "features" / f"{feature.step}.sql").is_file()
    assert not {"user_id", "as_of_date", "purpose", "churned"} & set(features.names)


@given(products(), availabilities)
def test_a_group_is_built_or_left_out_with_a_reason(product: Product, available: Availability) -> None:
    features = catalogue(product, available)
    built = {feature.group for feature in features.features}
    everything = {feature.group for feature in catalogue(TV, EVERYTHING).features}
    assert built | features.left_out.keys() == everything
    assert not built & features.left_out.keys()
    assert all(features.left_out.values())
    assert {"activity", "trend", "lifetime", "weekday"} <= built


@given(products(), availabilities)
def test_share_columns_and_share_features_are_the_same(product: Product, available: Availability) -> None:
    features = [f for f in catalogue(product, available).features if f.step == "features_shares"]
    shares = {feature.name for feature in features if feature.name != "categories_used"}
    assert {f"share_{column}" for column in share_columns(product, available)} == shares


@given(availabilities, st.sampled_from(list(ABSENT)))
def test_more_data_never_takes_a_feature_away(available: Availability, flag: str) -> None:
    without, with_ = (set(catalogue(TV, replace(available, **{flag: on})).names) for on in (False, True))
    assert set(catalogue(TV, NOTHING).names) <= without <= with_ <= set(catalogue(TV, EVERYTHING).names)


@pytest.mark.parametrize(
    ("absent", "group", "reason"),
    [
        ("category", "category", "activity has no category"),
        ("device", "device", "activity has no device"),
        ("time_of_day", "time of day", "activity has dates without times"),
        ("item", "items", "activity has no item ids"),
        ("content", "content", "there is no content catalogue"),
        ("series", "content", "activity has no series ids"),
        ("page_views", "page views", "activity has no page views"),
        ("content", "schedule match", "there is no content catalogue"),
        ("category", "schedule match", "activity has no category"),
        ("content", "last week", "there is no content catalogue"),
        ("series", "last week", "activity has no series ids"),
        ("live", "listening", "activity does not say what was live"),
        ("formats", "listening", "there are no lists of podcasts and mixes"),
        ("item", "listening", "activity has no item ids"),
        ("content", "episodes", "there is no content catalogue"),
        ("other_products", "other products", "activity is of one product"),
        ("device", "devices of other products", "activity has no device"),
        ("titles", "favourite of other products", "there is no content catalogue"),
        ("profile", "profile", "there is no profile table"),
        ("segments", "segments", "there is no table of segments"),
        ("activations", "activations", "there are no tables of activations"),
        ("activations", "activation titles", "there are no tables of activations"),
        ("titles", "activation titles", "there is no content catalogue"),
        ("titles", "favourite titles", "there is no content catalogue"),
        ("item", "favourite", "activity has no item ids"),
        ("item", "item factors", "activity has no item ids"),
        ("factors", "item factors", "there are no tables of item factors"),
        ("newsletter", "newsletter", "there is no table of newsletter choices"),
        ("mails", "e-mail", "there are no tables of e-mails"),
        ("follows", "follows", "there is no table of follows"),
    ],
)
def test_a_missing_source_is_the_reason(absent: str, group: str, reason: str) -> None:
    features = catalogue(TV, Availability(**{absent: False}))
    assert features.left_out[group] == reason
    assert group not in {feature.group for feature in features.features}


def test_the_reason_names_a_missing_or_empty_table() -> None:
    reasons = {"profile": "table prez.id_profile is empty", "content": "table prez.scv_vmb is missing"}
    absent = Availability(profile=False, content=False, item=False, reasons=reasons)
    assert catalogue(TV, absent).left_out == {
        "schedule match": "table prez.scv_vmb is missing",
        "items": "activity has no item ids",
        "content": "table prez.scv_vmb is missing",
        "episodes": "table prez.scv_vmb is missing",
        "last week": "table prez.scv_vmb is missing",
        "listening": "activity has no item ids",
        "favourite of other products": "activity has no item ids",
        "profile": "table prez.id_profile is empty",
        "favourite": "activity has no item ids",
        "favourite titles": "activity has no item ids",
        "item factors": "activity has no item ids",
    }


def test_a_definition_without_values_is_the_reason() -> None:
    features = catalogue(Product(title="tv"), EVERYTHING)
    assert features.left_out == {
        "category": "the product's definition lists no categories",
        "schedule match": "the product's definition lists no categories",
        "device": "the product's definition lists no devices",
        "item factors": "the product's definition lists no factors",
        "follows": "the product's definition lists no follows",
        "listening": "the product's definition does not say listening",
        "other products": "the product spans all products: there is no other",
        "devices of other products": "the product spans all products: there is no other",
        "favourite of other products": "the product spans all products: there is no other",
    }


def test_each_observed_week_has_its_features() -> None:
    names = catalogue(TV, NOTHING).names
    for offset in OBSERVED_OFFSETS:
        assert {f"value_w{offset}", f"events_w{offset}", f"days_w{offset}"} <= set(names)
    assert not {"value_w0", "value_w1", "value_w15"} & set(names)


def test_meanings_can_follow_the_value() -> None:
    meanings = {feature.name: feature.meaning for feature in catalogue(TV, EVERYTHING).features}
    assert meanings["days_w2"] == "active days in the last observed week"
    assert meanings["share_category_drama"] == "share of playback in Drama"
    assert meanings["share_daypart_peak"] == "share of playback at peak (20:00 to 21:59)"
    assert len(set(meanings.values())) == len(meanings)


def test_reports_name_features_in_words_and_not_by_formulas() -> None:
    signs = {feature.name: feature.sign for feature in catalogue(TV, EVERYTHING).features}
    assert signs["habit_days"] == "active days a week lately"
    assert len(set(signs.values())) == len(signs)
    formula = re.compile(
        r"relative to|counting for|times the share|less 1|as a share of|sum over|\d\.\d|, each "
    )
    assert [sign for sign in signs.values() if formula.search(sign) or len(sign) > 100] == []


def test_each_hour_is_in_one_daypart_and_weekdays_count_as_in_sql() -> None:
    hours = sorted(hour for _, first, last in DAYPARTS for hour in range(first, last + 1))
    assert hours == list(range(24))
    assert (WEEKDAYS[0], WEEKDAYS[6], len(WEEKDAYS)) == ("sunday", "saturday", 7)


def test_steps_are_named_in_order_of_first_use() -> None:
    assert catalogue(TV, NOTHING).steps == (
        "features_activity",
        "features_trend",
        "features_lifetime",
        "features_memory",
        "features_shares",
    )
    assert catalogue(TV, EVERYTHING).steps == (
        "features_activity",
        "features_trend",
        "features_lifetime",
        "features_memory",
        "features_shares",
        "features_schedule",
        "features_devices",
        "features_items",
        "features_content",
        "features_episodes",
        "features_last_week",
        "features_listening",
        "features_other",
        "features_other_use",
        "features_other_favourite",
        "features_profile",
        "features_segments",
        "features_activations",
        "features_favourite",
        "features_newsletter",
        "features_mails",
        "features_follows",
    )


@pytest.mark.parametrize("module", [catalogue_module, cohorts, phrases], ids=lambda module: module.__name__)
def test_examples_in_docstrings_are_right(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
