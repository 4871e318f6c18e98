"""The stages of one product's weekly run, as plain functions; ``job`` calls them in order."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict

from fsspec.core import url_to_fs

from churn import __version__
from churn.core import notices
from churn.core.errors import RunError
from churn.core.files import remove_folder
from churn.core.io_errors import storage_errors
from churn.dataset.checks import CheckResult, check_equal_rows, warn_features
from churn.dataset.plan import DatasetPlan
from churn.dataset.unload import count_rows, partition_size, rows_by, unload
from churn.explain.contributions import player_names
from churn.explain.effects import read_summary
from churn.features.feature import player_feature
from churn.jobs.weekly import checkpoint, digests
from churn.jobs.weekly.checkpoint import Checkpoint
from churn.jobs.weekly.run import TRAIN_FOLDER, WeeklyRun
from churn.lake.filesystem import ConfiguredTask, is_local, staged_folder
from churn.lake.lake import FileStamp, Manifest, Run
from churn.model.fits import Fit, TrainingJob
from churn.model.learners import Watch
from churn.model.metrics import Evaluation
from churn.model.progress import Rounds
from churn.model.training import train_in_steps
from churn.outputs import tracking
from churn.outputs.report import write_report
from churn.outputs.report.build import aggregate_scores, report_data, stages_of, true_log_loss
from churn.outputs.report.data import ReportData, RunFacts
from churn.scoring.cluster.size import expected_threads, fit_threads
from churn.scoring.fits import FOLDER as FITS
from churn.scoring.fits import TaskSteps, TrainingTask
from churn.scoring.partition import partition_name
from churn.scoring.runner import Done, Runner
from churn.scoring.scorer import (
    PartitionResult,
    PartitionTask,
    RunSummary,
    score_partition,
    summarise_partitions,
)
from churn.scoring.threads import InProcess

logger = logging.getLogger(__name__)

Files = Sequence[tuple[str, int]]
Progress = Callable[[float, str], None]
_PROGRESS_SECONDS = 5.0
_MOVED_AT_ONCE = 8
_TRAINING_FILE_ROWS = 100_000  # training reads them all at once


def unload_snapshots(run: WeeklyRun, plan: DatasetPlan, purpose: str) -> Files:
    """Write the snapshots to train on, or the partitions to score, to Parquet."""
    if purpose == "train":
        return unload(run.warehouse, plan, purpose, run.train_folder, _TRAINING_FILE_ROWS)
    size = run.settings.partition_rows or partition_size(
        count_rows(run.warehouse, plan, purpose),
        len(plan.catalogue.features),
        expected_threads(run.settings.cluster),
    )
    return _rename_feature_files(run, unload(run.warehouse, plan, purpose, run.folder.path("features"), size))


def _rename_feature_files(run: WeeklyRun, files: Files) -> Files:
    """Rename the feature files to the names of their partitions: a warehouse may choose its own names."""
    names = [run.folder.path("features", f"{partition_name(index)}.parquet") for index in range(len(files))]
    if [address for address, _ in files] != names:
        fs, folder = url_to_fs(run.folder.path("features"))
        moves = [(url_to_fs(old)[1], url_to_fs(new)[1]) for (old, _), new in zip(files, names, strict=True)]
        with storage_errors("naming the features", folder), ThreadPoolExecutor(_MOVED_AT_ONCE) as pool:
            list(pool.map(lambda move: fs.mv(*move), moves))
            # The warehouse may add files, such as its own manifest.
            for extra in set(fs.find(folder)) - {new for _, new in moves}:
                fs.rm_file(extra)
    return [(name, rows) for name, (_, rows) in zip(names, files, strict=True)]


def train_model(run: WeeklyRun, plan: DatasetPlan, state: Checkpoint, runner: Runner) -> tuple[str, ...]:
    """Fit the product's model on unloaded snapshots; save it and its holdout in the run's folder.

    Args:
        run: the run.
        plan: its SQL plan, with the features.
        state: its checkpoint, with the training snapshots.
        runner: who fits.

    Returns:
        Warnings for the report; they are logged.
    """
    training = TrainingJob(
        product=run.name,
        as_of=run.windows.as_of,
        settings=run.product.training,
        label_delay=run.windows.label_delay,
        seed=run.settings.seed,
        threads=fit_threads(run.settings.cluster, in_process=isinstance(runner, InProcess)),
        groups={feature.name: feature.group for feature in plan.catalogue.features},
    )
    task = TrainingTask(
        training, tuple(map(run.folder.path, state.training_files)), run.folder.path(), checkpoint.HOLDOUT
    )

    def tell(sentence: str) -> None:
        run.stages.progress("train", sentence)

    def watch(fit: Fit) -> Watch:
        return Rounds(fit.sentence, tell, at_most=not fit.size)

    steps = TaskSteps(
        task,
        runner,
        run.settings.store,
        watch=watch if isinstance(runner, InProcess) else None,
        on_done=tell,
    )
    with closing(steps):
        result = train_in_steps(training, steps, code_version=__version__)
    with storage_errors("writing the model", run.folder.base):
        with staged_folder(run.folder.path("model")) as draft:
            result.model.save(draft)
        players = map(player_feature, player_names(result.model))
        described = [asdict(feature) for feature in (*plan.catalogue.features, *players)]
        with staged_folder(run.folder.path("logs")) as logs:
            (logs / "features.json").write_text(json.dumps(described, indent=1), "utf-8")
    warnings = [
        *_warn_model(result.evaluation),
        *warn_features(result.facts.empty, result.facts.constant, len(result.facts.features)),
        *result.model.card.notes,
    ]
    return notices.warn(run.name, warnings)


def save_inputs(
    run: WeeklyRun, files: Mapping[str, Files], passed: Sequence[CheckResult], warnings: Sequence[str]
) -> Checkpoint:
    """Write the checkpoint from which training can be resumed.

    Raises:
        RunError: there is nothing to train on.
    """
    if not files["train"]:
        raise RunError("there are no snapshots to train on: no user was eligible on any past date")
    training = tuple(f"{TRAIN_FOLDER}/{path.rpartition('/')[2]}" for path, _ in files["train"])
    partitions = tuple(rows for _, rows in files["score"])
    state = Checkpoint(
        run_id=run.run_id,
        started_at=run.started_at,
        basis=run.basis,
        partitions=partitions,
        training_files=training,
        training_rows=rows_by(files["train"]),
        passed=tuple(passed),
        warnings=tuple(warnings),
        stages=tuple(run.stages.records),
        files=_stamps(run, len(partitions), training),
    )
    run.folder.save_checkpoint(state.model_dump_json().encode())
    return state


def save_trained(run: WeeklyRun, state: Checkpoint, warnings: Sequence[str]) -> Checkpoint:
    """Write the checkpoint from which scoring can be resumed, and remove what only training needed."""
    trained = state.model_copy(
        update={
            "training_files": (),
            "warnings": (*state.warnings, *warnings),
            "stages": tuple(run.stages.records),
            "files": _stamps(run, len(state.partitions), ()),
        }
    )
    run.folder.save_checkpoint(trained.model_dump_json().encode())
    if is_local(run.folder.fs):
        remove_folder(run.train_folder)
        remove_folder(run.folder.path(FITS))
    return trained


def _stamps(run: WeeklyRun, partitions: int, training_files: Sequence[str]) -> dict[str, FileStamp]:
    if not run.folder.resumable:
        return {}
    base = run.folder.base
    return checkpoint.stamps(base, checkpoint.inputs(base, partitions, training_files))


def score_users(
    run: WeeklyRun, state: Checkpoint, runner: Runner, on_progress: Progress | None = None
) -> list[PartitionResult]:
    """Score and explain every partition; return one result per partition, in order.

    Args:
        run: the run.
        state: its checkpoint.
        runner: who scores.
        on_progress: called every few seconds and at the end with the percentage of partitions done and a
            sentence of totals.
    """
    tasks = [
        PartitionTask(
            index=index,
            features=run.folder.path("features", f"{partition_name(index)}.parquet"),
            run_folder=run.folder.path(),
            product=run.name,
            as_of=run.windows.as_of,
            target_week_start=run.windows.target_week_start,
            run_id=run.run_id,
            model_folder=run.folder.path("model"),
            score_datetime=run.started_at.replace(tzinfo=None),
            reasons=run.settings.explain.reasons,
            contributions=run.settings.explain.contributions,
            sentences=run.settings.explain.sentences,
            themes=run.settings.explain.themes,
            learner_scores=run.settings.explain.learner_scores,
        )
        for index in range(len(state.partitions))
    ]
    last_report = 0.0  # seconds since scoring started

    def report(done: Done[PartitionResult]) -> None:
        nonlocal last_report
        at_end = done.done == done.total
        if not at_end and done.seconds - last_report < _PROGRESS_SECONDS:
            return
        last_report = done.seconds
        sentence = (
            f"{done.done:,} of {done.total:,} partitions, {done.rows:,} of {state.users:,} users, "
            f"{done.rows_per_second:,.0f} users a second, {done.seconds_left:.0f} s left"
        )
        if not at_end:
            run.stages.log("score", sentence)
        if on_progress is not None:
            on_progress(100 * done.done / done.total, sentence)

    score: Callable[[PartitionTask], PartitionResult] = score_partition
    if not is_local(run.folder.fs):
        score = ConfiguredTask(run.settings.store, score_partition)
    return runner.run(score, tasks, key=lambda task: task.name, on_done=report)


def commit(
    run: WeeklyRun, plan: DatasetPlan, state: Checkpoint, partitions: Sequence[PartitionResult]
) -> Run:
    """Check the totals, write the report, and commit the run to the lake in one step."""
    folder = run.folder
    card, evaluation, holdout = checkpoint.read_model(folder.path())
    summary = summarise_partitions(partitions, state.partitions)
    passed = [
        *state.passed,
        check_equal_rows("scoring", {"unloaded": state.users, "scored": summary.rows}),
        CheckResult(
            "margin = bias + sum of contributions",
            f"largest gap {summary.additivity_gap:.1e} (log-odds) among {summary.checked_rows:,} users",
        ),
        *_rounded(summary),
        CheckResult(
            "label rate, rows and classes to train on", f"{card.rows:,} rows, {card.churn_rate:.1%} churned"
        ),
    ]
    names = [f"{partition_name(index)}.parquet" for index in range(len(state.partitions))]
    features, scores = ([folder.path(part, name) for name in names] for part in ("features", "scores"))
    data = report_data(
        plan=plan,
        run=RunFacts(
            run_id=run.run_id,
            model_version=card.model_version,
            code_version=__version__,
            started_at=run.started_at,
            stages=stages_of(run.stages.records),
        ),
        card=card,
        evaluation=evaluation,
        holdout=holdout,
        true_log_loss=true_log_loss(run.settings.data, run.name, holdout, run.windows),
        summary=summary,
        importance=read_summary(folder.path()).importance(),
        scored=aggregate_scores(features, scores),
        passed=passed,
        warnings=state.warnings,
    )
    with staged_folder(folder.path("charts")) as charts:
        write_report(data, charts / "report.html")
        (charts / "report.json").write_text(data.model_dump_json(indent=1), "utf-8")
    with staged_folder(folder.path("logs")) as logs:
        (logs / digests.SETTINGS).write_text(json.dumps(run.basis.settings, indent=1), "utf-8")
    written = {
        f"{dataset}/{partition_name(row.index)}.parquet": stamp
        for row in partitions
        for dataset, stamp in row.files.items()
    }
    return folder.commit(_manifest(run, data, state.training_rows).model_copy(update={"files": written}))


def _rounded(summary: RunSummary) -> list[CheckResult]:
    """Return the rounding error of contributions written as float16; nothing for float32."""
    if not summary.rounding:
        return []
    return [
        CheckResult(
            "contributions as float16",
            f"each rounded after that, by at most {summary.rounding:.1e} (log-odds)",
        )
    ]


def _warn_model(evaluation: Evaluation) -> list[str]:
    """Return a warning if the model is no better than the churn rate alone."""
    model, base = evaluation.log_loss.value, evaluation.base_log_loss
    if model < base:
        return []
    return [
        f"the model is no better than the churn rate alone on {evaluation.rows:,} held-out snapshots "
        f"(log loss {model:.4f} against {base:.4f}): do not act on single scores"
    ]


def _manifest(run: WeeklyRun, data: ReportData, training_rows: int) -> Manifest:
    holdout = data.holdout
    metrics = {"mean_probability": data.audience.mean_probability}
    if holdout is not None:
        metrics |= {name: estimate.value for name, estimate in holdout.metrics.items()}
        metrics["base_log_loss"] = holdout.base_log_loss
        if holdout.true_log_loss is not None and holdout.regret is not None:
            metrics |= {"true_log_loss": holdout.true_log_loss, "regret": holdout.regret}
    return Manifest(
        run_id=run.run_id,
        product=run.name,
        title=data.title,
        as_of=run.windows.as_of,
        target_week_start=run.windows.target_week_start,
        lead_weeks=run.windows.lead_weeks,
        target_weeks=run.windows.target_weeks,
        started_at=run.started_at,
        model_version=data.run.model_version,
        code_version=__version__,
        rows={"training": training_rows, "scores": data.audience.users_scored},
        metrics=metrics,
        seconds=run.stages.seconds(),
        warnings=data.warnings,
        settings={
            "seed": run.settings.seed,
            "source": run.settings.source,
            "digest": digests.settings_digest(run.settings, run.name),
        },
    )


def open_tracking(run: WeeklyRun) -> None:
    """Set up MLflow's tracking; only warn if that fails, because logging comes last and tries again."""
    try:
        tracking.initialise(run.settings.tracking_uri)
    except RunError as error:
        logger.warning("%s; the run of %s goes on, and tries again at its end", error, run.name)
