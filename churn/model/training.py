"""Fit, evaluate and refit one product's model.

The scheme, on past as-of dates in order (a label is known after ``label_delay``, by default 14 days):

1. The *holdout* is the latest date. The model evaluated on it may use only what was known on that date:
   snapshots taken at least ``label_delay`` earlier (*development*). Dates between the two are not used at
   this stage.
2. Every learner is fitted to folds within development by forward chaining: the latest block of dates is
   predicted from dates at least ``label_delay`` before it, then earlier blocks, until there are enough rows.
   The folds choose each learner's size (trees, epochs) by its log loss on their later rows. Scaling the size
   with the rows of the refit did not help on real weekly tasks, nor did early stopping on random rows.
3. Every learner is fitted to all of development, and predicts the holdout. The learners are stacked with
   weights from the folds; the stack is shipped unless it is worse than the single best learner by more than
   chance (``settings.stack``). The card reports these figures.
4. The shipped learners are fitted to all rows, holdout included, with the same sizes.

With too few dates, users are held out instead: a fifth of them, by a hash of the id. Rows are sorted first
and every draw is seeded. The same snapshots in any order give the same model, byte for byte, on any number
of threads and workers.

``train`` does all of it on a table in memory. ``train_in_steps`` leaves who runs each step to its caller.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import pyarrow as pa
from pydantic import TypeAdapter

from churn.config.training import ParamValue, TrainingSettings
from churn.core.calendar import LABEL_DELAY
from churn.core.errors import CheckError
from churn.model.artifact import Model, ModelCard, ModelMember
from churn.model.fits import (
    ALL,
    JUDGE,
    LEARNER_WITH_TREES,
    Fit,
    FitResult,
    Prepared,
    TrainingFacts,
    TrainingJob,
    choose_size,
    facts_of,
    fold_parts,
    learner_columns,
    prepare,
    run_fit,
)
from churn.model.judging import Judgement, judge
from churn.model.learners import Member, Watch, unwatched
from churn.model.metrics import Evaluation
from churn.model.progress import Rounds, Told

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """A fitted model and its holdout evaluation.

    Attributes:
        model: the shipped model, fitted on every row.
        holdout: user_id, as_of_date, churned, predicted_probability, by a model not fitted on these rows.
        evaluation: the holdout's metrics with 95 % intervals.
        facts: what was known of the rows before.
    """

    model: Model
    holdout: pa.Table
    evaluation: Evaluation
    facts: TrainingFacts


class Steps(Protocol):
    """Runs the steps of a training, here or elsewhere, and keeps what they make."""

    def facts(self) -> TrainingFacts:
        """Check the rows, and return what is known before anything is fitted."""
        ...

    def fit(self, fits: Sequence[Fit]) -> list[FitResult]:
        """Run fits, which do not need each other; return one result each, in order."""
        ...

    def judge(self, sizes: Mapping[str, int], failures: Mapping[str, str]) -> tuple[Judgement, pa.Table]:
        """Judge the fits of folds and development; return the judgement and the holdout."""
        ...

    def member(self, name: str) -> Member:
        """Return what a fit made."""
        ...


def train(
    snapshots: pa.Table,
    *,
    product: str,
    as_of: date,
    settings: TrainingSettings,
    label_delay: timedelta = LABEL_DELAY,
    seed: int = 1,
    threads: int = 0,
    groups: Mapping[str, str] | None = None,
    code_version: str,
    created_at: datetime | None = None,
    on_progress: Told | None = None,
) -> TrainingResult:
    """Fit a product's model on labelled snapshots.

    Example:
        >>> result = train(
        ...     snapshots, product="iplayer", as_of=date(2026, 6, 28),
        ...     settings=TrainingSettings(), code_version="0.2.0",
        ... )
        >>> result.evaluation.auc.value
        >>> result.model.save("model")

    Args:
        snapshots: user_id, as_of_date, churned (0 or 1) and feature columns; rows in any order.
        product: name of the product, for the card.
        as_of: the run's as-of date, a Sunday; every label must be known by then.
        settings: the learners, and how they are fitted.
        label_delay: time from an as-of date until its label is known.
        seed: seed of row and column sampling, and of the holdout's intervals.
        threads: largest number of threads; 0 = all. Few rows use fewer. The model does not depend on it.
        groups: the group of each feature, for learners that read some groups only.
        code_version: version of the code, for the card.
        created_at: time for the card, with a time zone; by default now.
        on_progress: called with a sentence after each round: how many there were, how many seconds are left.

    Raises:
        CheckError: keys or labels are missing or repeated, a label was not known on ``as_of``, there are too
            few rows in all or of one class, the churn rate is out of bounds, no learner could be fitted, or
            the predicted probabilities are constant.
        RunError: a feature holds infinite numbers.
    """
    threads = threads or os.cpu_count() or 1
    job = TrainingJob(product, as_of, settings, label_delay, seed, threads, groups or {})
    steps = _InMemory(prepare(job, snapshots), on_progress)
    return train_in_steps(job, steps, code_version=code_version, created_at=created_at)


def train_in_steps(
    job: TrainingJob, steps: Steps, *, code_version: str, created_at: datetime | None = None
) -> TrainingResult:
    """Fit a product's model, with each step run by ``steps``; ``train`` states the rest.

    No row of the training is read here, except those of the holdout.
    """
    settings = job.settings
    facts = steps.facts()
    learners = settings.learners
    results = steps.fit([Fit(name, part) for name in learners for part in fold_parts(facts)])
    failures = _failures(results)
    sizes = {
        name: choose_size([result for result in results if result.learner == name], facts.folds)
        for name in learners
        if name not in failures
    }
    judged = steps.fit([Fit(name, JUDGE, size) for name, size in sizes.items()])
    failures |= _failures(judged)
    sizes = {name: size for name, size in sizes.items() if name not in failures}
    if not sizes:
        raise CheckError(job.stage, [f"{name} could not be fitted: {why}" for name, why in failures.items()])
    judgement, holdout = steps.judge(sizes, failures)
    logger.info("%s: %s", job.stage, "; ".join(_sentence(*pair) for pair in sizes.items()))
    last = steps.fit([Fit(each.learner, ALL, each.size) for each in judgement.members])
    if broken := _failures(last):
        raise CheckError(job.stage, [f"{name} could not be fitted: {why}" for name, why in broken.items()])

    members = tuple(
        ModelMember(
            each.learner,
            settings.learner_settings(each.learner).kind,
            steps.member(f"{each.learner}.{ALL}"),
            each.weight,
            learner_columns(job, each.learner, facts.features),
        )
        for each in judgement.members
    )
    version = hashlib.sha256()
    for member in members:
        version.update(f"{member.name} {member.weight!r} ".encode() + member.member.to_bytes())
    version.update(f"{facts.fingerprint} {code_version}".encode())
    card = ModelCard(
        product=job.product,
        as_of=job.as_of,
        model_version=f"{job.product}-{job.as_of:%Y%m%d}-{version.hexdigest()[:10]}",
        features=facts.features,
        categories=facts.categories,
        params=_params(settings, last),
        trees=sum(member.member.size for member in members if member.kind in LEARNER_WITH_TREES),
        training_dates=tuple(day.as_of for day in facts.dates),
        dates=facts.dates,
        rows=facts.rows,
        churn_rate=facts.churn_rate,
        judged_on=facts.judged_on,
        metrics=judgement.metrics,
        threshold=judgement.threshold,
        seed=job.seed,
        data_fingerprint=facts.fingerprint,
        code_version=code_version,
        created_at=created_at or datetime.now(UTC),
        learners=judgement.learners,
        stack=judgement.stack,
        notes=(*facts.notes, *_notes(job, judgement, failures)),
    )
    evaluation = TypeAdapter(Evaluation).validate_python(judgement.metrics)
    return TrainingResult(Model(members, card), holdout, evaluation, facts)


class _InMemory:
    """Runs the steps here, one after the other, on rows in memory."""

    def __init__(self, prepared: Prepared, on_progress: Told | None) -> None:
        self._prepared, self._tell = prepared, on_progress
        self._members: dict[str, Member] = {}

    def facts(self) -> TrainingFacts:
        return facts_of(self._prepared)

    def fit(self, fits: Sequence[Fit]) -> list[FitResult]:
        results = []
        for fit in fits:
            watch: Watch = unwatched
            if self._tell is not None:
                watch = Rounds(fit.sentence, self._tell, at_most=not fit.size)
            member, result = run_fit(self._prepared, fit, watch)
            if member is not None:
                self._members[fit.name] = member
            results.append(result)
        return results

    def judge(self, sizes: Mapping[str, int], failures: Mapping[str, str]) -> tuple[Judgement, pa.Table]:
        return judge(self._prepared, sizes, failures, self.member)

    def member(self, name: str) -> Member:
        return self._members[name]


def _failures(results: Sequence[FitResult]) -> dict[str, str]:
    return {result.learner: result.failure for result in results if result.failure}


def _params(settings: TrainingSettings, results: Sequence[FitResult]) -> dict[str, ParamValue]:
    """Return what the shipped learners were fitted with; with several, names begin with the learner's."""
    params: dict[str, ParamValue] = {}
    for each in results:
        tuned = settings.learner_settings(each.learner).tuned
        own = {**each.params, **({"tuned": tuned} if tuned else {})}
        params |= {f"{each.learner}.{key}" if len(results) > 1 else key: own[key] for key in own}
    return params


def _sentence(learner: str, size: int) -> str:
    return f"{learner} of size {size}"


def _notes(job: TrainingJob, judgement: Judgement, failures: Mapping[str, str]) -> list[str]:
    """Return sentences on what was not as usual."""
    notes = [f"The learner {name} was left out: {why}." for name, why in failures.items()]
    for each in judgement.members:
        kind = job.settings.learner_settings(each.learner).kind
        if kind in LEARNER_WITH_TREES and each.size >= job.settings.max_trees:
            notes.append(
                f"The model has {each.size:,} trees, all that max_trees allows, and was still getting "
                "better: its probabilities are too close to the average. Raise max_trees or learning_rate of "
                f"[products.{job.product}.training]."
            )
    return notes
