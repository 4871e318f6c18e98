"""A realistic report: a simulated week whose figures agree with each other, for tests and for pictures."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from churn.model.metrics import wilson_interval
from churn.outputs.report.data import (
    Audience,
    CalibrationRow,
    Check,
    Estimate,
    FeatureEffect,
    FeatureGroup,
    Flagged,
    GainsRow,
    GroupEffect,
    HistogramBin,
    Holdout,
    LeftOut,
    OutputFile,
    Reasons,
    ReportData,
    RunFacts,
    Segment,
    SegmentRow,
    Stage,
    TrainingFacts,
    TrendPoint,
    ValueEffect,
)

Floats = NDArray[np.float64]
AS_OF = date(2026, 6, 28)
HOLDOUT = (date(2026, 5, 31), date(2026, 6, 7), date(2026, 6, 14))
PAST = [AS_OF - timedelta(weeks=w) for w in range(14, 1, -1)]


@cache
def example_report() -> ReportData:
    """One weekly run for iPlayer as of 28 June 2026, every part filled in."""
    rng = np.random.default_rng(628)
    scores = rng.beta(0.62, 2.4, 14_203)
    return ReportData(
        product="iplayer",
        title="iPlayer",
        observation_start=AS_OF - timedelta(weeks=13) + timedelta(days=1),
        as_of=AS_OF,
        lead_week_start=AS_OF + timedelta(days=1),
        lead_week_end=AS_OF + timedelta(days=7),
        target_week_start=AS_OF + timedelta(days=8),
        target_week_end=AS_OF + timedelta(days=14),
        run=RunFacts(
            run_id="20260629T180004Z-7f3a",
            model_version="iplayer-20260629-7f3a",
            code_version="0.1.0+3c1f9ad",
            started_at=datetime(2026, 6, 29, 18, 0, 4, tzinfo=UTC),
            stages=(
                Stage(name="features", seconds=11.3, rows=14_203),
                Stage(name="unload", seconds=1.8, rows=160_421),
                Stage(name="train", seconds=16.9, rows=146_218),
                Stage(name="score and explain", seconds=4.6, rows=14_203),
                Stage(name="commit", seconds=0.2, rows=14_203),
                Stage(name="publish", seconds=0.4, rows=14_203),
            ),
        ),
        audience=Audience(
            users_scored=scores.size,
            expected_churners=float(scores.sum()),
            mean_probability=float(scores.mean()),
            histogram=_histogram(scores),
        ),
        flagged=Flagged(threshold=0.31, users=int((scores >= 0.31).sum()), precision=0.47, recall=0.62),
        reasons=_reasons(),
        segments=_segments(scores),
        holdout=_holdout(rng),
        trend=_trend(rng),
        groups_used=(
            FeatureGroup(name="weekly activity", features=39),
            FeatureGroup(name="trend", features=4),
            FeatureGroup(name="whole life", features=6),
            FeatureGroup(name="content", features=22),
            FeatureGroup(name="last week", features=7),
            FeatureGroup(name="devices", features=16),
            FeatureGroup(name="time and day", features=13),
            FeatureGroup(name="demographics", features=9),
        ),
        groups_left_out=(
            LeftOut(name="marketing", reason="the source has no table of e-mail opens and clicks"),
            LeftOut(name="follows", reason="the source has no table of follows and favourites"),
        ),
        warnings=(
            "share_seconds_learning is empty for 100 % of the snapshots (weekly activity)",
            "is_uk is constant: 1 for every snapshot (demographics)",
            "the as-of date 3 May has 18 % fewer snapshots than its neighbours",
        ),
        checks=(
            Check(name="required columns", detail="activity 14, content 18, profile 8, extension 8"),
            Check(name="unique snapshots", detail="160,421 rows, no key twice"),
            Check(name="nothing after the as-of date", detail="latest event 2026-06-28 23:59"),
            Check(name="label rate", detail="20.1 %, within 1 % and 99 %"),
            Check(name="rows to train on", detail="146,218 rows, 29,390 that stayed away"),
            Check(name="row counts", detail="14,203 from features to published scores"),
            Check(name="additivity", detail="largest difference of margin and bias + SHAP: 2.1e-06"),
            Check(name="scores", detail="no missing probability, 14,198 distinct values"),
        ),
        training=TrainingFacts(
            as_of_dates=tuple(d for d in PAST if d not in HOLDOUT),
            snapshots=146_218,
            churn_rate=0.201,
            features=116,
            trees=412,
            parameters={
                "max_depth": 4,
                "min_child_weight": 20,
                "subsample": 0.7,
                "colsample_bytree": 0.5,
                "reg_lambda": 5,
                "learning_rate": 0.03,
            },
        ),
        files=(
            OutputFile(path="scores/", holds="a probability and a decision for every person"),
            OutputFile(path="shap/", holds="the contribution of every feature, in log-odds"),
            OutputFile(path="reasons/", holds="the five largest contributions of every person"),
            OutputFile(path="model/", holds="the booster, its features, category maps and metrics"),
            OutputFile(path="manifest.json", holds="rows, bytes and checksums of every part"),
        ),
    )


def _histogram(scores: Floats) -> tuple[HistogramBin, ...]:
    counts, edges = np.histogram(scores, bins=20, range=(0.0, 1.0))
    return tuple(
        HistogramBin(low=float(low), high=float(high), users=int(users))
        for low, high, users in zip(edges.round(6), edges[1:].round(6), counts, strict=False)
    )


def _trend(rng: np.random.Generator) -> tuple[TrendPoint, ...]:
    wave = 0.203 + 0.016 * np.sin(np.arange(len(PAST)) / 2.6 + 2.2) + rng.normal(0, 0.003, len(PAST))
    size = rng.integers(10_800, 12_600, len(PAST))
    return tuple(
        TrendPoint(
            as_of=day,
            snapshots=int(n),
            churn_rate=float(rate),
            role="holdout" if day in HOLDOUT else "training",
        )
        for day, n, rate in zip(PAST, size, wave, strict=True)
    )


def _holdout(rng: np.random.Generator) -> Holdout:
    true_margin = rng.normal(-2.15, 1.75, 34_512)
    true = 1 / (1 + np.exp(-true_margin))
    label = (rng.random(true.size) < true).astype(int)
    predicted = 1 / (1 + np.exp(-(0.97 * true_margin - 0.03 + rng.normal(0, 0.32, true.size))))
    rate = float(label.mean())
    order = np.argsort(-predicted)
    top = label[order[: label.size // 10]].mean() / rate
    calibration = _calibration(predicted, label)
    ece = sum(r.count * abs(r.mean_predicted - r.observed) for r in calibration) / label.size
    ll, auc = log_loss(label, predicted), roc_auc_score(label, predicted)
    pr, brier = average_precision_score(label, predicted), brier_score_loss(label, predicted)
    return Holdout(
        as_of_dates=HOLDOUT,
        snapshots=label.size,
        base_rate=rate,
        metrics={
            "log_loss": Estimate(value=ll, low=ll - 0.0047, high=ll + 0.0048),
            "auc": Estimate(value=auc, low=auc - 0.0049, high=auc + 0.0047),
            "pr_auc": Estimate(value=pr, low=pr - 0.0102, high=pr + 0.0099),
            "brier": Estimate(value=brier, low=brier - 0.0017, high=brier + 0.0017),
            "ece": Estimate(value=ece, low=max(0.0, ece - 0.003), high=ece + 0.003),
            "lift_top_decile": Estimate(value=float(top), low=float(top) - 0.08, high=float(top) + 0.08),
        },
        base_log_loss=float(log_loss(label, np.full(label.size, rate))),
        chance_ece=0.004,
        true_log_loss=float(log_loss(label, true)),
        calibration=calibration,
        gains=tuple(
            GainsRow(
                share_of_users=tenth / 10,
                users=int(label.size * tenth / 10),
                churn_rate=float(label[order[: int(label.size * tenth / 10)]].mean()),
                share_of_churners=float(label[order[: int(label.size * tenth / 10)]].sum() / label.sum()),
                lift=float(label[order[: int(label.size * tenth / 10)]].mean() / rate),
            )
            for tenth in range(1, 11)
        ),
    )


def _calibration(predicted: Floats, label: NDArray[np.int_]) -> tuple[CalibrationRow, ...]:
    rows = []
    for i, part in enumerate(np.array_split(np.argsort(predicted), 10), start=1):
        observed = float(label[part].mean())
        low, high = wilson_interval(observed, part.size)
        rows.append(
            CalibrationRow(
                bin=str(i),
                mean_predicted=float(predicted[part].mean()),
                observed=observed,
                count=part.size,
                low=low,
                high=high,
            )
        )
    return tuple(rows)


def _segments(scores: Floats) -> tuple[Segment, ...]:
    mean = float(scores.mean())

    def segment(title: str, rows: dict[str, tuple[float, float]]) -> Segment:
        scale = mean / sum(share * risk for share, risk in rows.values())
        return Segment(
            title=title,
            rows=tuple(
                SegmentRow(
                    name=name, users=round(share * scores.size), mean_probability=min(risk * scale, 1.0)
                )
                for name, (share, risk) in rows.items()
            ),
        )

    return (
        segment(
            "Known for",
            {
                "under 4 weeks": (0.07, 0.412),
                "4 to 12 weeks": (0.12, 0.296),
                "3 to 12 months": (0.31, 0.221),
                "over a year": (0.50, 0.134),
            },
        ),
        segment(
            "Active days last week",
            {"1": (0.31, 0.391), "2": (0.22, 0.224), "3 or 4": (0.26, 0.112), "5 or more": (0.21, 0.037)},
        ),
        segment(
            "Main device",
            {
                "smart TV": (0.52, 0.158),
                "mobile app": (0.24, 0.217),
                "tablet": (0.13, 0.201),
                "desktop web": (0.11, 0.382),
            },
        ),
        segment(
            "Last week's favourite ended",
            {"yes": (0.18, 0.318), "no": (0.82, 0.18)},
        ),
    )


def _reasons() -> Reasons:
    features = (
        _effect(
            "active_days_1w",
            "last week",
            "days with activity last week",
            (0.412, -0.031),
            ("1 day", 0.61),
            ("6 or 7 days", -0.94),
        ),
        _effect(
            "active_weeks_13",
            "weekly activity",
            "active weeks of the last 13",
            (0.338, 0.012),
            ("up to 4", 0.72),
            ("all 13", -0.55),
        ),
        _effect(
            "weeks_since_first_seen",
            "whole life",
            "weeks since first seen",
            (0.187, -0.008),
            ("under 6", 0.44),
            ("over 110", -0.21),
        ),
        _effect(
            "finales_watched_1w",
            "last week",
            "series finales watched last week",
            (0.161, 0.043),
            ("none", -0.07),
            ("2 or more", 0.58),
        ),
        _effect(
            "events_slope",
            "trend",
            "weekly trend of plays",
            (0.139, 0.021),
            ("falling", 0.31),
            ("rising", -0.26),
        ),
        _effect(
            "days_since_last_activity",
            "last week",
            "days since last seen",
            (0.122, 0.003),
            ("0 days", -0.19),
            ("4 to 6 days", 0.34),
        ),
        _effect(
            "share_seconds_drama",
            "content",
            "share of time on drama",
            (0.094, -0.002),
            ("0 %", -0.05),
            ("over 62 %", 0.22),
        ),
        _effect("preferred_device", "devices", "preferred device", (0.081, 0.006)),
        _effect(
            "schedule_match",
            "content",
            "coming programmes that match their taste",
            (0.077, -0.011),
            ("few", 0.15),
            ("many", -0.17),
        ),
        _effect(
            "share_seconds_late",
            "time and day",
            "share of time late in the evening",
            (0.052, 0.001),
            ("0 %", -0.04),
            ("over 40 %", 0.11),
        ),
    )
    return Reasons(
        features=features,
        groups=(
            GroupEffect(name="last week", features=7, mean_abs=0.768),
            GroupEffect(name="weekly activity", features=39, mean_abs=0.561),
            GroupEffect(name="content", features=22, mean_abs=0.329),
            GroupEffect(name="whole life", features=6, mean_abs=0.268),
            GroupEffect(name="trend", features=4, mean_abs=0.192),
            GroupEffect(name="devices", features=16, mean_abs=0.143),
            GroupEffect(name="time and day", features=13, mean_abs=0.119),
            GroupEffect(name="demographics", features=9, mean_abs=0.064),
        ),
        users=14_203,
    )


def _effect(
    name: str,
    group: str,
    meaning: str,
    means: tuple[float, float],
    low: tuple[str, float] | None = None,
    high: tuple[str, float] | None = None,
) -> FeatureEffect:
    return FeatureEffect(
        name=name,
        group=group,
        meaning=meaning,
        mean_abs=means[0],
        mean=means[1],
        low=ValueEffect(value=low[0], contribution=low[1]) if low else None,
        high=ValueEffect(value=high[0], contribution=high[1]) if high else None,
    )
