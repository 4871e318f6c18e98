"""Sentences and metric descriptions of the report."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from churn.outputs.report.data import (
    Estimate,
    FeatureEffect,
    Holdout,
    MetricName,
    ReportData,
    TrainingFacts,
    TrendPoint,
)
from churn.outputs.report.format import (
    DASH,
    count,
    day,
    days,
    decimal,
    join_words,
    lift,
    people,
    percent,
    plural,
    sentence,
    signed,
    times,
)
from churn.outputs.report.stage_names import STAGES

RECENT = 8  # past as-of dates that this run is compared with
NO_EFFECT = math.log(1.05)  # log-odds; smaller contributions are shown as ×1.0
SAME_AS_USUAL = 0.0005  # differences below a twentieth of a point are no difference


def headline(data: ReportData) -> tuple[str, str, str]:
    """The report in one sentence, in three parts; the page stresses the middle one."""
    audience = data.audience
    years = data.as_of.year != data.target_week_start.year
    verb = "are" if count(audience.expected_churners) != "1" else "is"
    return (
        f"Of {people(audience.users_scored)} who {data.verb} {data.title} in the week to "
        f"{day(data.as_of, years)}, ",
        f"{count(audience.expected_churners)} ({percent(audience.mean_probability)})",
        f" {verb} expected to stay away in {target_weeks(data, years)}.",
    )


def target_weeks(data: ReportData, years: bool) -> str:
    """Return when people are expected to stay away: `the week of 6 July`, `the 2 weeks from 6 July`."""
    count = (data.target_week_end - data.target_week_start).days // 7 + 1
    weeks = "the week of" if count == 1 else f"the {count} weeks from"
    return f"{weeks} {day(data.target_week_start, years)}"


@dataclass(frozen=True)
class KeyFigure:
    """A number at the top of the page, what it counts, and a line that explains it."""

    value: str
    label: str
    explanation: str


def key_figures(data: ReportData) -> list[KeyFigure]:
    """At most four figures; which ones depends on what the run has."""
    audience = data.audience
    figures = [
        KeyFigure(
            count(audience.expected_churners),
            "Expected to stay away",
            f"of {people(audience.users_scored)} scored",
        )
    ]
    usual = usual_rate(data)
    if usual is None:
        figures.append(
            KeyFigure(percent(audience.mean_probability), "Average probability", "of staying away")
        )
    else:
        gap = audience.mean_probability - usual
        explanation = f"recently observed: {percent(usual)}"
        figures.append(KeyFigure(_signed_points(gap), "Points against recent weeks", explanation))
    if data.flagged is not None:
        explanation = f"a probability of {percent(data.flagged.threshold)} or more"
        figures.append(KeyFigure(count(data.flagged.users), "Flagged", explanation))
    metrics = data.holdout.metrics if data.holdout else {}
    if "lift_top_decile" in metrics:
        factor = lift(metrics["lift_top_decile"].value)
        explanation = "as often away as the average person, when tested on later weeks"
        figures.append(KeyFigure(factor, "Riskiest tenth", explanation))
    elif "auc" in metrics:
        figures.append(KeyFigure(_three(metrics["auc"].value), "AUC", "when tested on later weeks"))
    return figures


def usual_rate(data: ReportData) -> float | None:
    """The mean of the latest observed churn rates, or None without a trend."""
    rates = [p.churn_rate for p in data.trend[-RECENT:]]
    return sum(rates) / len(rates) if rates else None


def comparison(data: ReportData, subject: str = "That") -> str | None:
    """This run's mean probability against the mean of recent observed rates, or None without a trend."""
    usual = usual_rate(data)
    if usual is None:
        return None
    recent = data.trend[-RECENT:]
    rates = [p.churn_rate for p in recent]
    gap = data.audience.mean_probability - usual
    if len(recent) == 1:
        past = f"the rate of {percent(usual)} that was observed for {day(recent[0].as_of)}"
    else:
        past = (
            f"the average of {percent(usual)} over the last {len(recent)} observed dates "
            f"({percent(min(rates))} to {percent(max(rates))})"
        )
    if abs(gap) < SAME_AS_USUAL:
        return f"{subject} is in line with {past}."
    points = decimal(abs(gap) * 100, 1)
    unit = "point" if points == "1.0" else "points"
    return f"{subject} is {points} {unit} {'above' if gap > 0 else 'below'} {past}."


def main_signs(data: ReportData, most: int = 3) -> str | None:
    """The strongest features by meaning, or None without reasons."""
    if data.reasons is None or not data.reasons.features:
        return None
    signs = [f.meaning for f in data.reasons.features[:most]]
    return f"What tells most: {join_words(signs)}."


def track_record(holdout: Holdout) -> str | None:
    """Expected against observed on the holdout, from its calibration table."""
    cases = sum(r.count for r in holdout.calibration)
    if not cases:
        return None
    expected = sum(r.count * r.mean_predicted for r in holdout.calibration)
    observed = sum(r.count * r.observed for r in holdout.calibration)
    return (
        f"Tested on {plural(cases, 'later case')} that training never saw, the model expected "
        f"{count(expected)} to stay away; {count(observed)} did."
    )


def missed_bins(holdout: Holdout) -> str | None:
    """Name the bins whose 95 % interval does not hold the prediction; None without intervals."""
    rows = [
        (row, row.low <= row.mean_predicted <= row.high)
        for row in holdout.calibration
        if row.low is not None and row.high is not None
    ]
    if not rows:
        return None
    missed = [row for row, inside in rows if not inside]
    if not missed:
        bins = "its only bin" if len(rows) == 1 else f"all {len(rows)} bins"
        return f"In {bins} the prediction lies within the interval of what was observed."
    named = [f"{r.bin} ({'more' if r.observed > r.mean_predicted else 'fewer'} stayed away)" for r in missed]
    bins = "bin" if len(missed) == 1 else "bins"
    return (
        f"In {bins} {join_words(named)} of {len(rows)} the interval misses the prediction; by chance alone, "
        "one bin in twenty does."
    )


def stage(name: str) -> str:
    """Return a stage's name in words."""
    return STAGES.get(name, name.replace("_", " "))


def used_for(point: TrendPoint) -> str:
    """What the cases of a past date were used for."""
    return USED_FOR[point.role] if point.role else DASH


def holdout_scope(holdout: Holdout) -> str:
    """Which cases the holdout has."""
    dates = f", as of {days(holdout.as_of_dates)}" if holdout.as_of_dates else ""
    return (
        f"{plural(holdout.snapshots, 'case')} later than any the model was trained on{dates}; "
        f"{percent(holdout.base_rate)} of them stayed away."
    )


def best_possible(holdout: Holdout) -> str | None:
    """The model's place between the base rate and the true probabilities; None for real data."""
    if holdout.regret is None:
        return None
    known = "The data are simulated, so the best possible log loss is known."
    if holdout.regret >= 1:
        return f"{known} The model is no better than knowing only the average."
    covered = percent(1 - max(holdout.regret, 0.0))
    return (
        f"{known} The model covers {covered} of the way from knowing only the average to knowing every true "
        f"probability (regret {percent(holdout.regret)})."
    )


def risk_bands(data: ReportData) -> str | None:
    """How many users are flagged, and how many are below 10 %, if a bin ends there."""
    bins = data.audience.histogram
    parts = []
    if data.flagged is not None:
        users = data.flagged.users
        who = f"{people(users)} {'is' if users == 1 else 'are'}" if users else "nobody is"
        parts.append(f"{who} flagged, with a probability of {percent(data.flagged.threshold)} or more")
    if any(math.isclose(b.high, 0.1) for b in bins):
        safe = sum(b.users for b in bins if b.high <= 0.1 + 1e-9)
        verb = "has" if safe == 1 else "have"
        parts.append(f"{people(safe)} {verb} a probability below {percent(0.1, 0)}")
    return f"{sentence(join_words(parts))}." if parts else None


def flags_that_came_true(data: ReportData) -> str | None:
    """How right flagging was on the holdout; None without a holdout or without people to flag."""
    flagged = data.flagged
    if flagged is None or flagged.precision is None or flagged.recall is None:
        return None
    return (
        f"Flagging balances two aims as well as the test allows (the best F1): of those flagged, "
        f"{percent(flagged.precision, 0)} stayed away, and of those who stayed away, "
        f"{percent(flagged.recall, 0)} were flagged. To approach a fixed number, take the riskiest first."
    )


def extremes(data: ReportData, least_share: float = 0.01) -> str | None:
    """The segments with the highest and lowest mean probability among those with enough users."""
    enough = max(least_share * data.audience.users_scored, 1)
    rows = [
        (row.mean_probability, segment.title, row)
        for segment in data.segments
        for row in segment.rows
        if row.mean_probability is not None and row.users >= enough
    ]
    if len(rows) < 2:
        return None
    (low, low_title, low_row), *_, (high, high_title, high_row) = sorted(rows, key=lambda row: row[0])
    return (
        f"The risk is highest at {percent(high)} ({high_title}: {high_row.name}; {people(high_row.users)}) "
        f"and lowest at {percent(low)} ({low_title}: {low_row.name}; {people(low_row.users)})."
    )


def in_words(feature: FeatureEffect) -> str | None:
    """A feature's ends as factors on the odds, without those of ×1.0; None if none is left."""
    parts = [
        f"{end.value}: odds {times(math.exp(end.contribution), 2 if end.contribution < 0 else 1)}"
        for end in (feature.low, feature.high)
        if end is not None and abs(end.contribution) >= NO_EFFECT
    ]
    return " \u00b7 ".join(parts) if parts else None


@dataclass(frozen=True)
class MetricLine:
    """One row of the table of holdout metrics, as text."""

    label: str
    meaning: str
    value: str
    interval: str
    references: tuple[str, ...]


def metric_lines(holdout: Holdout) -> list[MetricLine]:
    """The holdout's metrics in a fixed order, each with its reference values."""
    return [
        MetricLine(label, meaning, show(estimate.value), interval(estimate, show), references(holdout))
        for name, (label, meaning, show, references) in METRICS.items()
        if (estimate := holdout.metrics.get(name)) is not None
    ]


def interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    """``0.412 – 0.431``, or an empty text without an interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{show(estimate.low)} {DASH} {show(estimate.high)}"


def _log_losses(holdout: Holdout) -> tuple[str, ...]:
    base = f"base rate {_four(holdout.base_log_loss)}"
    if holdout.true_log_loss is None:
        return (base,)
    return (base, f"best possible {_four(holdout.true_log_loss)}")


def _chance(holdout: Holdout) -> tuple[str, ...]:
    if holdout.chance_ece is None:
        return ("perfect 0",)
    return (f"by chance alone {decimal(holdout.chance_ece * 100, 2)} points",)


def _three(value: float) -> str:
    return decimal(value, 3)


def _four(value: float) -> str:
    return decimal(value, 4)


def _signed_points(gap: float) -> str:
    return "\u00b10.0" if abs(gap) < SAME_AS_USUAL else signed(gap * 100, 1)


def stack(training: TrainingFacts) -> str:
    """Return whether the learners were stacked, and why."""
    if training.stack is None:
        return "The best of them is the model."
    best, difference = training.stack.best, training.stack.difference
    size = decimal(abs(difference.value), 4)
    side = "lower" if difference.value < 0 else "higher"
    found = f"Together their log loss is {size} {side} than that of {best} alone"
    if difference.low is not None and difference.high is not None:
        low, high = (f"{decimal(end, 4)}" for end in (difference.low, difference.high))
        found += f" (difference {low} to {high})"
    found += f" on {count(training.stack.rows)} later cases that no learner was fitted to."
    shipped = "The model is their weighted mean." if training.stack.shipped else f"The model is {best} alone."
    return f"{shipped} {found}"


# Label, meaning, number format, and the references: the metric of a model that knows only the base rate, and
# that of the true probabilities if they are known.
METRICS: dict[MetricName, tuple[str, str, Callable[[float], str], Callable[[Holdout], tuple[str, ...]]]] = {
    "log_loss": (
        "Log loss",
        "how surprised the model was by what happened; lower is better",
        _four,
        _log_losses,
    ),
    "auc": (
        "AUC",
        "how often somebody who stayed away had a higher probability than somebody who came",
        _three,
        lambda _: ("at random 0.500",),
    ),
    "pr_auc": (
        "PR AUC",
        "average precision when people are approached riskiest first",
        _three,
        lambda holdout: (f"at random {_three(holdout.base_rate)}",),
    ),
    "brier": (
        "Brier score",
        "mean squared error of the probabilities; lower is better",
        _four,
        lambda holdout: (f"base rate {_four(holdout.base_rate * (1 - holdout.base_rate))}",),
    ),
    "ece": (
        "Calibration error",
        "mean distance between predicted and observed rates over the bins; lower is better",
        lambda value: f"{decimal(value * 100, 2)} points",
        _chance,
    ),
    "lift_top_decile": (
        "Lift, top tenth",
        "churn rate among the riskiest tenth, as a multiple of everybody's",
        lift,
        lambda _: (f"at random {times(1.0)}",),
    ),
}

USED_FOR = {
    "training": "training",
    "validation": "training, and the number of trees",
    "gap": "training after the test only: outcomes were not known in time for it",
    "holdout": "test, then training",
}
