"""docs/features.md is up to date, and every feature of the earlier pipeline has a counterpart."""

import re

import pytest

from churn.features.catalogue import catalogue
from churn.sources.availability import ABSENT, Availability
from tests.support.feature_docs import CATALOGUES, KEPT_TO, PAGE, PRODUCTS, groups, kept_part, page
from tests.support.seed_features import ALL, SEED, STEPS, SeedFeature, expanded

TEXT = PAGE.read_text("utf-8")


def test_the_page_is_up_to_date() -> None:
    assert page(kept_part(TEXT)) == TEXT, "write it with `python -m tests.support.feature_docs`"


def test_the_hand_written_part_stays() -> None:
    written = "| group | log loss |\n\n## with a heading\n| a | 0.1 |"
    assert kept_part(page(written)) == written
    with pytest.raises(ValueError, match="put them back"):
        kept_part(TEXT.replace(KEPT_TO, ""))


def test_the_page_has_every_column_once() -> None:
    documented = re.findall(r"^\| `([a-z0-9_]+)` \|", TEXT, flags=re.M)
    assert sorted(documented) == sorted({name for found in CATALOGUES.values() for name in found.names})


def test_every_group_says_when_it_is_left_out() -> None:
    reasons = dict(re.findall(r"^## Group (.+)$[^#]*?^Left out: (.+)\.$", TEXT, flags=re.M))
    assert reasons.keys() == groups().keys()
    unconditional = {group for group, text in reasons.items() if text == "never"}
    nothing = Availability(**dict.fromkeys(ABSENT, False))
    assert unconditional == {feature.group for feature in catalogue(PRODUCTS["pan"], nothing).features}


# --- the earlier pipeline ---


@pytest.mark.parametrize("feature", SEED, ids=lambda feature: f"{feature.step} {feature.what}")
def test_a_feature_of_the_seed_has_its_counterpart(feature: SeedFeature) -> None:
    columns = list(expanded(feature.columns))
    assert columns or feature.instead
    for product in feature.products:
        names = CATALOGUES[product].names
        missing = [name for name in columns if name not in names]
        assert not missing, f"{product} has no counterpart of {feature.what!r} of step {feature.step}"


def test_every_product_has_counterparts_of_all_its_seed_steps() -> None:
    assert {feature.step for feature in SEED} == set(STEPS) == set(range(1, 13))
    for product in ALL:
        answered = {feature.step for feature in SEED if product in feature.products}
        assert answered >= set(STEPS) - {2}, product
    assert [feature.products for feature in SEED if feature.step == 2] == [("sounds",)] * 4


def test_a_counterpart_names_its_seed_step() -> None:
    steps_by_name = {each.name: each.seed_step for found in CATALOGUES.values() for each in found.features}
    for feature in SEED:
        # Seconds by genre were made by step 1 and became shares in step 3.
        steps = {steps_by_name[name] for name in expanded(feature.columns) if name in steps_by_name}
        assert steps <= {feature.step, 3 if feature.step == 1 else feature.step}, feature.what


def test_braces_expand_to_several_names() -> None:
    assert list(expanded("a_w{2..4}")) == ["a_w2", "a_w3", "a_w4"]
    assert list(expanded("{a,b}_{x,y}, c")) == ["a_x", "a_y", "b_x", "b_y", "c"]
    assert list(expanded("age")) == ["age"]
    assert list(expanded("")) == []
