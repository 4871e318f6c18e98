"""What a run will take: pure arithmetic on measured rates and a price file.

Scoring is a list of equal tasks that idle workers take one by one. With W workers it is over after at most

    work / W + (1 - 1 / W) * longest task

(Graham, Bounds for certain multiprocessing anomalies, 1966), and not before the scheduler has handed out
every task. The longest task is taken to be as large as a partition may become, so that a plan for more users
is never shorter. A worker's task is CPU, waits for S3's answers one after the other, and bytes at S3's speed;
nothing of it overlaps in the plan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from churn.core.datasets import DATASETS, EFFECTS, FEATURES
from churn.core.errors import UsageError
from churn.dataset.unload import partition_size
from churn.jobs.capacity import requests
from churn.jobs.capacity.prices import Place, Prices
from churn.jobs.capacity.rates import Rates
from churn.jobs.capacity.requests import Requests
from churn.jobs.capacity.sizes import Size, smallest
from churn.scoring.scorer import batch_rows

MOST_WORKERS = 2_000
MOST_USERS, MOST_PRODUCTS = 1_000_000_000, 100
SCHEDULER = Size(1, 4)
_ENDLESS = 10**15  # users of whom partitions are as large as they may become
_PARTITION_FILES = sum(dataset.partitioned and not dataset.optional for dataset in DATASETS)
_OTHER_FILES = 12  # model, charts, logs


@dataclass(frozen=True)
class ScoringJob:
    """What is to be planned."""

    users: int  # of each product
    products: int = 1  # scored one after the other

    def __post_init__(self) -> None:
        """Raise UsageError for numbers out of range."""
        for name, most in (("users", MOST_USERS), ("products", MOST_PRODUCTS)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise UsageError(f"{value:,} {name} cannot be planned for: give 1 to {most:,}")


@dataclass(frozen=True)
class CapacityPlan:
    """What one number of workers comes to. Seconds, bytes and requests are of one product if not said."""

    job: ScoringJob
    workers: int  # tasks with one thread each
    worker: Size  # their size
    partitions: int  # of a product
    partition_rows: int  # users in each, but for the last
    seconds: Mapping[str, float]  # wall time by part: `start`, `load`, `score` and `commit`
    worker_s: float  # CPU, all workers
    client_s: float  # CPU of the client, with its share of the scheduler's
    tasks_a_second: float  # partitions that the scheduler hands out while it scores
    most_tasks_a_second: float  # the same, if workers took no time
    scheduler_bound: bool  # the scheduler, and not the workers, sets the time of scoring
    bytes: Mapping[str, float]  # read (`features`) and written, by dataset
    requests: Requests  # to S3, of workers and client
    requests_a_second: Requests  # while it scores; writes and reads
    worker_bytes: float  # peak memory that a worker needs
    # All products: `on demand`, `spot` (workers only), `requests`, and storage for `a month`
    dollars: Mapping[str, float]

    @property
    def product_s(self) -> float:
        """Wall seconds of one product, from asking for a cluster to the committed run."""
        return sum(self.seconds.values())

    @property
    def wall_s(self) -> float:
        """Wall seconds of all products, one after the other."""
        return self.job.products * self.product_s

    @property
    def written_bytes(self) -> float:
        """Bytes that all products keep: outputs, and features."""
        return self.job.products * sum(self.bytes.values())


def plan_capacity(job: ScoringJob, workers: int, rates: Rates, prices: Prices) -> CapacityPlan:
    """Return what a number of workers comes to.

    Raises:
        UsageError: the number of workers is out of range, or no task of Fargate is large enough.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"{workers:,} workers cannot be planned for: give 1 to {MOST_WORKERS:,}")
    return _Arithmetic(job, workers, rates, prices).plan()


@dataclass
class _Arithmetic:
    """The steps of one plan."""

    job: ScoringJob
    workers: int
    rates: Rates
    prices: Prices
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        rates, users = self.rates, self.job.users
        self.place = self.prices.place
        self.size = partition_size(users, rates.features, self.workers)
        self.partitions = -(-users // self.size)
        # What a partition may hold with so many users or fewer: see the module.
        self.longest = min(users, max(self.size, *_bounds(users, rates.features, self.workers)))
        written = {name: each * self.longest for name, each in rates.written_bytes.items()}
        self.asked = requests.of_partition(
            rates.read_bytes * self.longest, {**written, EFFECTS.name: rates.effects_bytes}
        )

    def plan(self) -> CapacityPlan:
        rates, place, job = self.rates, self.place, self.job
        task = self._task_seconds(job.users / self.partitions)
        watch = rates.watch + self.workers * rates.watch_worker
        work = self.partitions * task
        by_workers = work / self.workers + (1 - 1 / self.workers) * self._task_seconds(self.longest)
        by_scheduler = self.partitions * rates.task_s / place.vcpu_speed
        score = max(by_workers, by_scheduler)
        asked, merged = self._requests()
        seconds = {
            "start": place.task_start_seconds + rates.start_s / place.vcpu_speed,
            "load": rates.load_s / place.vcpu_speed + requests.OF_MODEL.all * place.request_seconds,
            "score": score,
            "commit": self._commit_seconds(),
        }
        written = {
            FEATURES.name: rates.read_bytes * job.users,
            **{name: each * job.users for name, each in rates.written_bytes.items()},
            EFFECTS.name: rates.effects_bytes * self.partitions,
        }
        every = asked + merged
        return CapacityPlan(
            job=job,
            workers=self.workers,
            worker=smallest(rates.worker_bytes),
            partitions=self.partitions,
            partition_rows=self.size,
            seconds=seconds,
            worker_s=self.workers * (rates.start_s + rates.load_s)
            + self.partitions * rates.partition_s
            + job.users * rates.user_s,
            client_s=self.partitions * rates.task_s + score * watch + self._commit_cpu(),
            tasks_a_second=self.partitions / score,
            most_tasks_a_second=place.vcpu_speed / rates.task_s if rates.task_s else math.inf,
            scheduler_bound=by_scheduler > by_workers,
            bytes=written,
            requests=every,
            requests_a_second=asked.times(1 / score),
            worker_bytes=rates.worker_bytes,
            dollars=self._dollars(sum(seconds.values()) - seconds["commit"], every, sum(written.values())),
        )

    def _task_seconds(self, rows: float) -> float:
        """Return the wall seconds of one partition on its worker."""
        rates, place = self.rates, self.place
        cpu = rates.partition_s + rows * rates.user_s
        moved = rates.effects_bytes + rows * (rates.read_bytes + sum(rates.written_bytes.values()))
        waits = self.asked.all * place.request_seconds
        return cpu / place.vcpu_speed + waits + moved / (1e6 * place.megabytes_a_second)

    def _requests(self) -> tuple[Requests, Requests]:
        """Return what workers ask of S3, and what the client asks when they are done."""
        asked = self.asked.times(self.partitions) + requests.OF_MODEL.times(self.workers)
        files = _PARTITION_FILES * self.partitions + _OTHER_FILES
        each = requests.of_merge(self._row_groups()) + requests.of_stamp(self.rates.read_bytes * self.longest)
        return asked, each.times(self.partitions) + requests.of_commit(files)

    def _row_groups(self) -> int:
        return math.ceil(self.longest / batch_rows(self.rates.features))

    def _commit_seconds(self) -> float:
        rates, place = self.rates, self.place
        one_by_one = self.partitions * requests.waits_of_merge(self._row_groups())
        listed = requests.of_commit(_PARTITION_FILES * self.partitions + _OTHER_FILES).all
        return (
            self._commit_cpu() / place.vcpu_speed
            + (one_by_one + listed) * place.request_seconds
            + rates.read_bytes * self.job.users / (1e6 * place.megabytes_a_second)
        )

    def _commit_cpu(self) -> float:
        rates, users = self.rates, self.job.users
        each_user = rates.merge_user_s + rates.read_bytes * rates.hash_byte_s
        return self.partitions * rates.merge_partition_s + users * each_user

    def _dollars(self, cluster_s: float, asked: Requests, written: float) -> dict[str, float]:
        fargate, spot, s3 = self.prices.fargate, self.prices.fargate_spot, self.prices.s3
        worker, products = smallest(self.rates.worker_bytes), self.job.products
        billed = max(cluster_s, fargate.minimum_seconds)
        scheduler = fargate.dollars(SCHEDULER.vcpus, SCHEDULER.gb, billed)
        workers = {
            name: self.workers * price.dollars(worker.vcpus, worker.gb, billed)
            for name, price in (("on demand", fargate), ("spot", spot))
        }
        return {
            **{name: products * (scheduler + dollars) for name, dollars in workers.items()},
            "requests": products
            * (asked.writes * s3.thousand_writes + asked.reads * s3.thousand_reads)
            / 1_000,
            "a month": products * written / 1e9 * s3.gb_month,
        }


def _bounds(users: int, features: int, workers: int) -> Sequence[int]:
    """Return sizes that partitions reach, for so many users or fewer, before there is one partition more."""
    largest = partition_size(_ENDLESS, features, 1)
    evenly = -(-users // (4 * workers))
    smallest = partition_size(20_000, features, MOST_WORKERS)  # below twice of it there is one partition
    return min(largest, evenly), min(largest, 2 * smallest)


@dataclass(frozen=True)
class Choice:
    """Which plan to follow."""

    plan: CapacityPlan  # with the fewest workers that meets the deadline, else the fastest
    meets: bool
    why: str = ""  # why more workers do not help, if it does not meet the deadline


def choose(job: ScoringJob, deadline_s: float, rates: Rates, prices: Prices) -> Choice:
    """Return the plan with the fewest workers that meets a deadline, for all products together.

    Raises:
        UsageError: the deadline is not above 0.
    """
    if not deadline_s > 0:
        raise UsageError(f"a deadline of {deadline_s:g} s cannot be met: give one above 0")
    fastest: CapacityPlan | None = None
    for workers in range(1, MOST_WORKERS + 1):
        found = plan_capacity(job, workers, rates, prices)
        if found.wall_s <= deadline_s:
            return Choice(found, True)
        if fastest is None or found.wall_s < fastest.wall_s:
            fastest = found
    assert fastest is not None
    return Choice(fastest, False, _why(fastest, deadline_s))


def _why(fastest: CapacityPlan, deadline_s: float) -> str:
    """Say what keeps the fastest plan from meeting the deadline."""
    seconds, products = fastest.seconds, fastest.job.products
    fixed = products * (seconds["start"] + seconds["load"])
    if fixed >= deadline_s:
        return f"starting clusters takes {fixed:,.0f} s by itself, for {products} product(s) one by one"
    if fastest.scheduler_bound:
        return (
            f"the scheduler hands out {fastest.most_tasks_a_second:,.0f} partitions a second at most, and "
            f"there are {fastest.partitions:,}"
        )
    if seconds["commit"] > seconds["score"]:
        of = "" if products == 1 else f" each of {products} products"
        return (
            f"starting and committing{of} takes {fastest.product_s - seconds['score']:,.0f} s, whatever the "
            f"workers: to commit, the client reads all features once more, for their stamps, and the sums of "
            f"{fastest.partitions:,} partitions"
        )
    return (
        f"more workers than {fastest.workers:,} gain less in scoring than their further partitions cost at "
        "the commit"
    )


def around(job: ScoringJob, chosen: int, rates: Rates, prices: Prices) -> list[CapacityPlan]:
    """Return plans for fewer and for more workers than chosen, with the chosen one, by workers."""
    numbers = {1, max(1, chosen // 2), chosen, min(MOST_WORKERS, 2 * chosen), min(MOST_WORKERS, 4 * chosen)}
    return [plan_capacity(job, workers, rates, prices) for workers in sorted(numbers)]
