"""The steps of a training as tasks: equal to a training in memory, done once, and safe from dying workers."""

import json
import os
import random
import signal
import threading
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from churn.config.cluster import ClusterSettings
from churn.config.store import StoreSettings
from churn.config.training import TrainingSettings
from churn.core.errors import CheckError, RunError
from churn.model.artifact import Model
from churn.model.fits import TrainingJob
from churn.model.training import train, train_in_steps
from churn.scoring.cluster.client import open_client
from churn.scoring.fanout import FanOut
from churn.scoring.fits import FOLDER, TaskSteps, TrainingTask
from churn.scoring.threads import InProcess
from tests.model.test_training import AS_OF, CREATED, QUICK, one_class, snapshots

BOTH = QUICK.model_copy(update={"learners": ("xgboost", "logistic", "segments")})


def laid_out(folder: Path, table=None, files: int = 3) -> tuple[str, ...]:
    """Write the training snapshots as a warehouse may: in several files, in no order."""
    table = snapshots() if table is None else table
    table = table.take(np.random.default_rng(5).permutation(table.num_rows))
    (folder / ".train").mkdir(parents=True, exist_ok=True)
    paths = [str(folder / ".train" / f"part-{index}.parquet") for index in range(files)]
    for index, path in enumerate(paths):
        pq.write_table(table.take(np.arange(index, table.num_rows, files)), path)
    return tuple(paths)


def job(settings: TrainingSettings = BOTH, threads: int = 1) -> TrainingJob:
    return TrainingJob("food", AS_OF, settings, threads=threads)


def trained(folder: Path, runner, job: TrainingJob, **given):
    task = TrainingTask(job, laid_out(folder), str(folder), ".holdout.parquet")
    steps = TaskSteps(task, runner, StoreSettings(), **given)
    try:
        return train_in_steps(job, steps, code_version="1", created_at=CREATED)
    finally:
        steps.close()


@pytest.fixture(scope="module")
def in_memory():
    return train(
        snapshots(),
        product="food",
        as_of=AS_OF,
        settings=BOTH,
        threads=1,
        code_version="1",
        created_at=CREATED,
    )


def saved(model: Model, folder: Path) -> dict[str, bytes]:
    model.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.process
@pytest.mark.parametrize("threads", [1, 3])
def test_tasks_make_the_model_of_a_training_in_memory(tmp_path, in_memory, threads):
    found = trained(tmp_path / "run", InProcess(threads), job(threads=threads))
    assert saved(found.model, tmp_path / "a") == saved(in_memory.model, tmp_path / "b")
    assert found.holdout.equals(in_memory.holdout)
    assert pq.read_table(tmp_path / "run" / ".holdout.parquet").equals(in_memory.holdout)


@pytest.mark.process
def test_a_second_run_computes_nothing_and_a_damaged_file_is_made_anew(tmp_path, in_memory):
    folder = tmp_path / "run"
    trained(folder, InProcess(1), job())
    before = {path.name: path.stat().st_mtime_ns for path in (folder / FOLDER).iterdir()}
    assert {"rows.json", "judgement.json", "xgboost.fold-0.ubj", "logistic.judge.npz"} <= before.keys()
    trained(folder, InProcess(1), job())
    assert {path.name: path.stat().st_mtime_ns for path in (folder / FOLDER).iterdir()} == before
    damaged = folder / FOLDER / "xgboost.judge.ubj"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    found = trained(folder, InProcess(1), job())
    assert saved(found.model, tmp_path / "a") == saved(in_memory.model, tmp_path / "b")


@pytest.mark.process
def test_rows_of_another_training_do_not_count(tmp_path):
    folder = tmp_path / "run"
    trained(folder, InProcess(1), job())
    first = json.loads((folder / FOLDER / "xgboost.fold-0.json").read_text())
    other = TrainingJob("food", AS_OF, BOTH, seed=2)
    trained(folder, InProcess(1), other)
    assert json.loads((folder / FOLDER / "xgboost.fold-0.json").read_text())["task"] != first["task"]


def test_a_broken_check_keeps_its_words(tmp_path):
    files = laid_out(tmp_path, one_class(snapshots()))
    steps = TaskSteps(TrainingTask(job(), files, str(tmp_path), "h"), InProcess(1), StoreSettings())
    with pytest.raises(CheckError, match="0 training rows of users who churned"):
        steps.facts()


@pytest.mark.process
def test_progress_tells_each_fit(tmp_path):
    told = []
    trained(tmp_path / "run", InProcess(1), job(), on_done=told.append)
    assert "fit xgboost to fold 1: 1 of 3 fits done" in told
    assert told[-1].startswith("fit ")


@pytest.mark.process
def test_an_interrupted_run_ends_its_fits(tmp_path):
    """No fit goes on for minutes after Ctrl-C."""
    slow = QUICK.model_copy(update={"max_trees": 100_000, "early_stopping_rounds": 100_000})

    def interrupted(_fit):
        def watch(done, _most):
            if done == 3:
                os.kill(os.getpid(), signal.SIGINT)

        return watch

    # A test run in the background of a shell ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "run", InProcess(2), job(slow), watch=interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begun < 60
    assert not list((tmp_path / "run" / FOLDER).glob("xgboost*.json"))


@pytest.fixture(scope="module")
def client():
    with open_client(ClusterSettings(workers=2, processes=True)) as client:
        yield client


def workers(client) -> list[int]:
    """The processes of both workers, once the one that was killed before is replaced."""
    for _ in range(100):
        client.wait_for_workers(2, timeout=60)
        with suppress(OSError):
            return list(client.run(os.getpid).values())
        time.sleep(0.1)
    raise AssertionError("the cluster has not two workers")


@pytest.mark.process
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_a_worker_killed_in_a_fit_changes_nothing(tmp_path, in_memory, client, seed):
    dice = random.Random(seed)
    pids = workers(client)
    timer = threading.Timer(dice.uniform(0.05, 1.5), os.kill, [dice.choice(pids), signal.SIGKILL])
    timer.start()
    try:
        found = trained(tmp_path / "run", FanOut(client), job())
    finally:
        timer.join()
    assert saved(found.model, tmp_path / "a") == saved(in_memory.model, tmp_path / "b")


@pytest.mark.process
def test_a_fit_that_kills_its_worker_is_named(tmp_path, client, monkeypatch):
    task = TrainingTask(job(), laid_out(tmp_path / "run"), str(tmp_path / "run"), "h")
    with pytest.raises(RunError, match="food: read the training rows"):
        FanOut(client).run(kill_this_worker, [task], key=lambda each: each.name)


def kill_this_worker(_task):
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_as_of_date_is_part_of_the_task(tmp_path):
    files = laid_out(tmp_path)
    one, other = (
        TrainingTask(TrainingJob("food", day, BOTH), files, str(tmp_path), "h").fingerprint
        for day in (AS_OF, date(2026, 7, 5))
    )
    assert one != other
    threads = TrainingTask(job(threads=9), files, str(tmp_path), "h").fingerprint
    assert threads == TrainingTask(job(), files, str(tmp_path), "h").fingerprint
