"""Workers that die by SIGKILL at random moments of scoring leave the files of a calm run, and no other.

`make test` kills in one run, `make chaos` in 20.
"""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from churn.config.cluster import ClusterSettings
from churn.scoring.cluster.client import open_client
from churn.scoring.fanout import Done, FanOut
from churn.scoring.files import SCRATCH
from churn.scoring.partition import PartitionResult, summarise_partitions
from churn.scoring.scorer import score_partition
from tests.support.chaos_tasks import timeless, written
from tests.support.small_models import partition_task, small_model, snapshots

pytestmark = pytest.mark.process

PARTITIONS, ROWS, WORKERS = 24, 1_500, 2
SHORT, LONG = 1, 20


@dataclass(frozen=True)
class Kill:
    """One worker's death.

    Attributes:
        after: partitions that are done when the wait for it begins.
        delay: how long that wait is, in parts of the time that a partition takes.
        victim: which worker.
    """

    after: int
    delay: float
    victim: int


def kills_of(seed: int) -> list[Kill]:
    """One or two deaths, drawn at random; the second worker dies on its own, later or at the same moment."""
    dice = random.Random(seed)
    victims = dice.sample(range(WORKERS), 1 + seed % 2)
    # Not so near the end that all is done before the signal comes.
    return [Kill(dice.randrange(PARTITIONS - 8), dice.uniform(0, 1), victim) for victim in victims]


class Scene:
    """Partitions, a model, and the folder of a run that is at the same place each time.

    Attributes:
        calm: what a run wrote in which nobody died, by path, partition rows aside.
        calm_rows: its partition rows.
        calm_seconds: its wall time.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client, self.run = client, folder / "run"
        model = small_model()
        made = [
            partition_task(
                folder / "input", snapshots(ROWS, index, index * ROWS), model, index, batch_rows=500
            )
            for index in range(PARTITIONS)
        ]
        self.tasks = [replace(task, run_folder=str(self.run)) for task in made]
        self.score()  # workers have loaded model and kernel
        start = time.perf_counter()
        self.calm_rows, _ = self.score()
        self.calm_seconds = time.perf_counter() - start
        self.calm = written(self.run)

    def score(self, kills: Sequence[Kill] = ()) -> tuple[list[PartitionResult], list[int]]:
        """Score everything anew; return the rows, and how many partitions were done at each death."""
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir()
        self.client.wait_for_workers(WORKERS, timeout=60)
        pids = sorted(self.client.run(os.getpid).values())
        done = 0
        died: list[int] = []
        threads: list[threading.Thread] = []

        def kill(deed: Kill) -> None:
            time.sleep(deed.delay * self.calm_seconds / PARTITIONS * WORKERS)
            died.append(done)
            os.kill(pids[deed.victim], signal.SIGKILL)

        def due(count: int) -> None:
            for deed in kills:
                if deed.after == count:
                    threads.append(threading.Thread(target=kill, args=[deed]))
                    threads[-1].start()

        def tell(progress: Done[Any]) -> None:
            nonlocal done
            done = progress.done
            due(done)

        due(0)
        try:
            rows = FanOut(self.client).run(
                score_partition, self.tasks, key=lambda task: task.name, on_done=tell
            )
        finally:
            for thread in threads:
                thread.join()
        return rows, died

    def check(self, rows: list[PartitionResult], kills: Sequence[Kill]) -> int:
        """Look that a run is the calm one's equal; return how many pieces of scratch the dead had left."""
        assert summarise_partitions(rows, [ROWS] * PARTITIONS).rows == PARTITIONS * ROWS
        assert [timeless(row) for row in rows] == [timeless(row) for row in self.calm_rows]
        committed = sorted((self.run / "logs" / "partitions").iterdir())
        assert [path.name for path in committed] == [f"{task.name}.json" for task in self.tasks]
        assert [timeless(PartitionResult.model_validate_json(path.read_bytes())) for path in committed] == [
            timeless(row) for row in rows
        ]
        found = written(self.run)
        assert sorted(found) == sorted(self.calm)
        assert [name for name in found if found[name] != self.calm[name]] == []
        # A worker has one thread: whoever dies leaves at most one attempt, and the lake's commit sweeps it.
        left = {"-".join(path.name.split("-")[:3]) for path in (self.run / SCRATCH).iterdir()}
        assert len(left) <= len(kills)
        folders = {"logs", SCRATCH, *(name.split("/")[0] for name in self.calm)}
        assert {path.name for path in self.run.iterdir()} == folders
        return len(left)


def many_runs(folder: Path, runs: int) -> dict[str, Any]:
    """Kill workers in so many runs, check each, and sum up; raises AssertionError where one differs."""
    with open_client(ClusterSettings(workers=WORKERS)) as client:
        scene = Scene(client, folder)
        moments: list[int] = []
        scratch, start = 0, time.perf_counter()
        for seed in range(runs):
            rows, died = scene.score(kills_of(seed))
            scratch += scene.check(rows, kills_of(seed))
            moments += died
    return {
        "runs": runs,
        "identical": runs,
        "deaths": len(moments),
        "partitions_done_at_death": sorted(moments),
        "scratch_left": scratch,
        "seconds_a_run": (time.perf_counter() - start) / runs,
        "calm_seconds": scene.calm_seconds,
    }


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with open_client(ClusterSettings(workers=WORKERS)) as client:
        yield Scene(client, tmp_path_factory.mktemp("chaos"))


def test_two_calm_runs_write_the_same_bytes(scene):
    rows, died = scene.score()
    assert died == []
    assert scene.check(rows, []) == 0


@pytest.mark.parametrize(
    "seed", [*range(SHORT), *(pytest.param(seed, marks=pytest.mark.chaos) for seed in range(SHORT, LONG))]
)
def test_a_run_whose_workers_are_killed_writes_what_a_calm_one_writes(scene, seed):
    kills = kills_of(seed)
    rows, died = scene.score(kills)
    assert len(died) == len(kills)
    assert max(died) < PARTITIONS
    scene.check(rows, kills)
