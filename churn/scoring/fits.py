"""The steps of a training as tasks: any worker reads the training files, fits, and commits one row.

A task writes what it made (a fitted learner, the holdout) and, last, a small JSON row that commits it. A task
with a valid row is not computed again; files without a row are ignored. So a task may run twice, or die at
any moment, and the model's bytes are the same.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from pydantic import BaseModel, ConfigDict, ValidationError

from churn.config.store import StoreSettings
from churn.core.errors import ChurnError, RunError
from churn.core.floats import standard_floats
from churn.lake.filesystem import ConfiguredTask, is_local
from churn.lake.manifest import FileStamp
from churn.model.fits import Fit, FitResult, Prepared, TrainingFacts, TrainingJob, facts_of, prepare, run_fit
from churn.model.judging import Judgement, judge
from churn.model.learners import Member, Watch, member_suffix, read_member, unwatched
from churn.model.snapshots import SnapshotFiles
from churn.scoring.files import is_intact, write_small
from churn.scoring.runner import Done, Runner
from churn.scoring.threads import is_over

FOLDER = ".fits"
FACTS, JUDGEMENT = "rows", "judgement"
_TRAININGS = 2  # whose rows a process keeps: of products side by side


@dataclass(frozen=True)
class TrainingTask:
    """One step of a training: the input of a worker.

    Attributes:
        job: what all steps of the training share.
        files: the training snapshots, Parquet, paths or fsspec URLs.
        run_folder: the folder of the unfinished run, a path or fsspec URL.
        holdout: where the judgement writes the holdout, below the run's folder.
        fit: what to fit; None: describe the rows or, with sizes, judge.
        sizes: the chosen size of each learner that was fitted.
        failures: why each other learner was not.
    """

    job: TrainingJob
    files: tuple[str, ...]
    run_folder: str
    holdout: str
    fit: Fit | None = None
    sizes: Mapping[str, int] | None = None
    failures: Mapping[str, str] | None = None

    @property
    def step(self) -> str:
        """The step's name in file names: ``xgboost.fold-0``."""
        if self.fit is not None:
            return self.fit.name
        return FACTS if self.sizes is None else JUDGEMENT

    @property
    def name(self) -> str:
        """The task's name in messages: ``sounds: fit xgboost to fold 1``."""
        if self.fit is not None:
            step = self.fit.sentence
        else:
            step = "read the training rows" if self.sizes is None else "judge the learners"
        return f"{self.job.product}: {step}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that its result depends on: it tells whether a stored row is of this task."""
        given = asdict(self) | {"job": {**vars(self.job), "threads": 0, "settings": ""}}
        text = json.dumps(given, default=str, sort_keys=True) + self.job.settings.model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()


class TrainingRow(BaseModel):
    """What a step came to; small, as it passes through the flow's process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str  # its fingerprint
    rows: int  # rows fitted on or judged
    result: dict[str, Any]  # of TrainingFacts, FitResult or Judgement
    files: dict[str, FileStamp]  # by path below the run's folder


@standard_floats()
def run_training_task(task: TrainingTask, watch: Watch = unwatched) -> TrainingRow:
    """Run one step and commit it; return its row.

    Writes files below the run's folder (``.fits/xgboost.fold-0.ubj``, or the holdout) and, last, the row
    ``.fits/xgboost.fold-0.json``. If that row exists for this task and its files are intact, it computes
    nothing.

    Raises:
        CheckError: the training rows broke a check, or probabilities are constant.
        RunError: a feature holds infinite numbers.
        OSError: the disk refused.
    """
    fs, folder = url_to_fs(task.run_folder)
    path = f"{folder}/{FOLDER}/{task.step}.json"
    row = _valid_row(fs, folder, path, task)
    if row is not None:
        return row
    if fs.exists(path):
        fs.rm_file(path)
    prepared = PREPARED.get(task.job, task.files, task.run_folder)
    files: dict[str, bytes] = {}
    if task.fit is not None:
        member, fitted = run_fit(prepared, task.fit, _until_over(watch))
        result, rows = fitted.model_dump(mode="json"), fitted.rows
        if member is not None:
            files[_member_path(task.job, task.fit.name)] = member.to_bytes()
    elif task.sizes is None:
        facts = facts_of(prepared)
        result, rows = facts.model_dump(mode="json"), facts.rows
    else:
        judgement, holdout = judge(prepared, task.sizes, task.failures or {}, _reader(fs, folder, task.job))
        result, rows = judgement.model_dump(mode="json"), holdout.num_rows
        files[task.holdout] = _parquet(holdout)
    for name, content in files.items():
        write_small(fs, folder, f"{folder}/{name}", content)
    row = TrainingRow(
        task=task.fingerprint,
        rows=rows,
        result=result,
        files={
            name: FileStamp(size=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        },
    )
    write_small(fs, folder, path, row.model_dump_json().encode())
    return row


def _until_over(watch: Watch) -> Watch:
    """Return a watch that also ends the fit if its run has ended early."""

    def each_round(done: int, most: int) -> None:
        if is_over():
            raise RunError("the run ended while this learner was fitted")
        watch(done, most)

    return each_round


def _valid_row(fs: AbstractFileSystem, folder: str, path: str, task: TrainingTask) -> TrainingRow | None:
    try:
        row = TrainingRow.model_validate_json(fs.cat_file(path))
    except (FileNotFoundError, ValidationError):
        return None
    whole = all(is_intact(fs, f"{folder}/{name}", stamp) for name, stamp in row.files.items())
    return row if row.task == task.fingerprint and whole else None


def _member_path(job: TrainingJob, fit: str) -> str:
    kind = job.settings.learner_settings(fit.partition(".")[0]).kind
    return f"{FOLDER}/{fit}.{member_suffix(kind)}"


def _reader(fs: AbstractFileSystem, folder: str, job: TrainingJob) -> Callable[[str], Member]:
    def read(fit: str) -> Member:
        name = _member_path(job, fit)
        row = TrainingRow.model_validate_json(fs.cat_file(f"{folder}/{FOLDER}/{fit}.json"))
        raw = fs.cat_file(f"{folder}/{name}")
        if hashlib.sha256(raw).hexdigest() != row.files[name].sha256:
            raise RunError(f"{folder}/{name} is damaged: run again to fit it anew")
        kind = job.settings.learner_settings(fit.partition(".")[0]).kind
        return read_member(kind, raw, job.threads)

    return read


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


class PreparedOnce:
    """The rows of the latest trainings: a process reads them once, however many of their steps it runs."""

    def __init__(self) -> None:
        """Know no rows."""
        self._lock = threading.Lock()
        self._trainings: dict[tuple[Any, ...], Prepared] = {}

    def get(self, job: TrainingJob, files: tuple[str, ...], folder: str) -> Prepared:
        """Return the rows of a training; read them if this process has not yet."""
        key = (files, folder)
        with self._lock:
            if key not in self._trainings:
                while len(self._trainings) >= _TRAININGS:  # of runs that are over, or whose turn comes again
                    del self._trainings[next(iter(self._trainings))]
                self._trainings[key] = prepare(job, SnapshotFiles(files))
            return self._trainings[key]

    def forget(self, files: tuple[str, ...], folder: str) -> None:
        """Let the rows go."""
        with self._lock:
            self._trainings.pop((files, folder), None)


PREPARED = PreparedOnce()


class TaskSteps:
    """Runs the steps of a training as tasks, and reads back what they made."""

    def __init__(
        self,
        task: TrainingTask,
        runner: Runner,
        store: StoreSettings,
        *,
        watch: Callable[[Fit], Watch] | None = None,
        on_done: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare to run steps.

        Args:
            task: what all tasks have in common.
            runner: who runs them.
            store: how S3 is reached.
            watch: returns what is told of a fit's rounds, where the runner runs in this process.
            on_done: called with a sentence after each fit.
        """
        self._task, self._runner, self._store = task, runner, store
        self._watch, self._on_done = watch, on_done
        self._fs, self._folder = url_to_fs(task.run_folder)

    def facts(self) -> TrainingFacts:
        """Read and check the rows somewhere, and return what is known of them."""
        (row,) = self._run([self._task])
        return TrainingFacts.model_validate(row.result)

    def fit(self, fits: Sequence[Fit]) -> list[FitResult]:
        """Run fits side by side."""
        rows = self._run([_with(self._task, fit=fit) for fit in fits])
        return [FitResult.model_validate(row.result) for row in rows]

    def judge(self, sizes: Mapping[str, int], failures: Mapping[str, str]) -> tuple[Judgement, pa.Table]:
        """Judge the fits; the holdout lies in the run's folder then."""
        (row,) = self._run([_with(self._task, sizes=dict(sizes), failures=dict(failures))])
        with self._fs.open(f"{self._folder}/{self._task.holdout}", "rb") as file:
            return Judgement.model_validate(row.result), pq.read_table(file)

    def member(self, name: str) -> Member:
        """Read what a fit made."""
        return _reader(self._fs, self._folder, self._task.job)(name)

    def close(self) -> None:
        """Let this process forget the rows, if it has read them."""
        PREPARED.forget(self._task.files, self._task.run_folder)

    def _run(self, tasks: Sequence[TrainingTask]) -> list[TrainingRow]:
        function: Callable[[TrainingTask], TrainingRow] = run_training_task
        if self._watch is not None:
            function = self._watched
        elif not is_local(self._fs):
            function = ConfiguredTask(self._store, run_training_task)
        try:
            return self._runner.run(function, tasks, key=lambda task: task.name, on_done=self._tell)
        except RunError as error:
            if isinstance(error.__cause__, ChurnError):  # such as a CheckError: its own words say it all
                raise error.__cause__ from error
            raise

    def _watched(self, task: TrainingTask) -> TrainingRow:
        assert self._watch is not None  # see _run
        return run_training_task(task, unwatched if task.fit is None else self._watch(task.fit))

    def _tell(self, done: Done[TrainingRow]) -> None:
        if self._on_done is not None and done.total > 1:
            self._on_done(f"{done.name.partition(': ')[2]}: {done.done} of {done.total} fits done")


def _with(task: TrainingTask, **changes: Any) -> TrainingTask:
    return TrainingTask(**(vars(task) | changes))
