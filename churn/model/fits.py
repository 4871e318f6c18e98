"""The steps of a training before it is judged: prepare the rows, fit one learner to one part of them.

A *fit* is one learner on one part: a fold (to choose its size and to stack it), the development rows (to
judge it), or all rows (to ship it). Each step is a function of the same prepared rows and of small inputs, so
that it runs in any process and gives the same bytes there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from churn.config.training import ParamValue, TrainingSettings
from churn.core.calendar import LABEL_DELAY
from churn.model.artifact import DateSummary
from churn.model.learners import FitData, LearnerError, Member, Watch, make_learner, unwatched
from churn.model.rows import Mask, TrainingRows, read_rows
from churn.model.snapshots import Snapshots
from churn.model.splits import Split, split

Floats = NDArray[np.float64]
JUDGE, ALL = "judge", "all"
LEARNER_WITH_TREES = ("xgboost", "lightgbm")


@dataclass(frozen=True)
class TrainingJob:
    """What all steps of one training share.

    Attributes:
        product: name of the product.
        as_of: the run's as-of date; every label must be known by then.
        settings: how its model is fitted.
        label_delay: time from an as-of date until its label is known.
        seed: of all draws.
        threads: most threads of a fit; no result depends on it.
        groups: the group of each feature, for learners that read some groups only.
    """

    product: str
    as_of: date
    settings: TrainingSettings
    label_delay: timedelta = LABEL_DELAY
    seed: int = 1
    threads: int = 1
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """What errors call the training."""
        return f"training of {self.product}"


@dataclass(frozen=True)
class Prepared:
    """The rows of a training, and how they are split; the same wherever they are read."""

    job: TrainingJob
    rows: TrainingRows
    parts: Split

    def part(self, name: str) -> Mask:
        """Return the rows that a part is fitted on."""
        if name == ALL:
            return self.rows.everything
        return self.parts.development if name == JUDGE else self.parts.folds[fold_index(name)].fit


class Frozen(BaseModel):
    """A small result that passes between processes as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class TrainingFacts(Frozen):
    """What is known of the rows before anything is fitted."""

    rows: int
    churn_rate: float
    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]  # of all rows, in the order of their codes
    folds: tuple[int, ...]  # validation rows of each
    dates: tuple[DateSummary, ...]
    judged_on: Literal["later_dates", "other_users"]
    fingerprint: str
    empty: tuple[str, ...]  # features without any value
    constant: tuple[str, ...]  # features with one value everywhere
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Fit:
    """One fit: a learner, the rows, and its size (0 = choose it on the fold's later rows)."""

    learner: str
    part: str
    size: int = 0

    @property
    def name(self) -> str:
        """Name of the fit and of its files: ``xgboost.fold-0``."""
        return f"{self.learner}.{self.part}"

    @property
    def sentence(self) -> str:
        """What it does, for progress."""
        if self.part == ALL:
            return f"fit {self.learner} to all rows"
        to = "judge" if self.part == JUDGE else f"fold {fold_index(self.part) + 1}"
        return f"fit {self.learner} to {to}"


class FitResult(Frozen):
    """What came of a fit.

    Attributes:
        learner: the learner's name.
        part: the rows.
        rows: rows fitted on.
        size: of what was fitted.
        params: what it was fitted with.
        losses: on a fold, log loss on its later rows by size.
        failure: why the learner could not be fitted; empty if it was.
        seconds: wall time.
        cpu: CPU time of its thread; XGBoost's other threads are not counted.
    """

    learner: str
    part: str
    rows: int
    size: int = 0
    params: dict[str, ParamValue] = {}
    losses: tuple[float, ...] = ()
    failure: str = ""
    seconds: float = 0.0
    cpu: float = 0.0


def fold_index(part: str) -> int:
    """Return the position of a fold from its name: ``fold-0``."""
    return int(part.removeprefix("fold-"))


def fold_parts(facts: TrainingFacts) -> list[str]:
    """Return the names of the folds."""
    return [f"fold-{index}" for index in range(len(facts.folds))]


def prepare(job: TrainingJob, snapshots: Snapshots | pa.Table) -> Prepared:
    """Check, sort and split the snapshots.

    Raises:
        CheckError: checks failed; the message lists them all.
        RunError: a feature holds infinite numbers.
    """
    rows = read_rows(
        snapshots, as_of=job.as_of, settings=job.settings, stage=job.stage, label_delay=job.label_delay
    )
    return Prepared(job, rows, split(rows, job.settings))


def facts_of(prepared: Prepared) -> TrainingFacts:
    """Return what is known before anything is fitted."""
    rows, parts = prepared.rows, prepared.parts
    schema = rows.schema(rows.everything)
    empty, constant = rows.saying_nothing()
    churned = {day: rows.churned[rows.dates == np.datetime64(day)] for day in parts.roles}
    return TrainingFacts(
        rows=len(rows),
        churn_rate=float(rows.churned.mean()),
        features=schema.names,
        categories=dict(schema.categories),
        folds=tuple(int(fold.validate.sum()) for fold in parts.folds),
        dates=tuple(
            DateSummary(as_of=day, rows=len(labels), churn_rate=float(labels.mean()), role=parts.roles[day])
            for day, labels in churned.items()
        ),
        judged_on=parts.judged_on,
        fingerprint=rows.fingerprint(),
        empty=tuple(empty),
        constant=tuple(constant),
        notes=parts.notes,
    )


def learner_columns(job: TrainingJob, learner: str, features: Sequence[str]) -> tuple[int, ...] | None:
    """Return which features a learner reads; None = all.

    Raises:
        LearnerError: no feature is of its groups.
    """
    groups = job.settings.learner_settings(learner).groups
    if not groups:
        return None
    columns = tuple(index for index, name in enumerate(features) if job.groups.get(name) in groups)
    if not columns:
        known = ", ".join(sorted(set(job.groups.values()))) or "none"
        raise LearnerError(f"no feature is of the groups {', '.join(groups)}; there are: {known}")
    return columns


def run_fit(prepared: Prepared, fit: Fit, watch: Watch = unwatched) -> tuple[Member | None, FitResult]:
    """Fit one learner to one part; return the member, and what came of it.

    A learner that cannot be fitted gives no member and says why in ``failure``, so that others go on.
    """
    job, rows = prepared.job, prepared.rows
    which = prepared.part(fit.part)
    started, cpu = time.perf_counter(), time.thread_time()
    member: Member | None = None
    curve: tuple[float, ...] = ()
    failure = ""
    try:
        schema = rows.schema(which)  # category order must not depend on rows that judge
        columns = learner_columns(job, fit.learner, schema.names)
        data = FitData(rows, schema, np.flatnonzero(which), columns)
        learner = make_learner(
            job.settings.learner_settings(fit.learner), job.settings, job.seed, job.threads
        )
        if fit.part in (JUDGE, ALL):
            member = learner.fit(data, fit.size, watch)
        else:
            later = prepared.parts.folds[fold_index(fit.part)].validate
            grown = learner.grow(data, FitData(rows, schema, np.flatnonzero(later), columns), watch)
            member, curve = grown.member, tuple(grown.losses.tolist())
            if not np.isfinite(grown.losses).all():
                raise LearnerError("its probabilities are not numbers")
    except LearnerError as error:
        member, curve, failure = None, (), str(error)
    return member, FitResult(
        learner=fit.learner,
        part=fit.part,
        rows=int(which.sum()),
        size=0 if member is None else member.size,
        params={} if member is None else member.params,
        losses=curve,
        failure=failure,
        seconds=time.perf_counter() - started,
        cpu=time.thread_time() - cpu,
    )


def choose_size(results: Sequence[FitResult], folds: Sequence[int]) -> int:
    """Return the size with the lowest log loss over all folds, each weighted with its validation rows.

    A fold that stopped earlier counts with its last loss from there on.
    """
    longest = max(len(result.losses) for result in results)
    curves = [np.pad(result.losses, (0, longest - len(result.losses)), mode="edge") for result in results]
    return int(np.argmin(np.average(curves, axis=0, weights=folds))) + 1
