"""What happens to whole processes while they score: killed, paused, starved, poisoned, restarted.

Each run leaves the bytes of a calm one, or fails with an error that names the partition and why. The short ones
are in every test run, the others in `make chaos`.
"""

import shutil
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.config
import pytest

from churn.core.errors import RunError
from churn.scoring.cluster.client import open_client
from churn.scoring.fanout import FanOut
from churn.scoring.partition import PartitionResult, summarise_partitions
from tests.stand_ins.dask_processes import Processes, dask_processes
from tests.support.chaos_tasks import Noted, count, score_and_note, timeless, written
from tests.support.small_models import partition_task, small_model, snapshots

pytestmark = pytest.mark.process

PARTITIONS, ROWS = 16, 400
PAUSE = 0.25  # seconds of each partition, so that there is a middle
HUNGRY = 700_000_000  # bytes


@dataclass
class Scene:
    """Partitions whose run lies at the same place each time, and what a calm run of them wrote."""

    folder: Path
    tasks: list[Noted]
    calm: dict[str, bytes]
    calm_rows: list[PartitionResult]

    @property
    def run_folder(self) -> Path:
        return self.folder / "run"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def score(
        self, client: Any, deed: Any = None, at: int = 4, tasks: list[Noted] | None = None
    ) -> list[Any]:
        """Score everything anew; ``deed`` is done once, in a thread, when so many partitions are done."""
        clear(self.folder)
        threads: list[threading.Thread] = []

        def tell(done: Any) -> None:
            if deed is not None and done.done == at:
                threads.append(threading.Thread(target=deed))
                threads[-1].start()

        try:
            return FanOut(client, worker_timeout=60).run(
                score_and_note, tasks or self.tasks, key=lambda task: task.name, on_done=tell
            )
        finally:
            for thread in threads:
                thread.join()

    def check(self, rows: list[PartitionResult], twice: int = PARTITIONS) -> None:
        """The run is the calm one's equal, and no partition was scored more than twice."""
        assert summarise_partitions(rows, [ROWS] * PARTITIONS).rows == PARTITIONS * ROWS
        assert [timeless(row) for row in rows] == [timeless(row) for row in self.calm_rows]
        found = written(self.run_folder)
        assert sorted(found) == sorted(self.calm)
        assert [name for name in found if found[name] != self.calm[name]] == []
        finished = count(self.notes, "scored")
        assert len(finished) == PARTITIONS
        assert min(finished.values()) >= 1
        assert max(finished.values()) <= 2, finished
        assert sum(each > 1 for each in finished.values()) <= twice, finished


def clear(folder: Path) -> None:
    for name in ("run", "notes"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    model = small_model()
    made = [
        partition_task(folder / "input", snapshots(ROWS, index, index * ROWS), model, index)
        for index in range(PARTITIONS)
    ]
    tasks = [
        Noted(replace(task, run_folder=str(folder / "run")), str(folder / "notes"), PAUSE) for task in made
    ]
    clear(folder)
    rows = [score_and_note(replace(task, seconds=0)) for task in tasks]
    return Scene(folder, tasks, written(folder / "run"), rows)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A scheduler; tests bring workers of their own and end them."""
    with dask_processes(tmp_path_factory.mktemp("crowd")) as running:
        running.workers(["first"])  # its versions are compared when a client comes
        yield running


def test_half_of_the_workers_die_at_once(scene, crowd):
    with open_client(crowd.settings) as client:
        crowd.workers(["a", "b", "c"], client)
        rows = scene.score(client, lambda: [crowd.signal(name, signal.SIGKILL) for name in ("b", "c")])
        scene.check(rows)
        assert crowd.present(client) == {"first", "a"}
        crowd.signal("a", signal.SIGKILL)


@pytest.mark.chaos
@pytest.mark.parametrize("at", [1, 7, PARTITIONS - 2])
def test_all_workers_die_and_then_new_ones_join(scene, crowd, at):
    with open_client(crowd.settings) as client:
        client.wait_for_workers(1, timeout=60)  # alone, this test comes before the first worker does
        before = sorted(crowd.present(client))

        def storm():
            for name in before:
                crowd.signal(name, signal.SIGKILL)
            time.sleep(1)
            # Waits for both: one alone could end the run before the other is there.
            crowd.workers([f"new-{at}-1", f"new-{at}-2"], client)

        rows = scene.score(client, storm, at)
        scene.check(rows)
        assert crowd.present(client) == {f"new-{at}-1", f"new-{at}-2"}


@pytest.mark.chaos
def test_a_worker_that_is_paused_past_the_time_out_and_wakes_up_again_does_no_harm(scene, tmp_path):
    with dask_processes(tmp_path, variables={"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s"}) as running:
        running.workers(["steady", "sleepy"])
        with open_client(running.settings) as client:
            running.workers([], client)
            client.wait_for_workers(2, timeout=60)
            rows = scene.score(client, lambda: running.signal("sleepy", signal.SIGSTOP))
            scene.check(rows)
            assert running.present(client) == {"steady"}
            log = (tmp_path / "scheduler.log").read_text()
            assert "failed to heartbeat" in log
            running.signal("sleepy", signal.SIGCONT)  # it ends what it held, which others have done by now
            time.sleep(3)
            scene.check(rows)


@pytest.mark.chaos
@pytest.mark.parametrize("all_starve", [False, True])
def test_workers_without_enough_memory_are_survived_or_the_partition_is_named(scene, tmp_path, all_starve):
    greedy = scene.tasks[5].name
    tasks = [
        replace(task, hunger=HUNGRY, seconds=1.5) if task.name == greedy else task for task in scene.tasks
    ]
    with dask_processes(tmp_path) as running:
        running.worker("starved", nanny=True, memory="600MB")
        running.worker("other", nanny=True, memory="600MB" if all_starve else "2GB")
        with open_client(running.settings) as client:
            client.wait_for_workers(2, timeout=60)
            if not all_starve:
                scene.check(scene.score(client, tasks=tasks))
                return
            with pytest.raises(RunError, match=rf"{greedy} kills the worker that runs it.*more memory"):
                scene.score(client, tasks=tasks)
            finished = count(scene.notes, "scored")
            assert {name for name, times in finished.items() if times} == {
                task.name for task in tasks if task.name != greedy
            }
            assert max(finished.values()) <= 2
        assert "exceeded 95% memory budget" in (tmp_path / "other.log").read_text()


def test_a_poisoned_partition_is_named_with_its_cause_and_the_finished_ones_are_whole(scene, crowd):
    victim = scene.tasks[9].task
    features = Path(victim.features)
    whole = features.read_bytes()
    features.write_bytes(whole[:1000])
    try:
        with open_client(crowd.settings) as client, pytest.raises(RunError) as caught:
            scene.score(client)
    finally:
        features.write_bytes(whole)
    assert str(caught.value).startswith(f"{victim.name} failed: ")
    assert "Parquet" in str(caught.value)
    assert caught.value.__cause__ is not None
    found = written(scene.run_folder)
    assert found
    assert [name for name in found if found[name] != scene.calm[name]] == []
    assert count(scene.notes, "scored")[victim.name] == 0


@pytest.mark.chaos
def test_a_scheduler_that_is_restarted_in_the_middle_ends_in_a_whole_run_or_a_clear_error(scene, tmp_path):
    with dask_processes(tmp_path) as running:
        running.workers(["a", "b"])
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "10s"}),
            open_client(running.settings) as client,
        ):
            client.wait_for_workers(2, timeout=60)
            try:
                rows = scene.score(client, lambda: restart(running))
            except RunError as error:
                assert "scheduler" in str(error)  # noqa: PT017  # both ends are right
            else:
                scene.check(rows)
        with open_client(running.settings) as client:  # and the next run goes on as if nothing had been
            client.wait_for_workers(1, timeout=60)
            scene.check(scene.score(client))


def restart(running: Processes) -> None:
    running.signal("scheduler", signal.SIGKILL)
    time.sleep(0.5)
    running.scheduler()
    running.workers(["c", "d"])


@pytest.mark.chaos
def test_a_scheduler_that_does_not_come_back_is_an_error_and_not_a_hang(scene, tmp_path):
    with dask_processes(tmp_path) as running:
        running.workers(["a"])
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "3s"}),
            open_client(running.settings) as client,
            pytest.raises(RunError, match="the cluster is gone"),
        ):
            scene.score(client, lambda: running.signal("scheduler", signal.SIGKILL))
    found = written(scene.run_folder)
    assert [name for name in found if found[name] != scene.calm[name]] == []


@pytest.mark.slow
def test_no_worker_holds_more_than_its_share(scene, crowd):
    with open_client(crowd.settings) as client:
        crowd.workers(["p", "q"], client)
        held: list[int] = []
        over = threading.Event()

        def watch():
            while not over.wait(0.05):
                held.extend(len(keys) for keys in client.processing().values())

        watching = threading.Thread(target=watch)
        watching.start()
        rows = scene.score(client)
        over.set()
        watching.join()
        scene.check(rows, twice=0)
        assert 1 <= max(held) <= 3  # two for each thread, and one that waits to be told apart
        for name in ("p", "q"):
            crowd.signal(name, signal.SIGKILL)
