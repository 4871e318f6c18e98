# ruff: noqa: RUF001 - the report's text has typographic dashes and signs
import errno
import os
import re
from collections.abc import Callable
from datetime import date, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.core.errors import RunError
from churn.outputs.report import ReportData, charts, format, render_report, wording, write_report
from churn.outputs.report.data import (
    Audience,
    CalibrationRow,
    Estimate,
    GainsRow,
    HistogramBin,
    OutputFile,
    TrendPoint,
    ValueEffect,
)
from churn.outputs.report.stage_names import STAGES
from churn.outputs.report.svg import nice_ticks
from churn.warehouse.templates import STEP_FOLDERS, sql_root
from tests.support.report_example import example_report

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = """<script>alert("x")</script>'&"""


class Page(HTMLParser):
    """What a browser would see: tags (checked for balance), ids, references and text by section."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.sections: dict[str, str] = {}
        self.section: str | None = None
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "section":
            self.section = attributes["id"]
            self.sections[self.section] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag == "section":
            self.section = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if self.section:
            self.sections[self.section] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def plain(text: str) -> str:
    """Text with ordinary single spaces, as a person reads it."""
    return re.sub(r"\s+", " ", text)


def changed(**changes: Any) -> ReportData:
    """The example with other values, validated again."""
    return ReportData.model_validate({**example_report().model_dump(), **changes})


def bare() -> ReportData:
    """Only what every report must have."""
    full = example_report().model_dump()
    required = {name: full[name] for name, f in ReportData.model_fields.items() if f.is_required()}
    required["audience"]["histogram"] = ()
    required["run"]["stages"] = ()
    return ReportData.model_validate(required)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_report(example_report()))


def test_sections_come_in_the_order_in_which_a_reader_asks(page: Page) -> None:
    assert list(page.sections) == ["why", "who", "trust", "trend", "notes", "made"]


def test_headline_says_in_one_sentence_who_what_and_when() -> None:
    data = changed(
        audience=Audience(users_scored=14_203, expected_churners=2911.4, mean_probability=2911.4 / 14_203)
    )
    assert (
        "Of 14,203 people who used iPlayer in the week to 28 June, 2,911 (20.5 %) are expected to stay away "
        "in the week of 6 July." in plain(Page(render_report(data)).text)
    )


def test_headline_gives_the_years_when_the_weeks_lie_in_two() -> None:
    as_of = date(2026, 12, 27)
    data = changed(
        as_of=as_of,
        lead_week_start=as_of + timedelta(days=1),
        lead_week_end=as_of + timedelta(days=7),
        target_week_start=as_of + timedelta(days=8),
        target_week_end=as_of + timedelta(days=14),
    )
    text = plain(Page(render_report(data)).text)
    assert "in the week to 27 December 2026" in text
    assert "in the week of 4 January 2027." in text
    assert "28 December 2026 – 3 January 2027: time to act" in text


def test_nothing_is_fetched_and_no_script_runs(page: Page) -> None:
    html = render_report(example_report())
    assert not re.search(r"(https?:)?//[\w.-]+\.\w", html)
    assert "@import" not in html
    assert "url(" not in html
    assert {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "img"} == set()
    assert all(target.startswith(("#", "data:,")) for target in page.values("href"))
    assert page.values("src") == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    policies = [m["content"] for m in page.all("meta") if "content-security-policy" in str(m).lower()]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_ids_are_unique_and_every_reference_leads_somewhere(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    references = [
        r for name in ("aria-labelledby", "aria-describedby") for v in page.values(name) for r in v.split()
    ]
    references += [target[1:] for target in page.values("href") if target.startswith("#")]
    assert references
    assert set(references) <= set(ids)


def test_every_chart_has_a_name_and_every_table_a_caption_or_a_label(page: Page) -> None:
    drawings = [s for s in page.all("svg") if s.get("aria-hidden") != "true"]
    assert len(drawings) > 10
    assert all(s["role"] == "img" and s["aria-labelledby"] for s in drawings)
    labelled = sum("aria-labelledby" in table for table in page.all("table"))
    assert labelled + len(page.all("caption")) == len(page.all("table"))
    assert page.all("html") == [{"lang": "en"}]
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))


def test_no_value_shows_as_a_programmers_word(page: Page) -> None:
    for text in (page.text, Page(render_report(bare())).text):
        assert not re.search(r"\b(None|nan|inf|undefined|True|False)\b|\[\]|\(\)", text)


def test_figures_of_the_data_stand_in_their_sections(page: Page) -> None:
    data = example_report()
    assert data.reasons
    assert data.holdout
    assert all(format.sentence(f.meaning) in page.sections["why"] for f in data.reasons.features)
    assert all(g.name in page.sections["why"].lower() for g in data.reasons.groups)
    assert all(row.name in page.sections["who"] for s in data.segments for row in s.rows)
    assert all(format.percent(row.observed) in page.sections["trust"] for row in data.holdout.calibration)
    assert all(format.lift(row.lift) in page.sections["trust"] for row in data.holdout.gains)
    assert all(format.day(p.as_of, True) in page.sections["trend"] for p in data.trend)
    assert all(w in page.sections["notes"] for w in data.warnings)
    assert all(c.detail in page.sections["notes"] for c in data.checks)
    assert all(g.reason in page.sections["notes"] for g in data.groups_left_out)
    assert all(wording.stage(s.name) in page.sections["made"].lower() for s in data.run.stages)
    made = plain(page.sections["made"])
    for text in (data.run.run_id, data.run.model_version, data.run.code_version, "29 June 2026, 18:00 UTC"):
        assert text in made
    assert "max_depth = 4" in made
    assert all(f.path in made for f in data.files)


def test_a_report_with_only_what_it_must_have_leaves_no_empty_parts() -> None:
    html = render_report(bare())
    page = Page(html)
    assert list(page.sections) == ["made"]
    assert page.all("nav") == []
    assert page.all("table") == []
    assert page.all("svg") == []
    assert not re.search(r"<(p|ul|ol|dl|div|li|h2|h3|tbody|figure)[^>]*>\s*</\1>", html)
    assert "Average probability" in page.text


@pytest.mark.parametrize(
    ("field", "section"),
    [("reasons", "why"), ("holdout", "trust"), ("trend", "trend"), ("training", None), ("segments", None)],
)
def test_each_optional_part_can_be_missing_alone(field: str, section: str | None) -> None:
    empty = ReportData.model_fields[field].get_default(call_default_factory=True)
    html = render_report(changed(**{field: empty}))
    sections = Page(html).sections
    assert section not in sections
    assert len(sections) == (6 if section is None else 5)
    assert not re.search(r"<(p|ul|ol|dl|div|h2|h3|tbody|figure)[^>]*>\s*</\1>", html)


def test_without_a_known_truth_the_best_possible_is_not_mentioned() -> None:
    data = example_report()
    assert data.holdout
    assert "best possible" in Page(render_report(data)).sections["trust"]
    holdout = data.holdout.model_copy(update={"true_log_loss": None})
    assert "best possible" not in Page(render_report(changed(holdout=holdout.model_dump()))).text


def test_metrics_that_are_missing_leave_no_line() -> None:
    data = example_report()
    assert data.holdout
    holdout = data.holdout.model_copy(update={"metrics": {"auc": Estimate(value=0.8)}})
    page = Page(render_report(changed(holdout=holdout.model_dump())))
    assert "0.800" in page.sections["trust"]
    assert "Brier" not in page.text
    assert "best possible" not in page.text


def test_regret_is_the_share_of_the_way_that_is_left() -> None:
    data = example_report()
    assert data.holdout
    update = {"base_log_loss": 0.5, "true_log_loss": 0.4, "metrics": {"log_loss": Estimate(value=0.41)}}
    holdout = data.holdout.model_copy(update=update)
    assert holdout.regret == pytest.approx(0.1)
    assert "90.0 % of the way" in plain(wording.best_possible(holdout) or "")
    worse = holdout.model_copy(update={"metrics": {"log_loss": Estimate(value=0.6)}})
    assert "no better than knowing only the average" in (wording.best_possible(worse) or "")


def test_hostile_text_is_shown_and_never_run() -> None:
    full = example_report().model_dump()

    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [poison(item) for item in value]
        return HOSTILE if isinstance(value, str) else value

    keep = {"product", "role", "schema_version"}
    poisoned = {key: value if key in keep else poison(value) for key, value in full.items()}
    for point, original in zip(poisoned["trend"], full["trend"], strict=True):
        point["role"] = original["role"]
    for file in poisoned["files"]:
        file["path"] = HOSTILE
    page = Page(render_report(ReportData.model_validate(poisoned)))
    assert page.all("script") == []
    assert HOSTILE in page.sections["why"]
    assert HOSTILE in page.text.split("Churn report")[0]
    assert list(page.sections) == ["why", "who", "trust", "trend", "notes", "made"]


def test_report_data_survive_json_exactly() -> None:
    data = example_report()
    assert ReportData.model_validate_json(data.model_dump_json()) == data
    assert ReportData.model_validate_json(data.model_dump_json(indent=2)) == data
    assert ReportData.model_validate_json(bare().model_dump_json()) == bare()


def test_the_same_data_make_the_same_page() -> None:
    copy = ReportData.model_validate_json(example_report().model_dump_json())
    assert render_report(copy) == render_report(example_report())


def test_there_is_no_place_for_a_user_id() -> None:
    with pytest.raises(ValidationError, match="user_id"):
        changed(user_id="u1")
    names = set(re.findall(r'"([a-z_0-9]+)": \{', str(ReportData.model_json_schema()).replace("'", '"')))
    assert "users_scored" in names
    assert not {n for n in names if re.search(r"user_?id|audience_id|hid3|email", n)}


def test_data_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        example_report().title = "other"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Estimate(value=float("nan")), "finite"),
        (lambda: Estimate(value=1, low=0), "both low and high"),
        (lambda: Estimate(value=1, low=2, high=1), "backwards"),
        (lambda: Audience(users_scored=100, expected_churners=50, mean_probability=0.2), "make 20.0"),
        (
            lambda: Audience(
                users_scored=2,
                expected_churners=1,
                mean_probability=0.5,
                histogram=(HistogramBin(low=0, high=1, users=3),),
            ),
            "counts 3 users",
        ),
        (lambda: HistogramBin(low=0.5, high=0.5, users=1), "low < high"),
        (lambda: OutputFile(path="/etc/passwd", holds="x"), "inside the run's folder"),
        (lambda: OutputFile(path="a/../../b", holds="x"), "inside the run's folder"),
        (lambda: OutputFile(path="s3://bucket/key", holds="x"), "inside the run's folder"),
        (lambda: changed(lead_week_start=date(2026, 6, 1)), "must follow each other"),
        (lambda: changed(trend=[*example_report().model_dump()["trend"]][::-1]), "earliest first"),
    ],
)
def test_data_that_contradict_themselves_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_write_makes_folders_replaces_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "charts" / "report.html"
    write_report(bare(), str(path))
    first = path.read_text(encoding="utf-8")
    write_report(example_report(), path)
    assert path.read_text(encoding="utf-8") == render_report(example_report()) != first
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_write_that_fails_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_report(bare(), path)
    before = path.read_text(encoding="utf-8")

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        write_report(example_report(), path)
    assert path.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_path_that_cannot_be_a_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunError, match="taken"):
        write_report(bare(), tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def drawn(markup: str) -> ET.Element:
    """A chart as XML, with every coordinate a finite number."""
    root = ET.fromstring(markup)
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "d"):
            for number in re.findall(r"[^\sMLZ]+", element.get(name, "")):
                assert re.fullmatch(r"-?\d+(\.\d+)?", number), f"{name}={element.get(name)}"
    return root


@pytest.mark.parametrize("users", [0, 1, 5_000_000])
def test_a_histogram_of_one_bin_can_be_drawn(users: int) -> None:
    root = drawn(charts.histogram_chart([HistogramBin(low=0, high=1, users=users)], 0.5))
    assert len(root.findall("rect")) == 1


def test_a_histogram_of_an_empty_audience_is_a_report_all_the_same() -> None:
    bins = tuple(HistogramBin(low=i / 10, high=(i + 1) / 10, users=0) for i in range(10))
    nobody = Audience(users_scored=0, expected_churners=0, mean_probability=0, histogram=bins)
    text = plain(Page(render_report(changed(audience=nobody.model_dump()))).text)
    assert "Of 0 people who used iPlayer" in text


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_charts_of_a_single_point_can_be_drawn(rate: float) -> None:
    one = CalibrationRow(bin="1", mean_predicted=rate, observed=rate, count=1)
    assert len(drawn(charts.calibration_chart([one])).findall("circle")) == 1
    gain = GainsRow(share_of_users=1, users=1, churn_rate=rate, share_of_churners=1, lift=1)
    assert drawn(charts.gains_chart([gain])).findall("circle")
    point = TrendPoint(as_of=date(2026, 6, 14), snapshots=0, churn_rate=rate)
    for narrow in (False, True):
        assert len(drawn(charts.trend_chart([point], date(2026, 6, 28), rate, narrow)).findall("circle")) == 2
    still = ValueEffect(value="0", contribution=0)
    assert drawn(charts.effect_strip("e", still, still, 0.0, "Effect")).findall("circle")
    drawn(charts.effect_strip("e", None, still, 0.0, "Effect"))


RATES = st.floats(0, 1, allow_nan=False)


@given(st.lists(st.tuples(RATES, st.integers(0, 10**7)), min_size=1, max_size=30), RATES, st.booleans())
def test_any_trend_can_be_drawn_inside_its_frame(
    rows: list[tuple[float, int]], expected: float, narrow: bool
) -> None:
    start = date(2025, 1, 5)
    points = [
        TrendPoint(as_of=start + timedelta(weeks=i), snapshots=n, churn_rate=r)
        for i, (r, n) in enumerate(rows)
    ]
    root = drawn(charts.trend_chart(points, start + timedelta(weeks=len(rows) + 1), expected, narrow))
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    dots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("circle")]
    assert len(dots) == len(rows) + 1
    assert all(0 <= x <= width and 0 <= y <= height for x, y in dots)


@given(st.lists(st.tuples(RATES, RATES, RATES, RATES), min_size=1, max_size=20))
def test_any_calibration_can_be_drawn(rows: list[tuple[float, float, float, float]]) -> None:
    made = [
        CalibrationRow(bin=str(i), mean_predicted=p, observed=o, count=i, low=min(a, b), high=max(a, b))
        for i, (p, o, a, b) in enumerate(rows)
    ]
    assert len(drawn(charts.calibration_chart(made)).findall("circle")) == len(rows)


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6), st.integers(2, 8))
def test_ticks_enclose_the_values_in_even_round_steps(low: float, span: float, target: int) -> None:
    ticks = nice_ticks(low, low + span, target)
    slack = 1e-6 * max(span, abs(low) * 1e-3)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    steps = [b - a for a, b in pairwise(ticks)]
    assert max(steps) - min(steps) <= 1e-6 * max(steps) + 1e-9
    assert 2 <= len(ticks) <= 2 * target + 3


def test_ticks_of_one_value_have_room() -> None:
    assert nice_ticks(0, 0)[0] < nice_ticks(0, 0)[-1]
    assert nice_ticks(7, 7)[-1] > 7
    with pytest.raises(ValueError, match="cannot draw"):
        nice_ticks(1, 0)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format.count(14203.4), "14,203"),
        (format.count(-0.2), "0"),
        (format.percent(0.2049), "20.5 %"),
        (format.percent(0.00001), "under 0.1 %"),
        (format.percent(0.99999), "over 99.9 %"),
        (format.percent(0.0), "0.0 %"),
        (format.percent(1.0, 0), "100 %"),
        (format.signed(0.123), "+0.12"),
        (format.signed(-0.001), "0.00"),
        (format.signed(-1.5, 1), "−1.5"),
        (format.times(2.44), "×2.4"),
        (format.lift(2.44), "×2.4"),
        (format.lift(9.96), "×10"),
        (format.lift(31.4), "×31"),
        (format.seconds(0.42), "0.4 s"),
        (format.seconds(59.7), "1 min 0 s"),
        (format.seconds(7260), "2 h 1 min"),
        (format.day(date(2026, 7, 6)), "6 July"),
        (format.day_range(date(2026, 7, 6), date(2026, 7, 12)), "6–12 July"),
        (format.day_range(date(2026, 6, 29), date(2026, 7, 5)), "29 June – 5 July"),
        (format.day_range(date(2026, 12, 28), date(2027, 1, 3)), "28 December 2026 – 3 January 2027"),
        (format.days([date(2026, 6, 14), date(2026, 6, 7)]), "7 June and 14 June"),
        (
            format.days([date(2026, 6, 7) + timedelta(weeks=i) for i in range(5)]),
            "7 June to 5 July (every week, 5 dates)",
        ),
        (format.days([]), ""),
        (format.people(1), "1 person"),
        (format.plural(1, "check"), "1 check"),
        (format.plural(1200, "check"), "1,200 checks"),
        (format.join_words(["a", "b", "c"]), "a, b and c"),
        (format.sentence("days active"), "Days active"),
    ],
)
def test_numbers_and_dates_are_written_for_people(shown: str, expected: str) -> None:
    assert plain(shown) == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.19, 0.21], "That is in line with the average of 20.0 % over the last 2 observed dates"),
        ([0.10, 0.12], "That is 9.0 points above the average of 11.0 %"),
        ([0.21], "That is 1.0 point below the rate of 21.0 % that was observed for 4 January."),
        ([], None),
    ],
)
def test_the_comparison_with_past_weeks_says_how_far_and_which_way(
    rates: list[float], expected: str | None
) -> None:
    trend = [
        {"as_of": date(2026, 1, 4) + timedelta(weeks=i), "snapshots": 100, "churn_rate": r}
        for i, r in enumerate(rates)
    ]
    data = changed(
        audience={"users_scored": 100, "expected_churners": 20, "mean_probability": 0.2}, trend=trend
    )
    sentence = wording.comparison(data)
    assert (sentence is None) if expected is None else (expected in plain(sentence or ""))


def test_the_track_record_adds_up_the_calibration_table() -> None:
    data = example_report()
    assert data.holdout
    rows = (
        CalibrationRow(bin="1", mean_predicted=0.1, observed=0.2, count=100),
        CalibrationRow(bin="2", mean_predicted=0.5, observed=0.4, count=200),
    )
    sentence = wording.track_record(data.holdout.model_copy(update={"calibration": rows}))
    assert sentence is not None
    assert "300 later cases" in sentence
    assert "expected 110 to stay away; 100 did" in sentence


@pytest.mark.parametrize(
    ("users", "flagged", "expected"),
    [
        ((10, 89, 1), 1, "1 person is flagged, with a probability of 40.0 % or more and 10 people have a"),
        (
            (1, 99, 0),
            0,
            "Nobody is flagged, with a probability of 40.0 % or more and 1 person has a probability",
        ),
    ],
)
def test_the_risk_bands_count_both_ends(users: tuple[int, ...], flagged: int, expected: str) -> None:
    edges = ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0))
    bins = [{"low": low, "high": high, "users": n} for (low, high), n in zip(edges, users, strict=True)]
    audience = {"users_scored": 100, "expected_churners": 20, "mean_probability": 0.2, "histogram": bins}
    data = changed(audience=audience, flagged={"threshold": 0.4, "users": flagged})
    assert plain(wording.risk_bands(data) or "").startswith(expected)


def test_the_report_counts_as_flagged_who_reaches_the_threshold_and_no_other_line() -> None:
    data = changed(flagged={"threshold": 0.39, "users": 1234, "precision": 0.61, "recall": 0.7})
    page = plain(Page(render_report(data)).text)
    assert "probability of 39.0 % or more" in page
    assert "1,234" in page
    assert "of those flagged, 61 % stayed away, and of those who stayed away, 70 % were flagged" in page
    assert "half" not in page


def test_the_calibration_error_is_compared_with_that_of_chance() -> None:
    holdout = example_report().holdout
    assert holdout is not None
    lines = {
        line.label: line for line in wording.metric_lines(holdout.model_copy(update={"chance_ece": 0.0071}))
    }
    assert lines["Calibration error"].references == ("by chance alone 0.71 points",)


def test_the_extremes_pass_over_segments_with_hardly_anybody() -> None:
    rows = [
        {"name": "many", "users": 900, "mean_probability": 0.3},
        {"name": "some", "users": 95, "mean_probability": 0.1},
        {"name": "few", "users": 5, "mean_probability": 0.9},
        {"name": "none", "users": 0, "mean_probability": None},
    ]
    data = changed(
        audience={"users_scored": 1000, "expected_churners": 200, "mean_probability": 0.2},
        segments=[{"title": "Size", "rows": rows}],
    )
    sentence = plain(wording.extremes(data) or "")
    assert "highest at 30.0 % (Size: many; 900 people)" in sentence
    assert "lowest at 10.0 % (Size: some; 95 people)" in sentence
    assert "none" in Page(render_report(data)).sections["who"]


def calibration(*rows: tuple[float, float, float, float]) -> Any:
    holdout = example_report().holdout
    assert holdout
    made = tuple(
        CalibrationRow(bin=str(i), mean_predicted=p, observed=o, count=50, low=low, high=high)
        for i, (p, o, low, high) in enumerate(rows, start=1)
    )
    return holdout.model_copy(update={"calibration": made})


def test_bins_whose_interval_misses_the_prediction_are_named() -> None:
    fits = (0.2, 0.21, 0.1, 0.3)
    missed = wording.missed_bins(calibration(fits, (0.2, 0.4, 0.3, 0.5), (0.3, 0.1, 0.0, 0.2)))
    assert missed == (
        "In bins 2 (more stayed away) and 3 (fewer stayed away) of 3 the interval misses the prediction; by chance "
        "alone, one bin in twenty does."
    )
    assert "In bin 2 (more stayed away) of 2 the" in str(
        wording.missed_bins(calibration(fits, (0.2, 0.4, 0.3, 0.5)))
    )
    assert "In all 2 bins the prediction lies within" in str(wording.missed_bins(calibration(fits, fits)))
    assert (
        "(more stayed away)"
        in Page(render_report(changed(holdout=calibration((0.2, 0.4, 0.3, 0.5)).model_dump()))).sections[
            "trust"
        ]
    )


def test_bins_without_intervals_are_not_judged() -> None:
    bare_row = CalibrationRow(bin="1", mean_predicted=0.1, observed=0.9, count=3)
    assert wording.missed_bins(calibration().model_copy(update={"calibration": (bare_row,)})) is None


def test_every_step_of_the_sql_and_every_stage_has_a_name_in_words() -> None:
    steps = {path.stem for folder in STEP_FOLDERS for path in (sql_root() / folder).glob("*.sql")}
    assert steps <= STAGES.keys()
    assert not [name for name in [*STAGES.values(), wording.stage("a_new_step")] if "_" in name]
    made = Page(
        render_report(
            changed(
                run={
                    **example_report().run.model_dump(),
                    "stages": [{"name": "user_item_week", "seconds": 1}],
                }
            )
        )
    )
    assert "Activity by user, item and week" in made.sections["made"]
    assert "user_item_week" not in made.text
