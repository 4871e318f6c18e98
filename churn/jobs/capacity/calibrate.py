"""Measure, in seconds, how fast this machine scores: the real engine on a real one-worker cluster.

Made-up users (``churn.jobs.capacity.sample``) are scored through the same fan-out as a weekly run, in
partitions of two sizes: the line through both gives what a user and what a partition takes. CPU seconds are
the worker process's own, all threads included. Other work on the machine can only add to them, by as much as
half: the sizes take turns, and the lower quartile over the rounds counts.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from churn.config.cluster import ClusterSettings
from churn.core.datasets import EFFECTS
from churn.core.errors import RunError, UsageError
from churn.explain.effects import read_summary
from churn.jobs.capacity.probe import Nothing, cpu_seconds, do_nothing, peak_bytes
from churn.jobs.capacity.rates import Rates
from churn.jobs.capacity.sample import (
    AS_OF,
    PRODUCT,
    RUN_ID,
    SCORED_AT,
    TARGET,
    Shape,
    partition_task,
    quick_model,
    write_features,
)
from churn.lake.manifest import Manifest
from churn.outputs.report.build import aggregate_scores
from churn.scoring.cluster.client import open_client
from churn.scoring.cluster.local import WORKER_MODULE
from churn.scoring.fanout import FanOut
from churn.scoring.partition import PartitionResult, partition_name, summarise_partitions
from churn.scoring.scorer import batch_rows, score_partition

MOST_FEATURES, MOST_TREES, DEPTHS = 4_000, 5_000, range(1, 11)
_TASKS_AT_ONCE = 64  # in flight: more than one worker can have done, so that nobody waits for it
_START_TIMEOUT = 120.0  # seconds
_IDLE_SECONDS, _PAUSE = 1.5, 0.02


@dataclass(frozen=True)
class Calibration:
    """How much a calibration does."""

    small: int = 1_000  # users of a small partition
    large: int | None = None  # the same of a large one; None = two whole batches
    smalls: int = 12  # small partitions in a round
    larges: int = 1  # large partitions in a round
    rounds: int = 5  # how often both sizes are measured
    tasks: int = 400  # empty partitions


def calibrate(features: int, trees: int, depth: int, effort: Calibration | None = None) -> Rates:
    """Measure the rates of a model of this size; takes some 20 s on an idle core for 150 features, 300 trees.

    Raises:
        UsageError: features, trees or depth are out of the range that can be measured.
        RunError: a worker or the cluster did not start.
    """
    check_size(features, trees, depth)
    effort = effort or Calibration()
    begun = time.perf_counter()
    with TemporaryDirectory(prefix="churn-plan-") as folder:
        rates = _Bench(Path(folder), Shape(features), trees, depth, effort).measure()
    return Rates(
        features=features,
        trees=trees,
        depth=depth,
        took_s=time.perf_counter() - begun,
        load_average=os.getloadavg()[0],
        cores=os.cpu_count() or 1,
        **rates,
    )


def check_size(features: int, trees: int, depth: int) -> None:
    """Raise UsageError if features, trees or depth are out of range."""
    Shape(features)
    if features > MOST_FEATURES:
        raise UsageError(f"{features:,} features are more than can be planned for: {MOST_FEATURES:,} at most")
    if not 1 <= trees <= MOST_TREES:
        raise UsageError(f"{trees:,} trees cannot be planned for: give 1 to {MOST_TREES:,}")
    if depth not in DEPTHS:
        raise UsageError(f"trees of depth {depth} cannot be planned for: give {DEPTHS[0]} to {DEPTHS[-1]}")


class _Bench:
    """One calibration in a folder of its own."""

    def __init__(self, folder: Path, shape: Shape, trees: int, depth: int, effort: Calibration) -> None:
        rng = np.random.default_rng(0)
        self.folder = folder
        self.effort = effort
        self.model = folder / "model"
        quick_model(shape, rng, trees, depth).save(self.model)
        large = effort.large or 2 * batch_rows(shape.features)
        self.sizes = {"small": (effort.small, effort.smalls), "large": (large, effort.larges)}
        for kind, (rows, _) in self.sizes.items():
            write_features(self._features(kind), shape, rng, rows)
        self.run = folder / "run"
        self.scored: list[tuple[str, PartitionResult]] = []
        self.watched = [0.0, 0.0]  # CPU seconds of this process, and wall seconds, while a worker scored

    def _features(self, kind: str) -> Path:
        return self.folder / f"{kind}.parquet"

    def measure(self) -> dict[str, Any]:
        start = time.perf_counter()
        with open_client(ClusterSettings(workers=1)) as client:
            ready = time.perf_counter() - start
            fan_out = FanOut(client, in_flight=_TASKS_AT_ONCE)
            first, _ = self._score(client, fan_out, "small", 1)
            tasks = self._tasks(fan_out)
            cpu: dict[str, list[float]] = {kind: [] for kind in self.sizes}
            for _ in range(self.effort.rounds):
                for kind, (_, count) in self.sizes.items():
                    used, done = self._score(client, fan_out, kind, count)
                    cpu[kind].append(used / done)
            (peak,) = client.run(peak_bytes).values()
            watch_worker = _watch_worker(client)
        by_kind = {kind: _lower_quartile(values) for kind, values in cpu.items()}
        user, partition = self._line(by_kind["small"], by_kind["large"])
        return {
            "user_s": user,
            "partition_s": partition,
            "load_s": max(0.0, first - by_kind["small"]),
            "start_s": _start_seconds(),
            "start_wall_s": ready,
            "worker_bytes": peak,
            "hash_byte_s": self._hash(),
            "watch": max(0.0, self._watch(tasks["task_s"]) - watch_worker),
            "watch_worker": watch_worker,
            **tasks,
            **self._merge(),
            **self._bytes(),
            **self._stages(),
        }

    def _score(self, client: Any, fan_out: FanOut, kind: str, count: int) -> tuple[float, int]:
        """Score partitions of a kind; return the worker's CPU seconds, and how many there were."""
        done = len(self.scored)
        tasks = [
            partition_task(index, self._features(kind), self.run, self.model)
            for index in range(done, done + count)
        ]
        (before,) = client.run(cpu_seconds).values()
        cpu, wall = time.process_time(), time.perf_counter()
        rows = fan_out.run(score_partition, tasks, key=lambda task: task.name)
        self.watched[0] += time.process_time() - cpu
        self.watched[1] += time.perf_counter() - wall
        (after,) = client.run(cpu_seconds).values()
        self.scored += [(kind, row) for row in rows]
        return after - before, count

    def _watch(self, task_s: float) -> float:
        """Return the share of a core that this process took while a worker scored, besides its tasks."""
        cpu, wall = self.watched
        return max(0.0, cpu - len(self.scored) * task_s) / wall

    def _tasks(self, fan_out: FanOut) -> dict[str, float]:
        """Run partitions that do nothing: what scheduler and client, which share this process, take."""
        fan_out.run(do_nothing, [Nothing(index) for index in range(20)], key=lambda task: task.name)
        tasks = [Nothing(index) for index in range(self.effort.tasks)]
        cpu = time.process_time()
        fan_out.run(do_nothing, tasks, key=lambda task: task.name)
        used = (time.process_time() - cpu) / len(tasks)
        return {"task_s": used, "tasks_a_second": 1 / used}

    def _merge(self) -> dict[str, float]:
        """Read the sums and scores of what was scored, as the client does before it commits a run."""
        rows = [row for _, row in self.scored]

        def once(kind: str) -> float:
            chosen = [partition_name(row.index) for of, row in self.scored if of == kind]
            scores = [f"{self.run}/scores/{name}.parquet" for name in chosen]
            features = [str(self._features(kind))] * len(chosen)
            return _cpu(lambda: aggregate_scores(features, scores)) / len(chosen)

        def sums() -> None:
            summarise_partitions(rows)
            read_summary(str(self.run)).importance()
            _manifest(rows).model_dump_json(indent=2)

        user, partition = self._line(once("small"), once("large"))
        return {"merge_user_s": user, "merge_partition_s": partition + _cpu(sums) / len(rows)}

    def _hash(self) -> float:
        path = self._features("large")

        def once() -> float:
            with path.open("rb") as file:
                return _cpu(lambda: file_digest(file, "sha256"))

        return statistics.median(once() for _ in range(3)) / path.stat().st_size

    def _bytes(self) -> dict[str, Any]:
        size, _ = self.sizes["large"]
        large = next(row for kind, row in self.scored if kind == "large")
        return {
            "read_bytes": self._features("large").stat().st_size / size,
            "written_bytes": {
                name: stamp.size / size for name, stamp in sorted(large.files.items()) if name != EFFECTS.name
            },
            "effects_bytes": float(large.files[EFFECTS.name].size),
        }

    def _stages(self) -> dict[str, dict[str, float]]:
        large = [row for kind, row in self.scored if kind == "large"]
        stages = [stage for stage in large[0].cpu if stage != "load"]
        return {"stages": {s: _lower_quartile([row.cpu[s] / row.rows for row in large]) for s in stages}}

    def _line(self, small_s: float, large_s: float) -> tuple[float, float]:
        """Return slope and intercept, neither below 0, of the line through both sizes; noise can tilt it."""
        small, large = (rows for rows, _ in self.sizes.values())
        slope = (large_s - small_s) / (large - small)
        slope = min(max(slope, 0.0), large_s / large)
        return slope, max(0.0, small_s - slope * small)


def _watch_worker(client: Any) -> float:
    """Return the share of a core that this process takes for one idle worker; the worker ends."""
    shares = []
    for workers in (1, 0):
        client.cluster.scale(workers)
        while len(client.scheduler_info()["workers"]) > workers:
            time.sleep(_PAUSE)
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(_IDLE_SECONDS)
        shares.append((time.process_time() - cpu) / (time.perf_counter() - wall))
    return max(0.0, shares[0] - shares[1])


def _lower_quartile(values: Sequence[float]) -> float:
    return float(np.percentile(values, 25, method="lower"))


def _start_seconds() -> float:
    """Return the CPU seconds of a fresh worker process until it can work: local ones share a server's."""
    program = f"import distributed, {WORKER_MODULE}, time; print(time.process_time())"
    try:
        command = [sys.executable, "-c", program]
        ran = subprocess.run(command, capture_output=True, check=True, timeout=_START_TIMEOUT)
        return float(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RunError(f"a worker's program does not start with {sys.executable} ({error})") from error


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _manifest(rows: Sequence[PartitionResult]) -> Manifest:
    return Manifest(
        run_id=RUN_ID,
        product=PRODUCT,
        as_of=AS_OF,
        target_week_start=TARGET,
        started_at=SCORED_AT,
        model_version=rows[0].model_version,
        code_version="0",
        files={
            f"{dataset}/{partition_name(row.index)}.parquet": stamp
            for row in rows
            for dataset, stamp in row.files.items()
        },
    )
