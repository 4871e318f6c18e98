"""Build the report's data from training, scoring and checks."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from churn.core.calendar import Windows
from churn.core.datasets import DATASETS
from churn.core.prefetch import PREFETCH, prefetch_map
from churn.core.timing import StageRecord
from churn.dataset.checks import CheckResult
from churn.dataset.plan import DatasetPlan
from churn.explain.effects import FeatureImportance
from churn.explain.wording import limit
from churn.features.feature import Feature, player_feature
from churn.lake.filesystem import is_local
from churn.model.artifact import ModelCard, StackSummary
from churn.model.metrics import Evaluation, calibration_table, lift_table, log_loss, precision_and_recall
from churn.outputs.report import data as parts
from churn.outputs.report.segments import FEATURES, SegmentTotals
from churn.outputs.report.wording import NO_EFFECT
from churn.scoring.scorer import RunSummary

_SHOWN_FEATURES = 15
_HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class ScoreAggregates:
    """Totals of the score files, without any user.

    Attributes:
        histogram: users in 20 equal bins of probability.
        segments: users and their probabilities by segment.
    """

    histogram: NDArray[np.int64]
    segments: SegmentTotals


def aggregate_scores(features: Sequence[str], scores: Sequence[str]) -> ScoreAggregates:
    """Return totals of a run's score files, read one partition at a time.

    Args:
        features: features files, as paths or URLs.
        scores: the score file of each features file, in the same order.
    """
    histogram = np.zeros(_HISTOGRAM_BINS, np.int64)
    segments = SegmentTotals()
    for values, score in _read_side_by_side(features, scores):
        probability = score["predicted_probability"].to_numpy()
        histogram += np.histogram(probability, _HISTOGRAM_BINS, (0.0, 1.0))[0]
        segments.add(values, probability)
    return ScoreAggregates(histogram, segments)


def _read_side_by_side(features: Sequence[str], scores: Sequence[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield features and probabilities of each partition in order; on S3, prefetch a few at a time."""

    def read(pair: tuple[str, str]) -> tuple[pa.Table, pa.Table]:
        return _read(pair[0], FEATURES), _read(pair[1], ("predicted_probability",))

    pairs = list(zip(features, scores, strict=True))
    yield from prefetch_map(read, pairs, PREFETCH if any("://" in address for address in features) else 1)


def _read(address: str, columns: Sequence[str]) -> pa.Table:
    """Return those of the columns that the file has."""
    fs, path = url_to_fs(address)
    # Only a few columns are read: without a cache, fsspec fetches their bytes and no whole blocks.
    with fs.open(path, "rb", **({} if is_local(fs) else {"cache_type": "none"})) as stream:
        file = pq.ParquetFile(stream)
        names = set(file.schema_arrow.names)
        return file.read(columns=[name for name in columns if name in names])


def report_data(
    *,
    plan: DatasetPlan,
    run: parts.RunFacts,
    card: ModelCard,
    evaluation: Evaluation,
    holdout: pa.Table,
    true_log_loss: float | None,
    summary: RunSummary,
    importance: Sequence[FeatureImportance],
    scored: ScoreAggregates,
    passed: Sequence[CheckResult],
    warnings: Sequence[str],
) -> parts.ReportData:
    """Return the report's data.

    Args:
        plan: the dataset of the run: product, windows, features.
        evaluation: the holdout's metrics, by a model that was not fitted on it.
        holdout: the holdout's snapshots with ``churned`` and ``predicted_probability``.
        true_log_loss: log loss of the true probabilities on the holdout; None for real data.
        importance: features by mean absolute contribution, largest first.
        scored: totals of the score files.
        warnings: sentences for the reader.
    """
    windows = plan.windows
    return parts.ReportData(
        product=plan.name,
        title=plan.product.title,
        verb=plan.product.verb,
        observation_start=windows.observation_start,
        as_of=windows.as_of,
        lead_week_start=windows.lead_start,
        lead_week_end=windows.lead_end,
        target_week_start=windows.target_week_start,
        target_week_end=windows.target_end,
        run=run,
        audience=parts.Audience(
            users_scored=summary.rows,
            expected_churners=summary.mean_probability * summary.rows,
            mean_probability=summary.mean_probability,
            histogram=_histogram(scored.histogram),
        ),
        flagged=_flagged(card.threshold, summary, holdout),
        reasons=_reasons(plan, summary.rows, importance),
        segments=scored.segments.segments(),
        holdout=_holdout(card, evaluation, holdout, true_log_loss),
        trend=tuple(
            parts.TrendPoint(
                as_of=day.as_of,
                snapshots=day.rows,
                churn_rate=day.churn_rate,
                role=day.role,
            )
            for day in card.dates
        ),
        groups_used=_groups(plan.catalogue.features),
        groups_left_out=tuple(
            parts.LeftOut(name=name, reason=reason) for name, reason in plan.catalogue.left_out.items()
        ),
        warnings=tuple(warnings),
        checks=tuple(parts.Check(name=check.name, detail=check.detail) for check in passed),
        training=parts.TrainingFacts(
            as_of_dates=card.training_dates,
            snapshots=card.rows,
            churn_rate=card.churn_rate,
            features=len(card.features),
            trees=card.trees,
            parameters=dict(card.params),
            learners=tuple(
                parts.Learner(**learner.model_dump(include=set(parts.Learner.model_fields)))
                for learner in card.learners
            ),
            stack=None if card.stack is None else _stack(card.stack),
        ),
        files=tuple(
            parts.OutputFile(path=dataset.name, holds=dataset.description)
            for dataset in DATASETS
            if dataset.writer != "scoring" or dataset.name in summary.datasets
        ),
    )


def true_log_loss(data: Path, product: str, holdout: pa.Table, windows: Windows) -> float | None:
    """Return the log loss of the true probabilities on the holdout; None if they are unknown.

    The simulator knows them for a lead of one week and a target of one week.
    """
    if (windows.lead_weeks, windows.target_weeks) != (1, 1):
        return None
    folder, dates = data / "truth" / f"product={product}", holdout["as_of_date"].unique().to_pylist()
    paths = [folder / f"as_of_date={day}" / "part-00000.parquet" for day in dates]
    if not all(path.is_file() for path in paths):
        return None
    columns = ["user_id", "as_of_date", "churn_probability"]
    truth = pa.concat_tables(pq.ParquetFile(path).read(columns=columns) for path in paths)
    joined = holdout.join(truth, keys=["user_id", "as_of_date"], join_type="left outer")
    if joined["churn_probability"].null_count:
        return None
    return float(log_loss(joined["churned"].to_numpy(), joined["churn_probability"].to_numpy()))


def stages_of(records: Sequence[StageRecord]) -> tuple[parts.Stage, ...]:
    """Return stage records as the report's stages."""
    return tuple(
        parts.Stage(name=record.name, seconds=record.seconds, rows=record.rows) for record in records
    )


def _stack(stack: StackSummary) -> parts.Stack:
    return parts.Stack(
        shipped=stack.shipped,
        best=stack.best,
        difference=parts.Estimate(value=stack.difference, low=stack.low, high=stack.high),
        rows=stack.rows,
    )


def _flagged(threshold: float, summary: RunSummary, holdout: pa.Table) -> parts.Flagged:
    precision, recall = precision_and_recall(
        holdout["churned"].to_numpy(), holdout["predicted_probability"].to_numpy(), threshold
    )
    return parts.Flagged(threshold=threshold, users=summary.classified, precision=precision, recall=recall)


def _histogram(counts: NDArray[np.int64]) -> tuple[parts.HistogramBin, ...]:
    edges = [index / _HISTOGRAM_BINS for index in range(_HISTOGRAM_BINS + 1)]
    return tuple(
        parts.HistogramBin(low=low, high=high, users=int(users))
        for low, high, users in zip(edges[:-1], edges[1:], counts, strict=True)
    )


def _reasons(plan: DatasetPlan, users: int, importance: Sequence[FeatureImportance]) -> parts.Reasons:
    by_name = {feature.name: feature for feature in plan.catalogue.features}
    by_name |= {name: player_feature(name) for name in {e.feature for e in importance} - set(by_name)}
    groups: dict[str, list[float]] = {}
    for effect in importance:
        groups.setdefault(by_name[effect.feature].group, []).append(effect.mean_abs)
    ranked = sorted(groups.items(), key=lambda item: -sum(item[1]))
    telling = [effect for effect in importance if _has_effect(effect)]
    return parts.Reasons(
        features=tuple(_effect(by_name[e.feature], e) for e in telling[:_SHOWN_FEATURES]),
        groups=tuple(
            parts.GroupEffect(name=name, features=len(sizes), mean_abs=sum(sizes)) for name, sizes in ranked
        ),
        users=users,
        ends="users on either side of the value at which the model typically divides them",
    )


def _has_effect(effect: FeatureImportance) -> bool:
    """Return whether a feature changes the odds at an end of its values, or has no ends (categories)."""
    ends = [abs(end) for end in (effect.low, effect.high) if end is not None]
    return not ends or max(ends) >= NO_EFFECT


def _effect(feature: Feature, effect: FeatureImportance) -> parts.FeatureEffect:
    ends = {}
    if effect.cut is not None:
        cut = limit(feature, effect.cut)
        below, above = ("no", "yes") if feature.unit == "flag" else (f"below {cut}", f"{cut} or more")
        if effect.low is not None:
            ends["low"] = parts.ValueEffect(value=below, contribution=effect.low)
        if effect.high is not None:
            ends["high"] = parts.ValueEffect(value=above, contribution=effect.high)
    return parts.FeatureEffect(
        name=feature.name,
        group=feature.group,
        meaning=feature.sign,
        mean_abs=effect.mean_abs,
        mean=effect.mean,
        **ends,
    )


def _holdout(
    card: ModelCard, evaluation: Evaluation, holdout: pa.Table, true_log_loss: float | None
) -> parts.Holdout:
    churned, probability = (holdout[name].to_numpy() for name in ("churned", "predicted_probability"))
    return parts.Holdout(
        as_of_dates=tuple(sorted(holdout["as_of_date"].unique().to_pylist())),
        snapshots=evaluation.rows,
        base_rate=evaluation.churn_rate.value,
        metrics={name: parts.Estimate(**estimate.to_dict()) for name, estimate in evaluation.metrics.items()},
        base_log_loss=evaluation.base_log_loss,
        chance_ece=evaluation.chance_ece,
        true_log_loss=true_log_loss,
        calibration=tuple(
            parts.CalibrationRow(**asdict(row)) for row in calibration_table(churned, probability)
        ),
        gains=tuple(parts.GainsRow(**asdict(row)) for row in lift_table(churned, probability)),
    )


def _groups(features: Sequence[Feature]) -> tuple[parts.FeatureGroup, ...]:
    names = dict.fromkeys(feature.group for feature in features)
    return tuple(
        parts.FeatureGroup(name=name, features=sum(f.group == name for f in features)) for name in names
    )
