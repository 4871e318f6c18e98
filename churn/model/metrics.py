"""Metrics of predicted probabilities, with 95 % intervals.

Formulas and their sources:

- log loss: mean of ``-log p(outcome)`` (Good, JRSS B 1952); the training objective.
- AUC: probability that a churner scores higher than a stayer, ties half (Mann-Whitney U; Hanley & McNeil,
  Radiology 1982).
- PR AUC: average precision, ``sum (R_k - R_{k-1}) P_k`` over distinct scores, as scikit-learn computes it.
- Brier: mean squared error of the probability (Brier, Monthly Weather Review 1950).
- ECE: expected calibration error, ``sum share_b |mean predicted_b - observed_b|`` over ten bins of equal mass
  (Naeini et al., AAAI 2015).
- lift of the top decile: churn rate of the tenth with the highest scores over the churn rate of all.
- intervals: bootstrap of rows, or of users if they have several rows (Efron, Annals of Statistics 1979), with
  bias-corrected percentiles (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 14, no
  acceleration); for ECE 1.96 bootstrap standard errors on either side; for the churn rate Wilson (JASA 1927).
- chance ECE: the mean ECE if every probability were right, ``sum share_b E|error_b|``, with the error of a
  bin's rate taken as normal, so that ``E|error_b| = sqrt(2 / pi) sd_b``.

The order of rows with equal scores does not matter.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from churn.core.errors import CheckError
from churn.model.bootstrap import Estimate, Floats, cluster_codes, interval, normal_interval, resampled

ECE_BINS = 10
TOP_SHARE = 0.1


@dataclass(frozen=True)
class Evaluation:
    """Metrics of the probabilities of some snapshots; the module states their formulas.

    ``base_log_loss`` is that of predicting the churn rate for everybody, its entropy. Log losses are in nats.
    ``chance_ece`` is the mean ECE of right probabilities on this many rows: an ECE near it shows no fault.
    ``auc``, ``pr_auc`` and ``lift_top_decile`` are None if everybody or nobody churned.
    """

    rows: int
    churn_rate: Estimate
    mean_probability: float
    base_log_loss: float
    log_loss: Estimate
    auc: Estimate | None
    pr_auc: Estimate | None
    brier: Estimate
    ece: Estimate
    chance_ece: float
    lift_top_decile: Estimate | None

    @property
    def metrics(self) -> dict[str, Estimate]:
        """The metrics by name, without those that are None."""
        estimates = {name: getattr(self, name) for name in METRICS}
        return {name: estimate for name, estimate in estimates.items() if estimate is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return all values as JSON-ready numbers, dictionaries and None."""
        return asdict(self)


METRICS = ("log_loss", "auc", "pr_auc", "brier", "ece", "lift_top_decile")


@dataclass(frozen=True)
class CalibrationBin:
    """Snapshots with similar probabilities: predicted and observed churn rate, with its Wilson interval."""

    bin: str
    mean_predicted: float
    observed: float
    count: int
    low: float
    high: float


@dataclass(frozen=True)
class LiftRow:
    """The ``share_of_users`` with the highest probabilities (cumulative), and how many churners they hold."""

    share_of_users: float
    users: int
    churn_rate: float
    share_of_churners: float
    lift: float


def evaluate(
    churned: ArrayLike,
    probability: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    intervals: bool = True,
    seed: int = 1,
    bootstrap: int = 500,
) -> Evaluation:
    """Evaluate predicted probabilities against observed churn.

    Example:
        >>> evaluate([0, 1, 1], [0.2, 0.9, 0.6], intervals=False).auc.value
        1.0

    Args:
        churned: (rows,) 0 or 1.
        probability: (rows,) probability of churn, within [0, 1].
        clusters: (rows,) user ids; the bootstrap resamples whole users. None: each row is a user.
        intervals: whether to compute 95 % intervals of the metrics.
        seed: seed of the bootstrap.
        bootstrap: resamples; fewer (at least 100) are drawn beyond 400,000 rows.

    Raises:
        CheckError: no rows, lengths that differ, labels other than 0 and 1, or probabilities outside [0, 1].
    """
    y, p = _checked(churned, probability)
    rows = len(y)
    ranked = _Ranked(y, p)
    values = [float(value) for value in ranked.metrics(np.ones(rows))]
    estimates = [Estimate(value) for value in values]
    if intervals:
        groups = None if clusters is None else cluster_codes(clusters, rows)[ranked.order]
        drawn = resampled(ranked.metrics, rows, groups, seed, bootstrap)
        estimates = [
            (normal_interval if name == "ece" else interval)(value, column)
            for name, value, column in zip(METRICS, values, drawn.T, strict=True)
        ]
    named = {
        name: None if math.isnan(estimate.value) else estimate
        for name, estimate in zip(METRICS, estimates, strict=True)
    }
    rate = float(y.mean())
    low, high = wilson_interval(rate, rows)
    return Evaluation(
        rows=rows,
        churn_rate=Estimate(rate, low, high),
        mean_probability=float(p.mean()),
        base_log_loss=float(np.mean(_log_losses(y, np.full(rows, rate)))),
        chance_ece=ranked.chance_ece(),
        **named,  # type: ignore[arg-type]  # log loss, Brier and ECE are numbers for any labels
    )


def wilson_interval(rate: float, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson, JASA 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    centre = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Rounding must not move the interval away from a rate of exactly 0 or 1.
    return max(min((centre - half) / scale, rate), 0.0), min(max((centre + half) / scale, rate), 1.0)


def calibration_table(
    churned: ArrayLike, probability: ArrayLike, bins: int = ECE_BINS
) -> list[CalibrationBin]:
    """Return bins of equal mass, lowest probabilities first; equal probabilities share a bin.

    Raises:
        CheckError: as ``evaluate``.
    """
    y, p = _checked(churned, probability)
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    bin_of = _mass_bins(p, bins)
    table = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        observed, count = float(y[inside].mean()), int(inside.sum())
        low, high = wilson_interval(observed, count)
        table.append(CalibrationBin(str(number + 1), float(p[inside].mean()), observed, count, low, high))
    return table


def lift_table(
    churned: ArrayLike,
    probability: ArrayLike,
    shares: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
) -> list[LiftRow]:
    """Return churn rate and lift of the users with the highest probabilities; empty if nobody churned.

    Users with equal probabilities at a cut count in proportion.

    Raises:
        CheckError: as ``evaluate``.
    """
    y, p = _checked(churned, probability)
    churners = float(y.sum())
    if churners == 0:
        return []
    users, caught = _Ranked(y, p).cumulative(np.ones(len(y)))
    table = []
    for share in shares:
        cut = max(1, round(share * len(y)))
        churners_above = float(np.interp(cut, users, caught))
        rate = churners_above / cut
        table.append(LiftRow(share, cut, rate, churners_above / churners, rate / (churners / len(y))))
    return table


def log_loss(churned: ArrayLike, probability: ArrayLike) -> float:
    """Return the mean negative log likelihood in nats.

    Raises:
        CheckError: as ``evaluate``.
    """
    return float(_log_losses(*_checked(churned, probability)).mean())


def best_threshold(churned: ArrayLike, probability: ArrayLike) -> float:
    """Return the threshold that maximises F1 when ``probability >= threshold`` counts as churn.

    F1 is the harmonic mean of precision and recall (van Rijsbergen, Information Retrieval, 1979). Choose it
    on out-of-time rows: on fitted rows it comes out too high. The threshold is half-way to the next lower
    score, so that rounding moves nobody across it. Of equally good thresholds the highest is returned.

    Returns:
        A number in [0, 1]; 0.5 if nobody churned.

    Raises:
        CheckError: as ``evaluate``.
    """
    y, p = _checked(churned, probability)
    churners = y.sum()
    if churners == 0:
        return 0.5
    ranked = _Ranked(y, p)
    flagged, caught = ranked.cumulative(np.ones(len(y)))
    f1 = 2 * caught[1:] / (flagged[1:] + churners)
    best = int(np.argmax(f1))
    scores = ranked.distinct
    return float(scores[best] if best + 1 == len(scores) else (scores[best] + scores[best + 1]) / 2)


def precision_and_recall(
    churned: ArrayLike, probability: ArrayLike, threshold: float
) -> tuple[float | None, float | None]:
    """Return which share of the rows at or above a threshold churned, and which share of churners they are.

    Example:
        >>> precision_and_recall([0, 1, 1, 1], [0.6, 0.9, 0.7, 0.2], 0.5)
        (0.666..., 0.666...)

    Returns:
        Precision, None if no row reaches the threshold; and recall, None if nobody churned.

    Raises:
        CheckError: as ``evaluate``.
    """
    y, p = _checked(churned, probability)
    flagged = p >= threshold
    caught = float(y[flagged].sum())
    return caught / flagged.sum() if flagged.any() else None, caught / y.sum() if y.any() else None


class _Ranked:
    """Labels and scores by descending score, for weighted metrics."""

    def __init__(self, y: Floats, p: Floats) -> None:
        self.order = np.argsort(p, kind="stable")[::-1]
        y, p = y[self.order], p[self.order]
        self.y = y
        self.starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
        self.distinct = p[self.starts]
        self.losses = _log_losses(y, p)
        self.squares = (p - y) ** 2
        self.excess = p - y
        self.bins = _mass_bins(p[::-1], ECE_BINS)[::-1]
        self._variances = p * (1 - p)

    def cumulative(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return cumulative weights of rows and of churners at each distinct score, starting with 0."""
        users = np.cumsum(weights)
        caught = np.cumsum(weights * self.y)
        ends = np.r_[self.starts[1:], len(self.y)] - 1
        return np.r_[0.0, users[ends]], np.r_[0.0, caught[ends]]

    def chance_ece(self) -> float:
        """Return the mean ECE if each row churned with its probability."""
        deviations = np.sqrt(np.bincount(self.bins, self._variances, ECE_BINS))
        return float(math.sqrt(2 / math.pi) * deviations.sum() / len(self.y))

    def metrics(self, weights: Floats) -> Floats:
        """Return ``METRICS``; NaN if there is only one class."""
        users, caught = self.cumulative(weights)
        total, churners = users[-1], caught[-1]
        stayers = total - churners
        ece = np.abs(np.bincount(self.bins, weights * self.excess, ECE_BINS)).sum() / total
        auc = precision = lift = math.nan
        if churners > 0 and stayers > 0:
            churners_at = np.diff(caught)
            # Stayers ranked below each churner; those with the same score count half.
            missed = users - caught
            auc = churners_at @ (stayers - (missed[1:] + missed[:-1]) / 2) / (churners * stayers)
            # A resample may have no rows at the highest scores.
            precision = churners_at @ (caught[1:] / np.maximum(users[1:], 1e-300)) / churners
            lift = np.interp(TOP_SHARE * total, users, caught) / (TOP_SHARE * total) / (churners / total)
        loss, brier = weights @ self.losses / total, weights @ self.squares / total
        return np.array([loss, auc, precision, brier, ece, lift])


def _checked(churned: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    y = np.asarray(churned, dtype=np.float64)
    p = np.asarray(probability, dtype=np.float64)
    failures = []
    if y.ndim != 1 or y.shape != p.shape:
        failures.append(f"labels and probabilities must be of one length, not {y.shape} and {p.shape}")
    elif not len(y):
        failures.append("there are no rows to evaluate")
    else:
        wrong = int(np.sum((y != 0) & (y != 1)))
        outside = int(np.sum(~((p >= 0) & (p <= 1))))
        if wrong:
            failures.append(f"{wrong:,} labels are neither 0 nor 1")
        if outside:
            failures.append(f"{outside:,} probabilities are missing or outside 0 to 1")
    if failures:
        raise CheckError("evaluation", failures)
    return y, p


def _log_losses(y: Floats, p: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps
    happened = np.where(y == 1, p, 1 - p)
    losses: Floats = -np.log(np.clip(happened, tiny, 1 - tiny))
    return losses


def _mass_bins(rising: Floats, bins: int) -> NDArray[np.int64]:
    """Return each row's bin by the mean rank of its score; scores must be ascending."""
    starts = np.flatnonzero(np.r_[True, rising[1:] != rising[:-1]])
    sizes = np.diff(np.r_[starts, len(rising)])
    middle = np.repeat(starts + (sizes - 1) / 2, sizes)
    return np.minimum((middle * bins // len(rising)).astype(np.int64), bins - 1)
