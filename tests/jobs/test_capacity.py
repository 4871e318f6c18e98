"""The capacity plan: its arithmetic, its price file, its calibration on the real engine, and its command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from churn.config.cluster import ClusterSettings
from churn.core.errors import ConfigError, UsageError
from churn.dataset.unload import partition_size
from churn.jobs.capacity import requests
from churn.jobs.capacity.calibrate import Calibration, calibrate
from churn.jobs.capacity.model import (
    MOST_WORKERS,
    SCHEDULER,
    CapacityPlan,
    ScoringJob,
    around,
    choose,
    plan_capacity,
)
from churn.jobs.capacity.prices import Prices, read_prices
from churn.jobs.capacity.rates import Rates
from churn.jobs.capacity.requests import PART_BYTES, Requests
from churn.jobs.capacity.sample import LEAST_FEATURES, Shape
from churn.jobs.capacity.sizes import Size, smallest
from churn.jobs.capacity.wording import assumptions
from flows.commands.capacity import in_words, span
from tests.support.command_line import exit_code

PRICES = read_prices()
RATES = Rates(
    features=150,
    trees=300,
    depth=6,
    user_s=20e-6,
    partition_s=0.02,
    load_s=0.6,
    start_s=1.2,
    start_wall_s=3.0,
    task_s=0.003,
    watch=0.02,
    watch_worker=0.01,
    merge_partition_s=0.01,
    merge_user_s=1e-7,
    hash_byte_s=1e-9,
    tasks_a_second=300.0,
    read_bytes=400.0,
    written_bytes={"scores": 32.0, "reasons": 58.0, "shap": 571.0},
    effects_bytes=50_000.0,
    worker_bytes=380e6,
    stages={"explain": 7e-6, "write": 6e-6},
)
FREE = PRICES.place.model_copy(update={"request_seconds": 0.0})


@st.composite
def measured(draw: st.DrawFn) -> Rates:
    """Rates of a machine where 5,000 users outweigh a partition, as the size of partitions takes for granted."""
    user_s = draw(st.floats(1e-6, 1e-3))
    return replace(
        RATES,
        features=draw(st.integers(LEAST_FEATURES, 2_000)),
        user_s=user_s,
        partition_s=draw(st.floats(0, 5_000)) * user_s,
        load_s=draw(st.floats(0, 10)),
        task_s=draw(st.floats(1e-5, 0.1)),
        merge_partition_s=draw(st.floats(0, 0.1)),
        read_bytes=draw(st.floats(1, 1e4)),
        written_bytes={"scores": draw(st.floats(1, 1e3)), "shap": draw(st.floats(1, 1e4))},
        effects_bytes=draw(st.floats(0, 1e5)),
    )


users = st.integers(1, 200_000_000)
workers = st.integers(1, MOST_WORKERS)
places = st.sampled_from([PRICES, PRICES.model_copy(update={"place": FREE})])


# --- the arithmetic ---


@given(measured(), places, users, users, workers, st.integers(1, 5))
def test_more_users_are_never_done_sooner_or_for_less(
    rates: Rates, prices: Prices, one: int, other: int, workers: int, products: int
) -> None:
    fewer, more = (
        plan_capacity(ScoringJob(count, products), workers, rates, prices) for count in sorted([one, other])
    )
    assert fewer.wall_s <= more.wall_s * (1 + 1e-9)
    assert fewer.worker_s <= more.worker_s * (1 + 1e-9)
    assert fewer.written_bytes <= more.written_bytes * (1 + 1e-9)
    for what, dollars in fewer.dollars.items():
        assert dollars <= more.dollars[what] * (1 + 1e-9), what


@given(measured(), users, workers, workers)
def test_more_workers_never_score_slower_unless_the_scheduler_is_the_limit(
    rates: Rates, users: int, one: int, other: int
) -> None:
    prices = PRICES.model_copy(update={"place": FREE})
    few, many = (plan_capacity(ScoringJob(users), count, rates, prices) for count in sorted([one, other]))
    assume(not many.scheduler_bound)
    assert many.seconds["score"] <= few.seconds["score"] * (1 + 1e-9)


@given(measured(), users, workers)
def test_the_scheduler_bound_is_the_scheduler_s_time_for_every_partition(
    rates: Rates, users: int, workers: int
) -> None:
    found = plan_capacity(ScoringJob(users), workers, rates, PRICES)
    assert found.seconds["score"] >= found.partitions * rates.task_s * (1 - 1e-9)
    assert found.scheduler_bound == (found.tasks_a_second > found.most_tasks_a_second * (1 - 1e-9))


@given(users, workers)
def test_partitions_are_those_of_a_run(users: int, workers: int) -> None:
    found = plan_capacity(ScoringJob(users), workers, RATES, PRICES)
    assert found.partition_rows == partition_size(users, RATES.features, workers)
    assert (found.partitions - 1) * found.partition_rows < users <= found.partitions * found.partition_rows


@given(measured(), st.integers(1, 50_000_000), st.integers(1, 3), st.floats(90, 7_200))
def test_the_chosen_workers_meet_the_deadline_and_one_fewer_does_not(
    rates: Rates, users: int, products: int, deadline: float
) -> None:
    job = ScoringJob(users, products)
    found = choose(job, deadline, rates, PRICES)
    if found.meets:
        assert found.plan.wall_s <= deadline
        assert found.plan == plan_capacity(job, found.plan.workers, rates, PRICES)
        if found.plan.workers > 1:
            assert plan_capacity(job, found.plan.workers - 1, rates, PRICES).wall_s > deadline
        assert not found.why
    else:
        assert found.plan.wall_s > deadline
        assert found.why


@given(measured(), st.integers(1, 10_000_000), st.integers(1, 10_000_000), st.floats(100, 3_600))
def test_more_users_never_need_fewer_workers(rates: Rates, one: int, other: int, deadline: float) -> None:
    fewer, more = (choose(ScoringJob(count), deadline, rates, PRICES) for count in sorted([one, other]))
    assume(more.meets)
    assert fewer.meets
    assert fewer.plan.workers <= more.plan.workers


@given(measured(), users, workers, st.integers(1, 4))
def test_dollars_are_prices_times_hours(rates: Rates, users: int, workers: int, products: int) -> None:
    found = plan_capacity(ScoringJob(users, products), workers, rates, PRICES)
    cluster_s = found.product_s - found.seconds["commit"]
    hours = products * max(cluster_s, PRICES.fargate.minimum_seconds) / 3600
    fargate, spot = PRICES.fargate, PRICES.fargate_spot
    scheduler = hours * (SCHEDULER.vcpus * fargate.vcpu_hour + SCHEDULER.gb * fargate.gb_hour)
    for name, price in (("on demand", fargate), ("spot", spot)):
        each = hours * (found.worker.vcpus * price.vcpu_hour + found.worker.gb * price.gb_hour)
        assert found.dollars[name] == pytest.approx(scheduler + workers * each)
    asked = found.requests
    per = PRICES.s3.thousand_writes * asked.writes + PRICES.s3.thousand_reads * asked.reads
    assert found.dollars["requests"] == pytest.approx(products * per / 1_000)
    kept = products * sum(found.bytes.values()) / 1e9
    assert found.dollars["a month"] == pytest.approx(kept * PRICES.s3.gb_month)


def test_twice_the_prices_are_twice_the_dollars() -> None:
    twice = Prices.model_validate(
        {
            **PRICES.model_dump(),
            "fargate": {"vcpu_hour": 0.08096, "gb_hour": 0.00889, "minimum_seconds": 60},
        }
    )
    once, double = (plan_capacity(ScoringJob(1_000_000), 4, RATES, prices) for prices in (PRICES, twice))
    assert double.dollars["on demand"] == pytest.approx(2 * once.dollars["on demand"])
    assert double.wall_s == once.wall_s


def test_a_slower_place_takes_longer_in_the_part_that_it_slows() -> None:
    def seconds(**changes: float) -> dict[str, float]:
        place = PRICES.place.model_copy(update=changes)
        return dict(
            plan_capacity(ScoringJob(5_000_000), 4, RATES, PRICES.model_copy(update={"place": place})).seconds
        )

    usual = seconds()
    assert seconds(task_start_seconds=120)["start"] == usual["start"] + 60
    assert seconds(vcpu_speed=0.5)["score"] > usual["score"]
    assert seconds(megabytes_a_second=10)["score"] > usual["score"]
    assert seconds(megabytes_a_second=10)["commit"] > usual["commit"]
    assert seconds(megabytes_a_second=10)["load"] == usual["load"]
    assert seconds(request_seconds=0.1)["commit"] > usual["commit"]


@pytest.mark.parametrize(
    ("deadline", "changes", "told"),
    [
        (30, {}, "starting clusters takes 62 s by itself"),
        (150, {"task_s": 1.0}, r"the scheduler hands out 1 partitions a second at most, and there are 157"),
        (70, {"user_s": 1e-9}, r"starting and committing takes 2\d\d s, whatever the workers"),
    ],
)
def test_a_deadline_that_nobody_meets_is_refused_with_the_reason(
    deadline: float, changes: dict[str, float], told: str
) -> None:
    found = choose(ScoringJob(25_000_000), deadline, replace(RATES, **changes), PRICES)
    assert not found.meets
    assert re.search(told, found.why)


def test_other_plans_are_shown_around_the_chosen_one() -> None:
    shown = around(ScoringJob(25_000_000), 8, RATES, PRICES)
    assert [each.workers for each in shown] == [1, 4, 8, 16, 32]
    assert all(isinstance(each, CapacityPlan) for each in shown)


@pytest.mark.parametrize(
    "job",
    [(0, 1), (-1, 1), (10**10, 1), (1, 0), (1, 101)],
    ids=lambda job: f"{job[0]} users, {job[1]} products",
)
def test_jobs_that_are_none_are_refused(job: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="cannot be planned for"):
        ScoringJob(*job)


@pytest.mark.parametrize("workers", [0, MOST_WORKERS + 1])
def test_numbers_of_workers_that_are_none_are_refused(workers: int) -> None:
    with pytest.raises(UsageError, match="workers cannot be planned for"):
        plan_capacity(ScoringJob(1), workers, RATES, PRICES)


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_deadlines_that_are_none_are_refused(deadline: float) -> None:
    with pytest.raises(UsageError, match="deadline"):
        choose(ScoringJob(1), deadline, RATES, PRICES)


@pytest.mark.parametrize("changes", [{"user_s": 0.0}, {"task_s": -1.0}, {"worker_bytes": float("nan")}])
def test_rates_that_nobody_can_measure_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"cannot be: {next(iter(changes))}"):
        replace(RATES, **changes)


# --- sizes of tasks ---


def test_a_worker_gets_the_smallest_task_that_fits_with_half_of_its_peak_to_spare() -> None:
    assert smallest(380e6) == Size(1, 2)
    assert smallest(2 * (1 << 30)) == Size(1, 3)
    assert smallest(6 * (1 << 30)) == Size(2, 9)
    with pytest.raises(UsageError, match="no Fargate task"):
        smallest(100e9)


# --- requests ---


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_an_upload_takes_one_request_or_a_part_each_with_beginning_and_end(one: float, other: float) -> None:
    less, more = sorted([one, other])
    assert requests.of_upload(less) <= requests.of_upload(more)
    assert requests.of_upload(PART_BYTES - 1) == 1
    assert requests.of_upload(PART_BYTES + 1) == 4


def test_requests_add_up() -> None:
    assert Requests(1, 2) + Requests(3, 4).times(2) == Requests(7, 10)
    assert Requests(1, 2).all == 3


# --- prices ---


def test_the_price_file_that_comes_with_the_program_is_dated_and_for_ireland() -> None:
    assert PRICES.region == "eu-west-1"
    assert PRICES.as_of.year >= 2026
    assert PRICES.fargate_spot.vcpu_hour < PRICES.fargate.vcpu_hour


def changed(path: Path, old: str, new: str) -> Path:
    text = (Path(requests.__file__).parent / "prices.toml").read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    return path


def test_an_edited_copy_of_the_price_file_is_read(tmp_path: Path) -> None:
    path = changed(tmp_path / "mine.toml", "vcpu_hour = 0.04048", "vcpu_hour = 0.05")
    assert read_prices(path).fargate.vcpu_hour == 0.05


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[s3] ", "[s3", "is not TOML"),
        ("gb_month", "gb_year", r"s3\.gb_month: Field required\n.*s3\.gb_year: Extra inputs"),
        ("vcpu_hour = 0.04048", "vcpu_hour = -1", r"fargate\.vcpu_hour"),
        ("vcpu_hour = 0.04048", "vcpu_hour = nan", r"fargate\.vcpu_hour"),
        ("vcpu_speed = 1.0", "vcpu_speed = 0", r"place\.vcpu_speed"),
        ("as_of = 2026-11-23", 'as_of = "lately"', "as_of"),
    ],
)
def test_a_broken_price_file_is_named_with_its_faults(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = changed(tmp_path / "mine.toml", old, new)
    with pytest.raises(ConfigError, match=re.compile(told, re.S)) as caught:
        read_prices(path)
    assert str(path) in str(caught.value)


def test_a_price_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read \(No such file"):
        read_prices(tmp_path / "none.toml")


# --- calibration ---


@given(st.integers(LEAST_FEATURES, 2_000))
def test_a_sample_has_as_many_features_as_asked_for_and_every_kind(features: int) -> None:
    shape = Shape(features)
    assert len(shape.names) == len(set(shape.names)) == features
    assert all([shape.amounts, shape.shares, shape.counts, shape.categories])


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((LEAST_FEATURES - 1, 10, 3), "features are too few"),
        ((4_001, 10, 3), "more than can be planned for"),
        ((20, 0, 3), "0 trees cannot be"),
        ((20, 5_001, 3), "5,001 trees cannot be"),
        ((20, 10, 0), "depth 0 cannot be"),
        ((20, 10, 11), "depth 11 cannot be"),
    ],
)
def test_models_that_cannot_be_measured_are_refused_before_anything_is_made(
    size: tuple[int, int, int], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        calibrate(*size)


@pytest.fixture(scope="module")
def rates() -> Rates:
    return calibrate(12, 5, 3, Calibration(small=100, large=3_000, smalls=2, larges=1, rounds=2, tasks=20))


@pytest.mark.process
@pytest.mark.server
def test_a_calibration_measures_the_real_engine(rates: Rates) -> None:
    assert (rates.features, rates.trees, rates.depth) == (12, 5, 3)
    assert set(rates.written_bytes) == {"scores", "shap", "reasons"}
    assert {"read", "encode", "explain", "check", "reasons", "summary", "write"} == set(rates.stages)
    assert 0 < rates.user_s < 0.01
    assert 20 < rates.read_bytes < 200  # 16 bytes of an id, and 11 numbers
    assert 16 < rates.written_bytes["shap"] < 200
    assert 50e6 < rates.worker_bytes < 2e9
    assert 0 < rates.start_s < 60
    assert rates.tasks_a_second > 1
    assert 0 <= rates.watch < 1
    assert 0 <= rates.watch_worker < 1
    assert choose(ScoringJob(1_000_000), 3_600, rates, PRICES).meets


# --- the command ---


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)

    def call_(*arguments: str) -> tuple[int, str, str]:
        return exit_code(["plan", *arguments]), *capsys.readouterr()

    return call_


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--features", "20"], 2, "Missing option '--users'"),
        (["--users", "0"], 2, "0 users cannot be planned for"),
        (["--users", "10", "--products", "0"], 2, "0 products cannot be planned for"),
        (["--users", "10", "--deadline", "soon"], 2, "--deadline 'soon' is no time: give one such as 90s"),
        (["--users", "10", "--deadline", "0m"], 2, "--deadline '0m' is no time"),
        (["--users", "10", "--features", "3"], 2, "3 features are too few"),
        (["--users", "10", "--price-file", "none.toml"], 1, "none.toml cannot be read"),
        (["--users", "10", "--json", "no/such/folder.json"], 1, "folder.json cannot be written"),
        (["--users", "10", "--features", "1000000"], 2, "1,000,000 features are more than"),
        (["--users", "10", "--trees", "0"], 2, "0 trees cannot be planned for"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, arguments: list[str], code: int, told: str) -> None:
    got, out, err = call(*arguments)
    assert (got, out) == (code, "")
    assert told in err
    assert "Traceback" not in err
    assert "Measuring" not in err, "nobody waits for it"


@pytest.fixture
def quick(rates: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the tiny calibration above, instead of 20 seconds for each call."""
    monkeypatch.setattr("churn.jobs.capacity.calibrate.calibrate", lambda features, trees, depth: rates)


@pytest.mark.usefixtures("quick")
def test_the_command_prints_the_plan_and_writes_its_figures(call, tmp_path: Path, rates: Rates) -> None:
    code, out, _ = call(
        "--users", "25_000_000", "--products", "2", "--deadline", "1h30m", "--json", "plan.json"
    )
    assert code == 0
    found = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    expected = choose(ScoringJob(25_000_000, 2), 5_400, rates, PRICES)
    assert found["meets_deadline"]
    assert found["plan"]["workers"] == expected.plan.workers
    assert found["plan"]["dollars"]["spot"] == pytest.approx(expected.plan.dollars["spot"])
    assert found["prices"]["as_of"] == f"{PRICES.as_of}"
    assert found["assumptions"]
    assert f"{expected.plan.workers:,} worker(s) meet the deadline of 1h30m." in out
    assert f"as of {PRICES.as_of}" in out
    for shown in ("partitions", "$ on demand", "$ Spot", "S3 requests", "Assumptions:", "a user"):
        assert shown in out


@pytest.mark.usefixtures("quick")
def test_the_command_says_why_no_number_of_workers_is_enough(call) -> None:
    code, out, _ = call("--users", "25000000", "--deadline", "30s")
    assert code == 0
    assert "No number of workers meets the deadline of 30s: starting clusters takes" in out


@pytest.mark.usefixtures("quick")
def test_a_file_that_cannot_be_written_is_named(call) -> None:
    code, _, err = call("--users", "1000", "--json", "no/such/folder.json")
    assert code == 1
    assert "no/such/folder.json cannot be written" in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("45m", 2_700), ("1h", 3_600), ("1h30m", 5_400), (" 1h1m1s ", 3_661)]
)
def test_times_are_read(text: str, seconds: int) -> None:
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "1", "1d", "h", "-1h", "1m1h", "1.5h"])
def test_texts_that_are_no_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        span(text)


def test_times_are_told_in_words() -> None:
    assert [in_words(seconds) for seconds in (0.4, 59.6, 127, 3_900)] == [
        "0 m 00 s",
        "1 m 00 s",
        "2 m 07 s",
        "1 h 05 m",
    ]


# --- what is said ---


def test_a_busy_machine_and_a_busy_store_are_said() -> None:
    calm = plan_capacity(ScoringJob(25_000_000), 4, RATES, PRICES)
    usual = assumptions(calm, RATES, PRICES)
    assert not [said for said in usual if "busy" in said or "503" in said]
    busy = replace(RATES, load_average=7.0, cores=2)
    assert "busy while it was measured (load 7.0 on 2 cores)" in assumptions(calm, busy, PRICES)[-1]
    slow = PRICES.model_copy(update={"place": PRICES.place.model_copy(update={"writes_a_second": 0.1})})
    assert any("503" in said for said in assumptions(calm, RATES, slow))


def test_training_is_left_out_and_its_size_is_said() -> None:
    said = " ".join(assumptions(plan_capacity(ScoringJob(25_000_000), 4, RATES, PRICES), RATES, PRICES))
    assert "Left out: the SQL and the UNLOAD, training" in said
    assert "14.0 GiB" in said


def test_the_plan_is_for_workers_that_the_settings_can_ask_for() -> None:
    found = plan_capacity(ScoringJob(1_000_000), 3, RATES, PRICES)
    assert ClusterSettings(workers=found.workers).threads_per_worker == 1
