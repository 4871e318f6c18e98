"""Tune a learner's parameters on past dates: trials on folds, and a winner that must prove itself later.

Trials see the folds within development only. The winner is compared with the default on the holdout and on
the folds, and is taken only if it is not worse on either; so tuning never makes a model worse out of time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from churn.config.settings import Settings
from churn.config.training import LearnerSettings, ParamValue
from churn.config.tuned import read_tuned, tuned_file
from churn.core.errors import CheckError, ConfigError, UsageError
from churn.core.files import replace_file
from churn.core.tempdirs import temporary_folder
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.checks import check_snapshots
from churn.dataset.unload import rows_by, unload
from churn.features.catalogue import Catalogue
from churn.model.fits import JUDGE, Fit, Prepared, TrainingJob, run_fit
from churn.model.judging import margins_of
from churn.model.learners import Member
from churn.model.stack import compare, losses
from churn.scoring.cluster.size import fit_threads
from churn.scoring.fits import PREPARED
from churn.scoring.threads import InProcess
from churn.scoring.trials import TrialResult, TrialTask, run_trial
from churn.scoring.workers import open_workers
from churn.warehouse.open import open_in_memory

if TYPE_CHECKING:
    from optuna import Study, Trial

_ROWS_PER_FILE = 100_000
_AT_ONCE = 4  # trials that are chosen before any of them has ended, at most

# Lowest and highest value, and whether steps are equal on a logarithmic scale.
_Space = Mapping[str, tuple[float, float, bool]]
_TREES: _Space = {
    "learning_rate": (0.02, 0.15, True),
    "max_depth": (3, 8, False),
    "subsample": (0.5, 1.0, False),
    "colsample_bytree": (0.2, 1.0, False),
    "min_child_weight": (1.0, 100.0, True),
    "reg_lambda": (0.1, 50.0, True),
}
SPACES: Mapping[str, _Space] = {
    "xgboost": _TREES,
    "lightgbm": {
        "learning_rate": (0.02, 0.15, True),
        "num_leaves": (6, 64, True),
        "bagging_fraction": (0.5, 1.0, False),
        "feature_fraction": (0.2, 1.0, False),
        "min_sum_hessian_in_leaf": (1.0, 100.0, True),
        "lambda_l2": (0.1, 50.0, True),
    },
    "logistic": {"C": (1e-4, 1.0, True)},
    "pca_logistic": {"C": (1e-4, 1.0, True), "components": (5, 100, True)},
    "segments": {"clusters": (8, 64, True), "shrinkage": (10.0, 1000.0, True)},
    "network": {"units": (8, 128, True), "alpha": (0.01, 30.0, True), "learning_rate": (1e-4, 1e-2, True)},
}
_WHOLE = ("max_depth", "num_leaves", "components", "clusters", "units")


@dataclass(frozen=True)
class Tuned:
    """What tuning came to.

    Attributes:
        product: the product's name.
        as_of: the date on which it knew what it knew.
        learner: the learner's name.
        params: the winner's parameters; empty if the default stays.
        default_loss: log loss of the default over the folds.
        best_loss: log loss of the best trial over the folds.
        difference: log loss of the winner minus that of the default on the holdout, with its interval.
        trials: all trials in order; the first is the default.
        tried: the parameters of each.
        cpu: CPU seconds of all trials.
        file: the file that runs read from now on; None if the default stays.
    """

    product: str
    as_of: date
    learner: str
    params: dict[str, ParamValue]
    default_loss: float
    best_loss: float
    difference: tuple[float, float | None, float | None]
    trials: tuple[TrialResult, ...]
    tried: tuple[dict[str, ParamValue], ...] = field(repr=False)
    cpu: float
    file: Path | None


def tune(
    settings: Settings,
    product: str,
    as_of: date,
    *,
    learner: str = "xgboost",
    minutes: float = 10.0,
    trials: int = 100,
    tell: Callable[[str], None] | None = None,
) -> Tuned:
    """Search a learner's parameters on what was known on a date, and write the winner for later runs.

    Example:
        >>> churn.tune(settings, "iplayer", date(2026, 6, 28), minutes=5).best_loss

    Args:
        settings: the settings, with the data folder.
        product: a product that the settings know.
        as_of: a Sunday; nothing later is used.
        learner: a name of ``training.learners``.
        minutes: CPU minutes of all trials; no trial starts after them.
        trials: most trials.
        tell: called with a sentence after each trial.

    Raises:
        UsageError: unknown product or learner, or a date that is not a Sunday.
        ConfigError: the extra that holds the search is not installed.
        CheckError: the snapshots broke a check, or the default cannot be fitted.
    """
    definition = settings.product(product)
    training = definition.training
    if learner not in training.learners:
        raise UsageError(f"{product} has no learner {learner[:80]!r}; it has: {', '.join(training.learners)}")
    windows = definition.windows(as_of)
    study = _study(settings.seed)
    warehouse = open_in_memory(settings)
    with temporary_folder() as scratch:
        try:
            plan = plan_dataset(warehouse, settings, product, as_of, f"tune_{product}")
            check_snapshots(warehouse, plan, run_steps(warehouse, plan))
            files = unload(warehouse, plan, "train", scratch, _ROWS_PER_FILE)
        finally:
            warehouse.close()
        paths = tuple(path for path, _ in files)
        with open_workers(settings.cluster, {"product": product, "run": "tune"}) as workers:
            workers.expect(rows_by(files) * len(plan.catalogue.features))
            runner = workers.runner()
            if isinstance(runner, InProcess):
                runner = InProcess(1)  # one trial after the other, each on all cores
            job = TrainingJob(
                product,
                as_of,
                training,
                windows.label_delay,
                settings.seed,
                fit_threads(settings.cluster, in_process=isinstance(runner, InProcess)),
                _groups(plan.catalogue),
            )
            search = _Search(study, job, paths, str(scratch), learner, minutes * 60, trials, tell)
            search.run(lambda tasks: runner.run(run_trial, tasks, key=lambda task: task.name))
        prepared = PREPARED.get(job, paths, str(scratch))
        tuned = _choose(prepared, search, settings.data)
        PREPARED.forget(paths, str(scratch))
    return tuned


def _groups(catalogue: Catalogue) -> dict[str, str]:
    return {feature.name: feature.group for feature in catalogue.features}


def _study(seed: int) -> "Study":
    try:
        import optuna  # an extra
    except ImportError as error:
        raise ConfigError("`churn tune` needs optuna: pip install 'churn[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))


@dataclass
class _Search:
    """Asks for parameters, has them tried, and remembers what came of them."""

    study: "Study"
    job: TrainingJob
    files: tuple[str, ...]
    folder: str
    learner: str
    seconds: float
    most: int
    tell: Callable[[str], None] | None
    results: list[TrialResult] = field(default_factory=list)
    tried: list[dict[str, ParamValue]] = field(default_factory=list)

    def run(self, runner: Callable[[Sequence[TrialTask]], list[TrialResult]]) -> None:
        default = dict(self.job.settings.learner_settings(self.learner).params)
        self._keep(default, runner([self._task(default)])[0])
        if self.results[0].loss is None:
            raise CheckError(
                f"tuning of {self.job.product}",
                [f"the default {self.learner} cannot be fitted: {self.results[0].failure}"],
            )
        while len(self.results) < self.most and self.cpu < self.seconds:
            count = min(_AT_ONCE, self.most - len(self.results))
            asked = [self.study.ask() for _ in range(count)]
            params = [{**default, **self._params(trial)} for trial in asked]
            tasks = [self._task(each, index) for index, each in enumerate(params)]
            for trial, each, result in zip(asked, params, runner(tasks), strict=True):
                self._tell_study(trial, result)
                self._keep(each, result)

    @property
    def cpu(self) -> float:
        return sum(result.cpu for result in self.results)

    @property
    def best(self) -> int:
        found = [(result.loss, index) for index, result in enumerate(self.results) if result.loss is not None]
        return min(found)[1]

    def _task(self, params: dict[str, ParamValue], offset: int = 0) -> TrialTask:
        bar = self.results[self.best].losses if self.results else ()
        number = len(self.results) + offset
        return TrialTask(number, self.job, self.files, self.folder, self.learner, params, bar)

    def _params(self, trial: "Trial") -> dict[str, ParamValue]:
        kind = self.job.settings.learner_settings(self.learner).kind
        chosen: dict[str, ParamValue] = {}
        for name, (low, high, logarithmic) in SPACES[kind].items():
            if name in _WHOLE:
                chosen[name] = trial.suggest_int(name, int(low), int(high), log=logarithmic)
            else:
                chosen[name] = float(f"{trial.suggest_float(name, low, high, log=logarithmic):.4g}")
        return chosen

    def _tell_study(self, trial: "Trial", result: TrialResult) -> None:
        from optuna.trial import TrialState

        if result.loss is not None:
            self.study.tell(trial, result.loss)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if result.losses else TrialState.FAIL)

    def _keep(self, params: dict[str, ParamValue], result: TrialResult) -> None:
        self.results.append(result)
        self.tried.append(params)
        if self.tell is not None:
            shown = f"log loss {result.loss:.5f}" if result.loss is not None else result.failure
            best = self.results[self.best].loss
            self.tell(
                f"trial {len(self.results)} of at most {self.most}: {shown}; best {best:.5f}; "
                f"{self.cpu / 60:.1f} of {self.seconds / 60:.1f} CPU minutes"
            )


def _choose(prepared: Prepared, search: _Search, data: Path) -> Tuned:
    """Compare the best trial with the default on the holdout; write it down unless it is worse."""
    default, best = search.results[0], search.results[search.best]
    job, name = search.job, search.learner
    difference: tuple[float, float | None, float | None] = (0.0, None, None)
    params: dict[str, ParamValue] = {}
    file = None
    if search.best:
        held = prepared.rows.churned[prepared.parts.holdout]
        users = prepared.rows.users[prepared.parts.holdout]
        loss = [
            losses(_holdout_margins(search, prepared, index, search.results[index].size), held)
            for index in (search.best, 0)
        ]
        found = compare(loss[0], loss[1], users, "unless_worse", job.seed).difference
        difference = (found.value, found.low, found.high)
        if found.value <= 0:
            params = search.tried[search.best]
            file = _write(data, job, name, params, len(search.results), difference)
    return Tuned(
        product=job.product,
        as_of=job.as_of,
        learner=name,
        params=params,
        default_loss=float(default.loss or np.nan),
        best_loss=float(best.loss or np.nan),
        difference=difference,
        trials=tuple(search.results),
        tried=tuple(search.tried),
        cpu=search.cpu,
        file=file,
    )


def _holdout_margins(search: _Search, prepared: Prepared, index: int, size: int) -> Any:
    task = TrialTask(0, search.job, search.files, search.folder, search.learner, search.tried[index])
    tried = Prepared(task.tried, prepared.rows, prepared.parts)
    member, result = run_fit(tried, Fit(search.learner, JUDGE, size))
    if member is None:
        raise CheckError(f"tuning of {search.job.product}", [f"{search.learner}: {result.failure}"])
    fitted: Member = member
    return margins_of(tried, search.learner, JUDGE, prepared.parts.holdout, lambda _: fitted)


def _write(
    data: Path,
    job: TrainingJob,
    learner: str,
    params: Mapping[str, ParamValue],
    trials: int,
    difference: tuple[float, float | None, float | None],
) -> Path:
    """Write the file that runs of the product read; other learners in it stay."""
    file = tuned_file(data, job.product)
    settings = job.settings.learner_settings(learner)
    label = f"as of {job.as_of}, {trials} trials, log loss {difference[0]:+.5f} on later dates"
    found = LearnerSettings(kind=settings.kind, groups=settings.groups, params=dict(params), tuned=label)
    file.parent.mkdir(exist_ok=True)
    others = read_tuned(data, job.product)
    lines = [
        f"# Written by `churn tune` at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Runs of {job.product} use it;",
        "# what churn.toml says of the same learner wins. Remove the file to go back to the defaults.",
    ]
    for name, each in {**others, learner: found.model_dump()}.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in each.items()]
    replace_file(str(file), ("\n".join(lines) + "\n").encode())
    return file


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value)
