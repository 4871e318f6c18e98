"""Worker processes of this machine: who may reach them, and what becomes of a run whose workers die early."""

import logging
import os
import re
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import dask.config
import psutil
import pytest
from distributed import Client

from churn.config.cluster import ClusterSettings
from churn.core.errors import RunError
from churn.scoring.cluster.client import fan_out, open_client
from churn.scoring.cluster.deaths import Deaths
from tests.support.fanout_tasks import Task, perform

pytestmark = pytest.mark.process


def run(client, settings, folder, count=6):
    tasks = [Task(index, str(folder)) for index in range(count)]
    return fan_out(client, settings).run(perform, tasks, key=lambda task: task.name)


def listening():
    """Ports of this process and those below it."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {
        connection.laddr
        for process in processes
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def answer(port, request):
    """Return what a port answers to bytes."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(5)
        connection.sendall(request)
        try:
            return connection.recv(4096)
        except (TimeoutError, ConnectionResetError):
            return b""


def test_nobody_without_the_clusters_key_reaches_scheduler_nannies_and_workers(tmp_path):
    before = listening()
    settings = ClusterSettings(workers=2)
    with open_client(settings) as client:
        assert len(run(client, settings, tmp_path)) == 6
        ports = listening() - before
        assert {address.ip for address in ports} == {"127.0.0.1"}
        assert len(ports) == 5  # a scheduler, two nannies, two workers, and no page
        for address in ports:
            assert b"HTTP" not in answer(address.port, b"GET /health HTTP/1.0\r\n\r\n")
            assert refused(f"tcp://127.0.0.1:{address.port}")
        with open_client(ClusterSettings(workers=1)) as other:  # with a key of its own
            assert other.security.tls_client_key != client.security.tls_client_key
            assert refused(client.scheduler.address, other.security)


def refused(address, security=None):
    """Return whether an address lets no client in that shows these certificates, or none."""
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        try:
            Client(address, security=security, timeout=1, set_as_default=False).close()
        except OSError:
            return True
    return False


def test_nothing_is_imported_from_a_folder_that_others_can_write(tmp_path):
    known = set(sys.path)
    settings = ClusterSettings(workers=1)
    with open_client(settings) as client:
        (there,) = client.run(lambda: list(sys.path)).values()
        for folder in {*sys.path, *there} - known:
            private = [
                each for each in [Path(folder), *Path(folder).parents] if "churn-scratch-" in each.name
            ]
            assert [stat.S_IMODE(each.stat().st_mode) for each in private] == [0o700], folder
    assert set(sys.path) <= known


def workers():
    """Worker processes: the fork server's children."""
    servers = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
    return {worker.pid for server in servers for worker in server.children()}


@pytest.mark.parametrize("moments", [(0.02, 0.05), (0.1, 0.3)])
def test_a_worker_that_dies_as_soon_as_it_is_there_is_started_again(tmp_path, moments):
    settings = ClusterSettings(workers=2)
    done = threading.Event()
    killed = []

    def kill():
        known = workers()
        for moment in moments:
            while not done.is_set():
                fresh = workers() - known
                if fresh:
                    time.sleep(moment)
                    known |= fresh
                    killed.append(min(fresh))
                    os.kill(killed[-1], signal.SIGKILL)
                    break
                time.sleep(0.002)

    with open_client(settings):
        pass  # the fork server is there: what appears below it is a worker
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with open_client(settings) as client:
            killer.join(20)
            assert len(run(client, settings, tmp_path)) == 6
            client.wait_for_workers(2, timeout=20)
    finally:
        done.set()
        killer.join()
    assert len(killed) == len(moments)


def test_a_fork_server_that_is_killed_is_started_again(tmp_path):
    settings = ClusterSettings(workers=2)
    with open_client(settings) as client:
        assert len(run(client, settings, tmp_path, 2)) == 2
        (server,) = {psutil.Process(pid).ppid() for pid in workers()}
        os.kill(server, signal.SIGKILL)
        assert len(run(client, settings, tmp_path, 20)) == 20
    with open_client(settings) as client:
        assert len(run(client, settings, tmp_path, 2)) == 2


def test_workers_without_enough_memory_to_start_end_the_run_and_name_the_limit(tmp_path, caplog):
    settings = ClusterSettings(workers=1, memory_limit="100MB")
    caplog.set_level(logging.WARNING)
    limit = r"cluster\.memory_limit \(now 100MB: 100 MB\) to at least 600 MB"
    with open_client(settings) as client:
        time.sleep(2)  # as where SQL runs first
        with pytest.raises(RunError, match=limit) as caught:
            run(client, settings, tmp_path)
    assert "start workers for its scheduler" not in str(caught.value)
    assert re.search(r"the last one \d+ MB", str(caught.value))
    assert len([each for each in caplog.records if "died" in each.message]) <= 4


def test_many_deaths_are_told_a_few_times(caplog):
    caplog.set_level(logging.WARNING)
    deaths = Deaths(ClusterSettings(), 10**9)
    for _ in range(1_000):
        deaths.ended(-signal.SIGKILL)
        deaths.scored()
    assert deaths.hopeless() is None
    assert len(caplog.records) < 15
    assert "SIGKILL" in caplog.text
    for _ in range(40):
        deaths.ended(1)
    assert "exit code 1" in caplog.text or deaths.hopeless()


def test_the_second_death_by_memory_names_the_limit_and_what_to_do(caplog):
    caplog.set_level(logging.WARNING)
    deaths = Deaths(ClusterSettings(memory_limit="0.1"), 700_000_000)
    for held in (710_000_000, 720_000_000, 730_000_000):
        deaths.over_limit(held, idle=False)
        deaths.ended(-signal.SIGTERM)
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "a worker died (it held too much memory); another takes its place"
    assert "the last one 720 MB" in second
    assert "raise cluster.memory_limit (now 0.1: 700 MB)" in second
    assert deaths.hopeless() is None
