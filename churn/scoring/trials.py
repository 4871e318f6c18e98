"""One trial of tuning as a task: a learner with some parameters, on folds that go forward in time."""

import time
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from churn.config.training import LearnerSettings, ParamValue
from churn.core.floats import standard_floats
from churn.model.fits import Fit, TrainingJob, choose_size, run_fit
from churn.scoring.fits import PREPARED

# A trial ends after a fold on which it is worse than the best trial by this share of the log loss.
_HOPELESS = 0.005


@dataclass(frozen=True)
class TrialTask:
    """The input of a worker for one trial.

    Attributes:
        number: of the trial.
        job: what all trials share.
        files: the training snapshots, Parquet, paths or fsspec URLs.
        folder: names the rows, which a process reads once.
        learner: the learner's name.
        params: its parameters.
        bar: log loss of the best trial so far on each fold; empty before there is one.
    """

    number: int
    job: TrainingJob
    files: tuple[str, ...]
    folder: str
    learner: str
    params: dict[str, ParamValue]
    bar: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The task's name in messages."""
        return f"{self.job.product}: trial {self.number + 1} of {self.learner}"

    @property
    def tried(self) -> TrainingJob:
        """The training with the trial's parameters."""
        settings = self.job.settings
        kind = settings.learner_settings(self.learner).kind
        learner = LearnerSettings(
            kind=kind, groups=settings.learner_settings(self.learner).groups, params=self.params
        )
        changed = settings.model_copy(update={"learner": {**settings.learner, self.learner: learner}})
        return TrainingJob(**(vars(self.job) | {"settings": changed}))


class TrialResult(BaseModel):
    """What a trial came to.

    Attributes:
        number: of the trial.
        rows: validation rows judged on.
        losses: the lowest log loss on each fold, of the folds that were fitted.
        loss: log loss over all folds at the chosen size; None if it was given up or could not be fitted.
        size: the chosen size.
        failure: why it could not be fitted, or ``given up``; empty if it was fitted.
        cpu: CPU seconds of this process meanwhile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    rows: int
    losses: tuple[float, ...]
    loss: float | None
    size: int
    failure: str
    cpu: float


@standard_floats()
def run_trial(task: TrialTask) -> TrialResult:
    """Fit the folds one after the other, and give up early on a hopeless trial.

    Raises:
        CheckError: the training rows broke a check.
    """
    prepared = PREPARED.get(task.job, task.files, task.folder)
    tried = type(prepared)(task.tried, prepared.rows, prepared.parts)
    started = time.process_time()
    results, failure, judged = [], "", 0
    for index, fold in enumerate(prepared.parts.folds):
        _, result = run_fit(tried, Fit(task.learner, f"fold-{index}"))
        failure = result.failure
        if failure:
            break
        results.append(result)
        judged += int(fold.validate.sum())
        if task.bar and min(result.losses) > task.bar[index] * (1 + _HOPELESS):
            failure = "given up"
            break
    folds = [int(fold.validate.sum()) for fold in prepared.parts.folds]
    whole = len(results) == len(folds) and not failure
    size = choose_size(results, folds) if whole else 0
    loss = None
    if whole:
        at_size = [result.losses[min(size, len(result.losses)) - 1] for result in results]
        loss = float(np.average(at_size, weights=folds))
    return TrialResult(
        number=task.number,
        rows=judged,
        losses=tuple(min(result.losses) for result in results),
        loss=loss,
        size=size,
        failure=failure,
        cpu=time.process_time() - started,
    )
