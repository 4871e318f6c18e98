"""Who scores: threads of this process, or worker processes."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from churn.config.cluster import ClusterSettings
from churn.core.errors import CheckError, RunError
from churn.scoring.cluster.size import PROCESSES_FROM, in_process
from churn.scoring.scorer import score_partition
from churn.scoring.threads import InProcess
from churn.scoring.workers import open_workers
from tests.support.chaos_tasks import timeless, written
from tests.support.fanout_tasks import Task, attempts, perform
from tests.support.small_models import partition_task, small_model, snapshots


@pytest.fixture
def make(tmp_path):
    def tasks(count, **deeds):
        made = [Task(index, str(tmp_path)) for index in range(count)]
        for deed, index in deeds.items():
            made[index] = replace(made[index], deed=deed)
        return made

    return tasks


def name(task):
    return task.name


def test_rows_come_in_the_order_of_the_tasks_and_progress_counts_them(make):
    tasks = [replace(task, seconds=0.01 * (3 - task.index % 3)) for task in make(9)]
    seen = []
    rows = InProcess(3).run(perform, tasks, key=name, on_done=seen.append)
    assert [row.index for row in rows] == list(range(9))
    assert [done.done for done in seen] == list(range(1, 10))
    assert {done.total for done in seen} == {9}
    assert seen[-1].rows == sum(10 * index for index in range(9))
    assert InProcess(2).run(perform, []) == []


def test_an_error_names_its_task_and_no_other_begins(make):
    tasks = [replace(task, seconds=0.02) for task in make(100, fail=4)]
    with pytest.raises(RunError, match=r"part-00004 failed: CheckError: scoring part-00004") as caught:
        InProcess(2).run(perform, tasks, key=name)
    assert isinstance(caught.value.__cause__, CheckError)
    assert sum(map(attempts, tasks)) < 20


def test_a_full_disk_is_told_with_what_to_do(make):
    with pytest.raises(RunError, match="part-00001 failed: the disk is full: free some space"):
        InProcess(2).run(perform, make(3, full=1), key=name)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_interrupt_waits_for_what_has_begun_and_begins_nothing_more(make, error):
    tasks = [replace(task, seconds=0.05) for task in make(100)]

    def stop(done):
        raise error

    with pytest.raises(error):
        InProcess(2).run(perform, tasks, key=name, on_done=stop)
    begun = sum(map(attempts, tasks))
    assert begun < 10
    time.sleep(0.1)
    assert sum(map(attempts, tasks)) == begun
    assert not any(thread.name.startswith("churn-score") for thread in threading.enumerate())


def test_names_must_be_unique(make):
    with pytest.raises(RunError, match="same name"):
        InProcess(1).run(perform, make(2), key=lambda task: "one")


def test_a_large_audience_or_a_limit_of_memory_is_worth_processes():
    local, limited = ClusterSettings(), ClusterSettings(memory_limit="1GB")
    assert in_process(local, PROCESSES_FROM - 1)
    assert not in_process(local, PROCESSES_FROM)
    assert not in_process(limited, 0)
    assert not in_process(ClusterSettings(processes=True), 0)
    assert in_process(ClusterSettings(processes=False), 10 * PROCESSES_FROM)
    assert not in_process(ClusterSettings(kind="address", address="tcp://127.0.0.1:9"), 0)


@pytest.mark.process
def test_threads_and_processes_write_the_same_bytes(tmp_path):
    model = small_model()
    made = [
        partition_task(tmp_path / "in", snapshots(900, seed=i), model, i, batch_rows=250) for i in range(5)
    ]
    found = {}
    for processes in (False, True):
        folder = tmp_path / str(processes)
        tasks = [replace(task, run_folder=str(folder)) for task in made]
        with open_workers(ClusterSettings(workers=2, processes=processes)) as workers:
            workers.expect(1)
            rows = workers.runner().run(score_partition, tasks, key=name)
        rows = [row.model_copy(update={"task": ""}) for row in rows]  # a digest of its folder, too
        found[processes] = (written(folder), [timeless(row) for row in rows])
    assert found[False] == found[True]


IN_PROCESS = """
import sys
from churn.config.cluster import ClusterSettings
from churn.scoring.workers import open_workers
from tests.support.fanout_tasks import Task, perform
with open_workers(ClusterSettings()) as workers:
    workers.expect(1000)
    print(len(workers.runner().run(perform, [Task(i, sys.argv[1]) for i in range(3)])))
print("distributed" in sys.modules)
"""


@pytest.mark.process
def test_a_small_audience_imports_no_cluster(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", IN_PROCESS, tmp_path], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["3", "False"]
