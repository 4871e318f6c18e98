"""The figures that a report shows, as frozen models that go to JSON and back.

They hold totals, rates and descriptions, and no user ids: personal data stays in the lake. A run stores
``ReportData.model_dump_json()`` as ``report.json``.
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0.0)]
MetricName = Literal["log_loss", "auc", "pr_auc", "brier", "ece", "lift_top_decile"]
ParameterValue = bool | int | float | str


class ReportModel(BaseModel):
    """Base of every part: frozen, unknown fields refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(ReportModel):
    """A measured value with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval needs both low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval runs backwards: {self.low} to {self.high}")
        return self


class Stage(ReportModel):
    """One step of the run: wall-clock seconds and the rows that it produced."""

    name: str
    seconds: NonNegative
    rows: Count | None = None


class HistogramBin(ReportModel):
    """Users whose predicted probability lies in ``[low, high)``; the last bin includes its end."""

    low: Probability
    high: Probability
    users: Count

    @model_validator(mode="after")
    def _has_width(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"a bin needs low < high, not {self.low} to {self.high}")
        return self


class Audience(ReportModel):
    """The scored users and the totals of their scores.

    ``expected_churners`` is the sum of the predicted probabilities; the histogram counts every user once.
    """

    users_scored: Count
    expected_churners: NonNegative
    mean_probability: Probability
    histogram: tuple[HistogramBin, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        implied = self.users_scored * self.mean_probability
        if abs(self.expected_churners - implied) > max(0.5, 1e-3 * self.users_scored):
            raise ValueError(
                f"expected_churners is {self.expected_churners:.1f}, but {self.users_scored} users at a mean "
                f"probability of {self.mean_probability:.4f} make {implied:.1f}"
            )
        counted = sum(b.users for b in self.histogram)
        if self.histogram and counted != self.users_scored:
            raise ValueError(f"the histogram counts {counted} users, but {self.users_scored} were scored")
        return self


class Flagged(ReportModel):
    """The people at or above the threshold; their ``optimal_classification`` is 1.

    On the holdout, ``precision`` is the share of the flagged who churned, ``recall`` the share of churners
    who were flagged. None where there are none.
    """

    threshold: Probability
    users: Count
    precision: Probability | None = None
    recall: Probability | None = None


class TrendPoint(ReportModel):
    """The churn rate that was observed for one past as-of date.

    ``role`` says how the date's snapshots were used; the chart marks holdout dates.
    """

    as_of: date
    snapshots: Count
    churn_rate: Probability
    role: Literal["training", "validation", "gap", "holdout"] | None = None


class CalibrationRow(ReportModel):
    """One bin of held-out snapshots: what was predicted and what happened, with a 95 % interval.

    ``bin`` labels the row, for instance ``"1"`` for the tenth with the lowest predictions.
    """

    bin: str
    mean_predicted: Probability
    observed: Probability
    count: Count
    low: Probability | None = None
    high: Probability | None = None


class GainsRow(ReportModel):
    """Held-out snapshots ranked by risk, cut at ``share_of_users`` from the top (cumulative).

    ``lift`` is the churn rate among them over the churn rate of all.
    """

    share_of_users: Probability
    users: Count
    churn_rate: Probability
    share_of_churners: Probability
    lift: NonNegative


class Holdout(ReportModel):
    """How the model did on as-of dates later than its training dates.

    ``base_log_loss`` is that of predicting the base rate for everybody; ``true_log_loss`` that of the true
    probabilities, known for simulated data only. ``base_rate`` is the holdout's churn rate. ``chance_ece`` is
    the mean calibration error of right probabilities on as many snapshots.
    """

    as_of_dates: tuple[date, ...]
    snapshots: Count
    base_rate: Probability
    metrics: dict[MetricName, Estimate]
    base_log_loss: NonNegative
    chance_ece: NonNegative | None = None
    true_log_loss: NonNegative | None = None
    calibration: tuple[CalibrationRow, ...] = ()
    gains: tuple[GainsRow, ...] = ()

    @property
    def regret(self) -> float | None:
        """(model - true) / (base rate - true) log loss: 0 is the best possible, 1 the base rate's."""
        model = self.metrics.get("log_loss")
        if model is None or self.true_log_loss is None or self.base_log_loss <= self.true_log_loss:
            return None
        return (model.value - self.true_log_loss) / (self.base_log_loss - self.true_log_loss)


class ValueEffect(ReportModel):
    """The mean contribution (log-odds) at one end of a feature's values; ``value`` names the end in words."""

    value: str
    contribution: float


class FeatureEffect(ReportModel):
    """One feature over all users scored: mean of its absolute and of its signed SHAP values (log-odds).

    ``meaning`` is a phrase that can stand inside a sentence, such as "days with activity last week".
    ``low`` and ``high`` are left out where a feature has no order (categories).
    """

    name: str
    group: str
    meaning: str
    mean_abs: NonNegative
    mean: float
    low: ValueEffect | None = None
    high: ValueEffect | None = None


class GroupEffect(ReportModel):
    """A feature group: how many features, and the sum of their mean absolute SHAP values (log-odds)."""

    name: str
    features: Count
    mean_abs: NonNegative


class Reasons(ReportModel):
    """The features with the largest contributions, largest first.

    ``groups`` covers every feature of the model; ``ends`` says which users
    ``FeatureEffect.low`` and ``high`` average over.
    """

    features: tuple[FeatureEffect, ...]
    groups: tuple[GroupEffect, ...] = ()
    users: Count | None = None
    ends: str = "the fifth of users with the lowest and the fifth with the highest values"

    @property
    def total(self) -> float:
        """Sum of the mean absolute contributions of all features (log-odds)."""
        return max(sum(g.mean_abs for g in self.groups), sum(f.mean_abs for f in self.features))


class SegmentRow(ReportModel):
    """One part of a segmentation; ``mean_probability`` is None where it holds few users or none."""

    name: str
    users: Count
    mean_probability: Probability | None


class Segment(ReportModel):
    """A way to divide the audience, such as tenure; rows in their natural order."""

    title: str
    rows: tuple[SegmentRow, ...]


class FeatureGroup(ReportModel):
    """A feature group in the model."""

    name: str
    features: Count


class LeftOut(ReportModel):
    """A feature group that is not in the model, and the reason."""

    name: str
    reason: str


class Check(ReportModel):
    """A check that passed, with its figures."""

    name: str
    detail: str


class Learner(ReportModel):
    """A learner that was fitted, or why it was not.

    ``weight`` is its share of the shipped model's log-odds; log losses are on later rows.
    """

    name: str
    weight: float
    fold_log_loss: float | None
    holdout_log_loss: float | None
    failure: str = ""


class Stack(ReportModel):
    """The stack against the single best learner; ``difference`` below 0: the stack is better."""

    shipped: bool
    best: str
    difference: Estimate
    rows: Count


class TrainingFacts(ReportModel):
    """What the model was fitted on, and how."""

    as_of_dates: tuple[date, ...]
    snapshots: Count
    churn_rate: Probability
    features: Count
    trees: Count
    parameters: dict[str, ParameterValue] = Field(default_factory=dict)
    learners: tuple[Learner, ...] = ()
    stack: Stack | None = None


class OutputFile(ReportModel):
    """A file or folder of the run, relative to the run's folder, and what it holds."""

    path: str
    holds: str

    @field_validator("path")
    @classmethod
    def _is_relative(cls, path: str) -> str:
        if path.startswith(("/", "\\")) or ":" in path or ".." in path.replace("\\", "/").split("/"):
            raise ValueError(f"{path!r} is not a path inside the run's folder")
        return path


class RunFacts(ReportModel):
    """Which run this was: ids, versions, start (with time zone) and its stages in order."""

    run_id: str
    model_version: str
    code_version: str
    started_at: AwareDatetime
    stages: tuple[Stage, ...] = ()


class ReportData(ReportModel):
    """Everything that the report of one weekly run shows.

    ``title`` is the product's name for people and ``verb`` what users do with it ("used", "shopped in").
    The report omits optional parts that are empty or None.
    """

    schema_version: Literal[1] = 1
    product: str
    title: str
    verb: str = "used"
    observation_start: date
    as_of: date
    lead_week_start: date
    lead_week_end: date
    target_week_start: date
    target_week_end: date
    run: RunFacts
    audience: Audience
    flagged: Flagged | None = None
    reasons: Reasons | None = None
    segments: tuple[Segment, ...] = ()
    holdout: Holdout | None = None
    trend: tuple[TrendPoint, ...] = ()
    groups_used: tuple[FeatureGroup, ...] = ()
    groups_left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    training: TrainingFacts | None = None
    files: tuple[OutputFile, ...] = ()

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        observed, lead = (self.observation_start, self.as_of), (self.lead_week_start, self.lead_week_end)
        days = (*observed, *lead, self.target_week_start, self.target_week_end)
        if not _increasing(days):
            shown = ", ".join(day.isoformat() for day in days)
            raise ValueError(f"observation, lead week and target week must follow each other, not {shown}")
        if not _increasing([point.as_of for point in self.trend]):
            raise ValueError("the trend needs each as-of date once, earliest first")
        return self


def _increasing(days: Sequence[date]) -> bool:
    return all(a < b for a, b in pairwise(days))
