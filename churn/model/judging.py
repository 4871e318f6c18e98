"""Judge what was fitted: stack the learners, decide what is shipped, and evaluate it on the holdout."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from churn.core.errors import CheckError
from churn.model.artifact import LearnerSummary, StackSummary
from churn.model.encoding import sigmoid
from churn.model.fits import JUDGE, Frozen, Prepared, learner_columns
from churn.model.learners import FitData, Member
from churn.model.learners.base import Floats
from churn.model.learners.threads import one_thread
from churn.model.metrics import best_threshold, evaluate
from churn.model.rows import Mask
from churn.model.stack import compare, losses, stack_weights


class ChosenMember(Frozen):
    """A learner of the shipped model."""

    learner: str
    weight: float
    size: int


class Judgement(Frozen):
    """Which learners are shipped, and how good they are on the holdout."""

    members: tuple[ChosenMember, ...]
    metrics: dict[str, Any]
    threshold: float
    learners: tuple[LearnerSummary, ...]
    stack: StackSummary | None


@one_thread()  # sums would differ in their last bits from worker to worker
def judge(
    prepared: Prepared, sizes: Mapping[str, int], failures: Mapping[str, str], read: Callable[[str], Member]
) -> tuple[Judgement, pa.Table]:
    """Stack the learners, decide whether the stack is shipped, and evaluate what is.

    Args:
        prepared: the rows.
        sizes: the chosen size of each learner that was fitted.
        failures: why each other one was not.
        read: returns the member of a fit by its name.

    Returns:
        The judgement; and the holdout: user_id, as_of_date, churned, predicted_probability, by members that
        were not fitted on these rows.

    Raises:
        CheckError: the predicted probabilities are constant.
    """
    job, rows, parts = prepared.job, prepared.rows, prepared.parts
    names = list(sizes)
    folds = [fold.validate for fold in parts.folds]
    out_of_fold = np.column_stack(
        [
            np.concatenate(
                [
                    margins_of(prepared, name, f"fold-{index}", which, read, sizes[name])
                    for index, which in enumerate(folds)
                ]
            )
            for name in names
        ]
    )
    positions = np.concatenate([np.flatnonzero(which) for which in folds])
    holdout = np.column_stack([margins_of(prepared, name, JUDGE, parts.holdout, read) for name in names])
    churned, users = rows.churned[positions], rows.users[positions]
    held, held_users = rows.churned[parts.holdout], rows.users[parts.holdout]
    by_learner = [float(losses(margin, churned).mean()) for margin in out_of_fold.T]
    best = int(np.argmin(by_learner))
    weights, stack = np.eye(len(names))[best], None
    if len(names) > 1:
        stacked = stack_weights(out_of_fold, churned)
        # Fold rows are stacked with weights fitted on the other half of the users.
        crossed = np.empty(len(churned))
        for half in (0, 1):
            own = users % 2 == half
            crossed[own] = out_of_fold[own] @ stack_weights(out_of_fold[~own], churned[~own])
        both = np.concatenate([churned, held])
        compared = compare(
            losses(np.concatenate([crossed, holdout @ stacked]), both),
            losses(np.concatenate([out_of_fold[:, best], holdout[:, best]]), both),
            np.concatenate([users, held_users]),
            job.settings.stack,
            job.seed,
        )
        weights = stacked if compared.shipped else weights
        stack = StackSummary(
            shipped=compared.shipped,
            best=names[best],
            difference=_rounded(compared.difference.value),
            low=_rounded(compared.difference.low),
            high=_rounded(compared.difference.high),
            rows=compared.rows,
        )
    probability = sigmoid(holdout @ weights)
    _check_scores(probability, job.stage)
    evaluation = evaluate(held, probability, clusters=held_users, seed=job.seed)
    summaries = [
        LearnerSummary(
            name=name,
            kind=job.settings.learner_settings(name).kind,
            weight=float(weights[index]),
            size=sizes[name],
            fold_log_loss=_rounded(by_learner[index]),
            holdout_log_loss=_rounded(float(losses(holdout[:, index], held).mean())),
            threshold=best_threshold(held, sigmoid(holdout[:, index])),
        )
        for index, name in enumerate(names)
    ]
    summaries += [
        LearnerSummary(
            name=name,
            kind=job.settings.learner_settings(name).kind,
            weight=0.0,
            size=0,
            fold_log_loss=None,
            holdout_log_loss=None,
            threshold=None,
            failure=failure,
        )
        for name, failure in failures.items()
    ]
    judgement = Judgement(
        members=tuple(
            ChosenMember(learner=name, weight=float(weight), size=sizes[name])
            for name, weight in zip(names, weights, strict=True)
            if weight > 0
        ),
        metrics=_rounded(asdict(evaluation)),
        threshold=best_threshold(held, probability),
        learners=tuple(summaries),
        stack=stack,
    )
    table = rows.keys.filter(pa.array(parts.holdout)).append_column(
        "predicted_probability", pa.array(probability, pa.float64())
    )
    return judgement, table


def _rounded(figures: Any) -> Any:
    """Return figures to 12 digits: the last bits of a sum depend on how a processor adds up."""
    if isinstance(figures, float):
        return float(f"{figures:.12g}")
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    return figures


def margins_of(
    prepared: Prepared,
    learner: str,
    part: str,
    which: Mask,
    read: Callable[[str], Member],
    size: int | None = None,
) -> Floats:
    """Return a learner's log-odds of rows that it was not fitted on, (rows,)."""
    rows = prepared.rows
    schema = rows.schema(prepared.part(part))
    columns = learner_columns(prepared.job, learner, schema.names)
    data = FitData(rows, schema, np.flatnonzero(which), columns)
    member = read(f"{learner}.{part}")
    return np.concatenate([member.margin(matrix, size) for matrix, _ in data.batches()])


def _check_scores(probability: Floats, stage: str) -> None:
    wrong = int(np.isnan(probability).sum())
    if wrong:
        raise CheckError(stage, [f"{wrong:,} of {len(probability):,} probabilities are NaN"])
    if np.ptp(probability) < 1e-7:
        constant = (
            f"all {len(probability):,} probabilities are {probability[0]:.4f}: "
            "no feature separates churners from others; see which features are empty or constant"
        )
        raise CheckError(stage, [constant])
