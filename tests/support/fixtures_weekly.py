"""Fixtures: data of people who drift away, and runs of the weekly job on them in processes of their own."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flows.server.database import prepare_database
from tests.stand_ins.s3 import S3Server, environment
from tests.support.churn_runs import Runs
from tests.support.data_folders import AS_OF, EVENTS, write_table

FOUR = ("food", "bread", "fruit", "wine")  # which are all the same but for their names

_FOOD = """
source = "events"
partition_rows = 20
sql_memory = "1GB"

[products.empty]
title = "Empty"
match = ["nothing"]
"""
_SAME = """
[products.{name}]
title = "{title}"
match = ["food"]
[products.{name}.training]
sampling = "all"
max_trees = 30
"""
PRODUCTS = _FOOD + "".join(_SAME.format(name=name, title=name.title()) for name in FOUR)


def leaving_people(users: int = 150, weeks: int = 20, seed: int = 1) -> pa.Table:
    """Events of people who come with different rates, some of whom drift away."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.2, 0.98, users)
    leaves = rng.integers(6, 3 * weeks, users)
    week = np.arange(weeks)
    came = rng.random((users, weeks)) < rate[:, None] * np.where(week < leaves[:, None], 1, 0.3)
    who, when = np.nonzero(came)
    first = datetime.combine(AS_OF - timedelta(days=7 * weeks - 1), time_of_day(12))
    at = [
        first + timedelta(days=int(7 * week + day))
        for week, day in zip(when, rng.integers(0, 7, len(when)), strict=True)
    ]
    rows = len(who)
    return pa.table(
        {
            "user_id": [f"person-{user:05d}" for user in who],
            "product": ["food"] * rows,
            "occurred_at": at,
            "value": rng.gamma(2.0, 3.0, rows),
            "category": rng.choice(["fruit", "bread"], rows),
            "item_id": [f"item{number}" for number in rng.integers(0, 30, rows)],
            "device": pa.nulls(rows),
        }
    ).cast(EVENTS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of four products of the same people."""
    data = tmp_path_factory.mktemp("weekly") / "data"
    write_table(data, "events.activity", leaving_people())
    (data / "churn.toml").write_text(PRODUCTS, "utf-8")
    return data


@pytest.fixture(scope="session")
def prefect_home() -> Callable[[Path], Path]:
    """Makes homes of Prefect with an empty database: to migrate one takes longer than a small run."""

    def make(into: Path) -> Path:
        into.mkdir(parents=True, exist_ok=True)
        prepare_database(into / "prefect.db")
        return into

    return make


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Runs]:
    """Starts runs without Prefect's engine, all of them led to S3."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("CHURN_", "PREFECT_"))]:
            patch.delenv(name)
        for name, value in environment(s3_server.endpoint).items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        ours = {"PREFECT_HOME": str(folder / "prefect"), "CHURN_CLUSTER__WORKERS": "1"}
        started = Runs(folder, {**os.environ, **ours})
        try:
            assert started("products").code == 0
            yield started
        finally:
            started.close()
