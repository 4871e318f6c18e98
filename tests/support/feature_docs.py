"""docs/features.md, made from the catalogue of features: `python -m tests.support.feature_docs` writes it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from churn.config.load import builtin_products
from churn.config.settings import Product, Settings
from churn.dataset.plan import plan_without_data
from churn.features.catalogue import DOUBLE, INTEGER, TEXT, Catalogue, Feature, catalogue
from churn.sources.availability import ABSENT, Availability
from churn.warehouse.templates import Step, sql_root
from tests.support.data_folders import AS_OF
from tests.support.seed_features import ALL, SEED, STEPS, SeedFeature

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "features.md"
KEPT_FROM = "<!-- From here on by hand: the generator keeps it. -->"
KEPT_TO = "<!-- Up to here by hand. -->"
LOG = Product(title="log", categories=("a",), devices=("b",))
PRODUCTS: Mapping[str, Product] = {name: Product(**builtin_products()[name]) for name in ALL}
CATALOGUES: Mapping[str, Catalogue] = {
    name: catalogue(product, Availability()) for name, product in PRODUCTS.items()
}
_TYPES = {DOUBLE: "number", INTEGER: "whole number", TEXT: "text"}
_INTRO = """\
# Features

Made from the catalogue (`churn/features/`) by `python -m tests.support.feature_docs`; a test fails when it is not up to date. Each
feature is a column of `feature_set`, which has one row for each user and as-of date. One SQL step makes it from what was known
on the as-of date. A group is left out if its sources are missing; the report says which and why. The seed step is the step of
[the pipeline before this one](#what-the-seed-pipeline-had) that had the feature; "none" means that the feature is new.

Tables below show the built-in products. A product of an event log has the groups that its log allows, in its own unit of value, with
a share for each category and device that its definition lists.
"""


def page(kept: str) -> str:
    """Return the page, with the part that is written by hand as it is."""
    parts = [
        _INTRO,
        _overview(),
        f"## What each group adds\n\n{KEPT_FROM}\n{kept}\n{KEPT_TO}\n",
        *(_group(name, features) for name, features in groups().items()),
        _seed(),
    ]
    return "\n".join(parts)


def kept_part(text: str) -> str:
    """Return the part of a page that is written by hand.

    Raises:
        ValueError: its marks are gone.
    """
    before, start, rest = text.partition(f"{KEPT_FROM}\n")
    kept, end, _ = rest.partition(f"\n{KEPT_TO}")
    if not (before and start and end):
        raise ValueError(f"{PAGE} lacks the marks of the part that is written by hand: put them back")
    return kept


def groups() -> dict[str, list[Feature]]:
    """Return the features of all built-in products by group, each column once."""
    found: dict[str, dict[str, Feature]] = {}
    for features in CATALOGUES.values():
        for feature in features.features:
            found.setdefault(feature.group, {}).setdefault(feature.name, feature)
    return {group: list(features.values()) for group, features in found.items()}


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def _overview() -> str:
    settings = Settings(data=ROOT, out=ROOT, source="events", products={"log": LOG})
    of_log = {feature.group for feature in plan_without_data(settings, "log", AS_OF).catalogue.features}

    def rows() -> Iterator[Sequence[str]]:
        for group, features in groups().items():
            counts = [
                str(sum(feature.group == group for feature in found.features) or "")
                for found in CATALOGUES.values()
            ]
            steps = sorted({str(feature.seed_step or "none") for feature in features})
            yield f"[{group}](#{_anchor(group)})", ", ".join(steps), *counts, "yes" if group in of_log else ""
        sums = [f"**{len(found.features)}**" for found in CATALOGUES.values()]
        yield "**all**", "", *sums, ""

    heads = ("group", "seed step", *CATALOGUES, "event log")
    return f"## Groups\n\nHow many features each product has.\n\n{_table(heads, rows())}"


def _anchor(group: str) -> str:
    return _title(group).lower().replace(" ", "-")


def _title(group: str) -> str:
    return f"Group {group}"


def _group(name: str, features: Sequence[Feature]) -> str:
    made = []
    for step in dict.fromkeys(feature.step for feature in features):
        made.append(f"[`{step}`](../sql/features/{step}.sql). {_header(step)}")
    reasons = "; ".join(_reasons(name)) or "never"
    rows = (
        (
            f"`{feature.name}`",
            _TYPES[feature.type],
            feature.unit,
            _range(feature),
            str(feature.seed_step or ""),
            _products(feature),
            feature.meaning,
        )
        for feature in features
    )
    heads = ("column", "type", "unit", "range", "seed step", "products", "meaning")
    return f"## {_title(name)}\n\n" + "\n".join(made) + f"\n\nLeft out: {reasons}.\n\n{_table(heads, rows)}"


def _header(step: str) -> str:
    """What a step's file says of itself after its name."""
    text = (sql_root() / "features" / f"{step}.sql").read_text("utf-8")
    header = " ".join(Step(step, step, "table", text, frozenset()).header.split())
    told = header.removeprefix(f"Makes: {step}, ")
    return told[:1].upper() + told[1:]


def _reasons(group: str) -> list[str]:
    """Why a group may be left out: what is said when each of the things that it needs is missing."""
    catalogues = [
        *(catalogue(PRODUCTS["iplayer"], Availability(**{flag: False})) for flag in ABSENT),
        *(catalogue(product, Availability()) for product in (*PRODUCTS.values(), Product(title="bare"))),
    ]
    return list(dict.fromkeys(found.left_out[group] for found in catalogues if group in found.left_out))


def _range(feature: Feature) -> str:
    low, high = feature.range
    if feature.type == TEXT:
        return ""
    if feature.unit == "flag":
        return "0 or 1"
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return (
        "any" if low is None and high is None else f"{low:g} or more" if high is None else f"up to {high:g}"
    )


def _products(feature: Feature) -> str:
    having = [name for name, found in CATALOGUES.items() if feature.name in found.names]
    return "all" if len(having) == len(CATALOGUES) else ", ".join(having)


def _seed() -> str:
    rows = (
        (
            f"{feature.step} {STEPS[feature.step]}",
            feature.what,
            _answer(feature),
            "all" if len(feature.products) == len(PRODUCTS) else ", ".join(feature.products),
        )
        for feature in SEED
    )
    heads = ("step", "feature", "here", "products")
    text = "The features of the twelve SQL steps before, and the columns that answer to them."
    return f"## What the seed pipeline had\n\n{text}\n\n{_table(heads, rows)}"


def _answer(feature: SeedFeature) -> str:
    columns = f"`{feature.columns}`" if feature.columns else ""
    return "; ".join(text for text in (columns, feature.instead) if text)


def main() -> None:
    """Write the page, keeping the part that is written by hand."""
    kept = kept_part(PAGE.read_text("utf-8")) if PAGE.exists() else "Not measured yet."
    PAGE.write_text(page(kept), "utf-8")


if __name__ == "__main__":
    main()
