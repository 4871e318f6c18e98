import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import dask.config
import psutil
import pytest
from distributed import Client, Future, LocalCluster

from churn.config.cluster import ClusterSettings
from churn.core.errors import CheckError, ConfigError, RunError
from churn.scoring.cluster.client import client_in_background, open_client
from churn.scoring.cluster.size import local_size
from churn.scoring.fanout import FanOut
from churn.scoring.scorer import score_partition, summarise_partitions
from tests.support.fanout_tasks import Task, attempts, perform
from tests.support.small_models import partition_task, small_model, snapshots

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def client():
    with open_client(ClusterSettings(workers=2)) as client:
        yield client


@pytest.fixture
def make(tmp_path):
    def tasks(count, **deeds):
        made = [Task(index, str(tmp_path)) for index in range(count)]
        for deed, index in deeds.items():
            made[index] = replace(made[index], deed=deed.replace("_", " "))
        return made

    return tasks


def name(task):
    return task.name


def pids(client):
    return set(client.run(os.getpid).values())


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_rows_come_in_the_order_of_the_tasks(client, make):
    tasks = [replace(task, seconds=0.02 * (task.index % 3)) for task in make(12)]
    assert [row.index for row in FanOut(client).run(perform, tasks, key=name)] == list(range(12))


def test_no_tasks_give_no_rows(client):
    assert FanOut(client).run(perform, []) == []


def test_all_workers_take_part(client, make):
    tasks = [replace(task, seconds=0.05) for task in make(8)]
    assert {row.pid for row in FanOut(client).run(perform, tasks, key=name)} == pids(client)


@pytest.mark.parametrize(("given", "limit"), [(None, 4), (1, 1), (3, 3)])
def test_futures_in_flight_are_bounded_and_released_at_once(client, make, given, limit):
    seen = []
    FanOut(client, in_flight=given).run(
        perform, make(15), key=name, on_done=lambda done: seen.append(len(client.futures))
    )
    assert max(seen) <= limit
    wait_until(lambda: not client.futures)
    wait_until(lambda: not any(client.has_what().values()))


def test_progress_counts_tasks_and_rows(client, make):
    seen = []
    FanOut(client).run(perform, make(6), key=name, on_done=seen.append)
    assert [done.done for done in seen] == [1, 2, 3, 4, 5, 6]
    assert {done.total for done in seen} == {6}
    assert seen[-1].rows == sum(10 * index for index in range(6))
    assert {done.name for done in seen} == {f"part-{index:05d}" for index in range(6)}
    assert seen[-1].rows_per_second == pytest.approx(seen[-1].rows / seen[-1].seconds)
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left


def test_an_error_names_its_task_is_chained_and_ends_the_run(client, make):
    tasks = [replace(task, seconds=0.05) for task in make(100, fail=4)]
    with pytest.raises(RunError, match=r"part-00004 failed: CheckError: scoring part-00004") as caught:
        FanOut(client).run(perform, tasks, key=name)
    cause = caught.value.__cause__
    assert isinstance(cause, CheckError)
    assert cause.failures == ("the column is empty", "so is the other")
    assert attempts(tasks[4]) == 1
    wait_until(lambda: not client.futures)
    wait_until(lambda: not any(client.processing().values()))
    assert sum(map(attempts, tasks)) < 50, "a busy client hears of it late, but most were never begun"
    assert len(FanOut(client).run(perform, make(3), key=name)) == 3


def test_a_full_disk_of_a_worker_is_told_with_what_to_do(client, make):
    with pytest.raises(RunError, match="part-00001 failed: the disk is full: free some space"):
        FanOut(client).run(perform, make(3, full=1), key=name)


def test_many_tiny_tasks_leave_nothing_behind_on_the_way(client, make):
    tasks = make(600)
    futures, known = [], []

    def look(done):
        futures.append(len(client.futures))
        known.append(len(client.cluster.scheduler.tasks))

    rows = FanOut(client).run(perform, tasks, key=name, on_done=look)
    assert [row.index for row in rows] == list(range(600))
    assert max(futures) <= 4
    assert max(known) < 20, "the scheduler forgets what is done"
    assert max(map(attempts, tasks)) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_or_an_interrupt_in_the_callback_ends_the_run(client, make, error):
    tasks = [replace(task, seconds=0.05) for task in make(100)]

    def full(done):
        raise error

    with pytest.raises(error):
        FanOut(client).run(perform, tasks, key=name, on_done=full)
    wait_until(lambda: not client.futures)
    wait_until(lambda: not any(client.processing().values()))
    assert sum(map(attempts, tasks)) < 50, "a busy client hears of it late, but most were never begun"


def test_names_must_be_unique(client, make):
    with pytest.raises(RunError, match="same name"):
        FanOut(client).run(perform, make(2), key=lambda task: "one")


def test_tasks_of_a_worker_that_dies_are_done_elsewhere(client, make):
    tasks = [replace(task, seconds=0.02) for task in make(30, die_once=7)]
    rows = FanOut(client).run(perform, tasks, key=name)
    assert [row.index for row in rows] == list(range(30))
    assert attempts(tasks[7]) == 2
    assert max(map(attempts, tasks)) == 2
    wait_until(lambda: len(client.nthreads()) == 2)


def test_a_task_that_kills_every_worker_is_named_and_harms_no_other(client, make, caplog):
    caplog.set_level("WARNING")  # Dask silences every handler that it finds while a cluster is open
    tasks = make(12, poison=5)
    done = []
    with pytest.raises(RunError, match=r"part-00005 kills the worker that runs it.*more memory"):
        FanOut(client).run(perform, tasks, key=name, on_done=lambda row: done.append(row.name))
    assert sorted(done) == [task.name for task in tasks if task.index != 5]
    assert "part-00005 was lost" in caplog.text
    wait_until(lambda: len(client.nthreads()) == 2)


def test_a_cancelled_task_is_submitted_again(client, make):
    tasks = [replace(task, seconds=0.3) for task in make(4)]

    def cancel():
        wait_until(lambda: len(client.futures) == 4)
        client.cancel([Future(key, client) for key in list(client.futures) if "part-00003" in key])

    thread = threading.Thread(target=cancel)
    thread.start()
    rows = FanOut(client).run(perform, tasks, key=name)
    thread.join()
    assert [row.index for row in rows] == [0, 1, 2, 3]


def test_a_cluster_without_workers_is_given_up(make):
    with (
        LocalCluster(
            n_workers=0, dashboard_address=None, scheduler_kwargs={"dashboard_address": ":0"}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(RunError, match="has had no worker for 1 s"),
    ):
        FanOut(client, worker_timeout=1).run(perform, make(3), key=name)


def test_a_cluster_that_goes_away_is_an_error_and_not_a_hang(make):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=None, scheduler_kwargs={"dashboard_address": ":0"}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(RunError, match="the cluster is gone"),
    ):
        FanOut(client).run(perform, make(20), key=name, on_done=lambda done: cluster.close())


def test_partitions_scored_while_workers_are_killed_are_those_of_a_calm_run(client, tmp_path):
    model = small_model()
    tasks = {
        run: [
            partition_task(tmp_path / run, snapshots(3000, seed=i), model, index=i, batch_rows=250)
            for i in range(8)
        ]
        for run in ("calm", "chaos")
    }
    calm = FanOut(client).run(score_partition, tasks["calm"], key=name)
    victims = []

    def kill(done):
        if done.done in (2, 4):
            victims.append(min(pids(client)))
            os.kill(victims[-1], signal.SIGKILL)

    chaos = FanOut(client).run(score_partition, tasks["chaos"], key=name, on_done=kill)
    assert len(set(victims)) == 2
    assert [row.files for row in chaos] == [row.files for row in calm]
    assert summarise_partitions(chaos, expected=[3000] * 8).rows == 24_000
    for dataset in ("scores", "shap", "reasons"):
        files = {run: sorted((tmp_path / run / dataset).iterdir()) for run in tasks}
        assert [path.name for path in files["chaos"]] == [f"part-{i:05d}.parquet" for i in range(8)]
        for one, two in zip(files["calm"], files["chaos"], strict=True):
            assert one.read_bytes() == two.read_bytes()
    wait_until(lambda: len(client.nthreads()) == 2)


def test_an_unscorable_partition_is_named(client, tmp_path):
    model = small_model()
    tasks = [
        partition_task(tmp_path, snapshots(100).drop_columns(["share"] if i == 2 else []), model, index=i)
        for i in range(4)
    ]
    with pytest.raises(RunError, match=r"part-00002 failed: CheckError: .*\n.*lacks 1 column.*: share"):
        FanOut(client).run(score_partition, tasks, key=name)


def test_a_running_scheduler_is_used_by_address(make):
    with LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=None,
        scheduler_kwargs={"dashboard_address": ":0"},
    ) as cluster:  # fmt: skip
        with open_client(ClusterSettings(kind="address", address=cluster.scheduler_address)) as other:
            assert len(FanOut(other).run(perform, make(3), key=name)) == 3
        assert cluster.scheduler.status.name == "running"


def test_an_address_where_nobody_answers_is_an_error():
    settings = ClusterSettings(kind="address", address="tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(RunError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        open_client(settings),
    ):
        pass


@pytest.mark.parametrize("settings", [{"kind": "address"}, {"address": "tcp://127.0.0.1:9"}])
def test_kind_and_address_must_agree(settings):
    with pytest.raises(ConfigError, match="address"), open_client(ClusterSettings(**settings)):
        pass


def test_the_size_follows_the_machine():
    assert local_size(ClusterSettings(workers=7)) == 7
    assert 1 <= local_size(ClusterSettings()) <= os.cpu_count()
    assert local_size(ClusterSettings(threads_per_worker=10_000)) == 1


def test_errors_of_a_cluster_in_the_background_come_when_it_is_asked_for():
    with client_in_background(ClusterSettings(kind="address")) as ask, pytest.raises(ConfigError):
        ask()


SCRIPT = textwrap.dedent(
    """
    import logging
    import sys
    from pathlib import Path

    logging.basicConfig(level=logging.WARNING)
    with open(sys.argv[1] + "/imported", "a") as file:
        file.write("once\\n")

    import json, os, psutil
    from churn.scoring.cluster.client import client_in_background
    from churn.config.cluster import ClusterSettings
    from churn.scoring.fanout import FanOut
    from tests.support.fanout_tasks import Task, perform

    def state():
        return sorted(sys.modules), os.environ["OMP_NUM_THREADS"]

    with client_in_background(ClusterSettings(workers=2)) as ask:
        client = ask()
        tasks = [Task(i, sys.argv[1]) for i in range(6)]
        rows = FanOut(client).run(perform, tasks)
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        print(json.dumps({
            "rows": len(rows),
            "workers": list(client.run(state).values()),
            "listening": sorted({
                connection.laddr.ip
                for process in processes
                for connection in process.net_connections()
                if connection.status == "LISTEN"
            }),
            "processes": [process.pid for process in processes],
        }))
    """
)


def test_a_script_starts_lean_workers_and_ends_in_silence(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, script, tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert found["rows"] == 6
    assert (tmp_path / "imported").read_text() == "once\n"
    assert found["listening"] == ["127.0.0.1"]
    for modules, threads in found["workers"]:
        assert "churn.scoring.scorer" in modules
        assert not {"prefect", "flows", "tasks", "mlflow"} & set(modules)
        assert threads == "1"
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in found["processes"]))
