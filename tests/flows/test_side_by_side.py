"""Products side by side: what each run makes, one that fails, one cluster for all, and a stop."""

import hashlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from churn.config.cluster import ClusterSettings
from churn.lake.lake import Lake
from churn.scoring.fanout import FanOut
from churn.scoring.threads import InProcess
from churn.scoring.workers import open_workers, shared_cluster
from tests.support.churn_runs import Runs
from tests.support.data_folders import AS_OF

pytestmark = pytest.mark.process
THREE = ("food", "bread", "wine")


def line(data: Path, out: Path, *products: str) -> list[str]:
    named = [argument for name in products for argument in ("--product", name)]
    return ["run", "--data", str(data), "--out", str(out), *named, "--as-of", f"{AS_OF}"]


def bytes_of(out: Path) -> dict[str, str]:
    """SHA-256 of what each product's run holds that does not name the run."""
    found = {}
    for run in Lake(str(out / "lake")).runs():
        run.verify(checksums=True)
        for folder in ("features", "shap"):
            for path in sorted(Path(run.path(folder)).iterdir()):
                if folder == "features":
                    found[f"{run.manifest.product} {path.name}"] = hashlib.sha256(
                        path.read_bytes()
                    ).hexdigest()
        for path in sorted(Path(run.path("model")).glob("*.*z")) + sorted(
            Path(run.path("model")).glob("*.ubj")
        ):
            found[f"{run.manifest.product} {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def in_order(runs: Runs, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("in_order") / "out"
    assert runs(*line(data, out, *THREE), environment={"CHURN_PRODUCTS_AT_ONCE": "1"}).code == 0
    return bytes_of(out)


def test_three_products_at_once_make_what_they_make_in_order(
    runs: Runs, data: Path, tmp_path: Path, in_order: dict[str, str]
) -> None:
    ended = runs(*line(data, tmp_path / "out", *THREE), environment={"CHURN_PRODUCTS_AT_ONCE": "3"})
    assert ended.code == 0, ended.err
    assert bytes_of(tmp_path / "out") == in_order
    begun = [ended.err.index(f"  {name}  ") for name in THREE]
    ends = [ended.err.rindex(f"  {name}  ") for name in THREE]
    assert max(begun) < min(ends), "they overlap"
    listed = re.findall(r"^(Food|Bread|Wine): report", ended.out, flags=re.M)
    assert listed == ["Food", "Bread", "Wine"]


def test_one_that_fails_does_not_keep_the_others(runs: Runs, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = runs(*line(data, out, "food", "empty", "wine"), environment={"CHURN_PRODUCTS_AT_ONCE": "2"})
    assert ended.code == 1
    assert "1 of 3 products failed" in ended.err
    assert "empty: " in ended.err
    assert "Traceback" not in ended.err
    assert {run.manifest.product for run in Lake(str(out / "lake")).runs()} == {"food", "wine"}


@pytest.mark.slow
def test_they_share_one_cluster_of_processes(
    runs: Runs, data: Path, tmp_path: Path, in_order: dict[str, str]
) -> None:
    cluster = {
        "CHURN_CLUSTER__PROCESSES": "true",
        "CHURN_CLUSTER__WORKERS": "2",
        "CHURN_PRODUCTS_AT_ONCE": "3",
    }
    ended = runs(*line(data, tmp_path / "out", *THREE), environment=cluster)
    assert ended.code == 0, ended.err
    assert bytes_of(tmp_path / "out") == in_order


def test_a_stop_ends_all_of_them_in_order(runs: Runs, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = runs.start(*line(data, out, *THREE), environment={"CHURN_PRODUCTS_AT_ONCE": "2"})
    deadline = time.monotonic() + 60
    while not list((out / "lake").glob(".staging/product=*/*/.train/*")) and time.monotonic() < deadline:
        time.sleep(0.02)

    os.kill(run, signal.SIGINT)
    ended = runs.wait(run)
    assert ended.code == 128 + signal.SIGINT, ended.err
    assert "stopped; nothing half-written is to be seen" in ended.err
    assert "Traceback" not in ended.err
    assert not [run for run in Lake(str(out / "lake")).runs() if run.manifest.status != "committed"]
    assert runs(*line(data, out, *THREE)).code == 0


def test_runs_within_a_shared_cluster_start_it_once_and_share_this_machine() -> None:
    small, large = 10, 10**9
    settings = ClusterSettings(workers=2)
    with shared_cluster(settings, 2):
        with open_workers(settings) as one, open_workers(settings) as two, open_workers(settings) as three:
            three.expect(small)
            assert three.runner() == InProcess(1)
            for each in (one, two):
                each.expect(large)
            runners = [each.runner() for each in (one, two)]
        assert all(isinstance(each, FanOut) for each in runners)
        assert runners[0].client is runners[1].client
        assert runners[0].client.status == "running", "the block's cluster outlives each run"
    assert runners[0].client.status == "closed"
