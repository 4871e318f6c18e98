"""A running scheduler by address: real processes over TCP with TLS, and the check of versions."""

import ssl

import dask.config
import pytest
from distributed import Client

from churn.config.cluster import ClusterSettings
from churn.core.errors import ConfigError, RunError
from churn.scoring.cluster.client import open_client
from churn.scoring.cluster.versions import PACKAGES, check_versions, compare, installed_versions
from churn.scoring.fanout import FanOut
from churn.scoring.scorer import score_partition
from tests.stand_ins.certificates import issue
from tests.stand_ins.dask_processes import dask_processes
from tests.support.small_models import partition_task, small_model, snapshots

pytestmark = pytest.mark.process

ADDRESS = "tls://127.0.0.1:9"
OTHER_PYTHON = """
import sys, types
import churn.scoring.cluster.versions
told = types.SimpleNamespace(major=3, minor=10)
churn.scoring.cluster.versions.sys = types.SimpleNamespace(version_info=told, modules=sys.modules)
"""


@pytest.fixture(scope="module")
def pair():
    return issue()


@pytest.fixture(scope="module")
def processes(tmp_path_factory, pair):
    """A scheduler and two workers that speak nothing but TLS."""
    variables = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    with dask_processes(tmp_path_factory.mktemp("tls"), pair, variables) as running:
        running.workers(["one", "two"])
        yield running


@pytest.fixture
def impatient():
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        yield


def test_partitions_are_scored_over_tls(processes, tmp_path):
    model = small_model()
    tasks = [partition_task(tmp_path, snapshots(300, i), model, index=i) for i in range(6)]
    with open_client(processes.settings) as client:
        client.wait_for_workers(2, timeout=60)
        assert {each.partition(":")[0] for each in client.nthreads()} == {"tls"}
        rows = FanOut(client).run(score_partition, tasks, key=lambda task: task.name)
    assert [row.rows for row in rows] == [300] * 6
    assert processes.started["scheduler"].poll() is None


@pytest.mark.parametrize("other", ["another authority", "expired"])
def test_a_certificate_that_the_authority_did_not_sign_or_that_is_over_is_refused(
    processes, tmp_path, impatient, other
):
    files = issue().write(tmp_path) if other == "another authority" else issue(days=-1).write(tmp_path)
    settings = ClusterSettings(kind="address", address=processes.address, **files)
    with (
        pytest.raises(RunError, match=r"no Dask scheduler answers at tls.*certificate"),
        open_client(settings),
    ):
        pass


def test_without_tls_nobody_gets_in(processes, impatient):
    plain = ClusterSettings(kind="address", address=processes.address.replace("tls:", "tcp:"))
    with pytest.raises(RunError, match="no Dask scheduler answers at tcp"), open_client(plain):
        pass
    with pytest.raises(ConfigError, match="give tls_ca, tls_cert and tls_key"):
        open_client(ClusterSettings(kind="address", address=ADDRESS)).__enter__()


def test_certificates_do_not_go_with_an_address_without_tls(tmp_path, pair):
    files = pair.write(tmp_path)
    with pytest.raises(ConfigError, match="does not speak TLS"):
        open_client(ClusterSettings(kind="address", address="tcp://127.0.0.1:9", **files)).__enter__()


def test_files_that_are_missing_or_are_no_certificates_are_named(tmp_path, pair):
    files = pair.write(tmp_path)
    for setting, name in (("tls_ca", "ca.pem"), ("tls_key", "key.pem")):
        missing = {**files, setting: tmp_path / "none" / name}
        with pytest.raises(ConfigError, match=rf"none/{name} cannot be read \(No such file"):
            open_client(ClusterSettings(kind="address", address=ADDRESS, **missing)).__enter__()
    (tmp_path / "key.pem").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"key\.pem cannot be read \(it is no PEM file"):
        open_client(ClusterSettings(kind="address", address=ADDRESS, **files)).__enter__()


def test_a_key_of_another_certificate_is_refused_and_not_shown(tmp_path, pair):
    files, other = pair.write(tmp_path), issue()
    (tmp_path / "key.pem").write_text(other.key)
    with pytest.raises(ConfigError, match=r"cannot be used \(KEY_VALUES_MISMATCH\)") as caught:
        open_client(ClusterSettings(kind="address", address=ADDRESS, **files)).__enter__()
    assert other.key.splitlines()[1] not in str(caught.value)
    assert not isinstance(caught.value.__cause__, ssl.SSLError)


# --- versions ---


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with dask_processes(tmp_path_factory.mktemp("plain")) as running:
        running.worker("same")
        yield running


def strange(running, name, text):
    """Start a worker that is not like the others: it runs this text before anything else is asked of it."""
    (running.folder / f"{name}.py").write_text(text)
    running.worker(name, "--preload", str(running.folder / f"{name}.py"))
    with Client(running.address, set_as_default=False) as client:
        running.workers([], client)
        client.wait_for_workers(2, timeout=60)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import churn; churn.__version__ = '9.9.9'", r"churn: \S+ \(client, scheduler, worker tcp.*\), 9\.9\.9 \(worker tcp"),
        ("import xgboost; xgboost.__version__ = '3.1.0'", r"xgboost: 3\.\S+ \(client, scheduler, .*\), 3\.1\.0 \(worker tcp"),
        (OTHER_PYTHON, r"python: 3\.\d+ \(client, scheduler, worker tcp.*\), 3\.10 \(worker tcp"),
        ("import sys; sys.modules['churn.scoring.cluster.versions'] = None", r"worker tcp\S+ has no version of this program"),
    ],
    ids=["churn", "xgboost", "python", "without this module"],
)  # fmt: skip
def test_nothing_is_scored_by_a_worker_of_another_version(plain, text, told):
    with open_client(plain.settings):
        pass  # the one that is the same
    strange(plain, "other", text)
    try:
        with pytest.raises(RunError, match=told) as caught, open_client(plain.settings):
            pass
        assert "one image" in str(caught.value)
    finally:
        plain.signal("other", 9)
        with Client(plain.address, set_as_default=False) as client:
            while len(plain.present(client)) > 1:
                pass


def test_a_scheduler_without_this_program_is_told(monkeypatch):
    class Stranger:
        def run_on_scheduler(self, _):
            raise ModuleNotFoundError("No module named 'churn'")

        def run(self, _, on_error):
            return {
                "tcp://10.0.0.7:1": ModuleNotFoundError("No module named 'churn'"),
                "tcp://10.0.0.8:1": OSError(),
            }

    with pytest.raises(RunError) as caught:
        check_versions(Stranger())
    assert "scheduler has no version of this program" in str(caught.value)
    assert "worker tcp://10.0.0.7:1 has no version" in str(caught.value)
    assert "10.0.0.8" not in str(caught.value)


def test_this_process_has_all_packages_that_are_compared():
    assert set(installed_versions()) == {"python", *PACKAGES}
    assert "none" not in installed_versions().values()


def test_many_workers_are_summed_up():
    versions = installed_versions()
    workers = {f"worker tcp://10.0.0.{i}:1": versions for i in range(9)}
    assert compare({"client": versions, **workers}) == []
    [fault] = compare({"client": {**versions, "numpy": "1.0"}, **workers})
    assert fault.startswith("numpy: 1.0 (client), ")
    assert fault.endswith("worker tcp://10.0.0.2:1, and 6 more workers)")
