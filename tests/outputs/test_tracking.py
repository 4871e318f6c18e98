import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.core.errors import RunError, UsageError
from churn.core.redaction import mask_secrets
from churn.outputs.tracking import Champion, LoggedRun, champion, initialise, is_logged, log_run
from tests.support.disks import mounted

REPOSITORY = Path(__file__).parents[2]
AS_OF = date(2026, 6, 28)


class Store:
    """A real MLflow on SQLite, with a committed run's artefacts beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.model = folder / "run/model"
        self.model.mkdir(parents=True)
        (self.model / "model.json").write_text('{"features": []}')
        (self.model / "booster.ubj").write_bytes(b"trees")
        self.chart = folder / "run/charts/gain.svg"
        self.chart.parent.mkdir()
        self.chart.write_text("<svg/>")

    def log(self, product: str, run_id: str, as_of: date = AS_OF, **changes: Any) -> LoggedRun:
        values: dict[str, Any] = {
            "params": {"depth": 4, "learning_rate": 0.03},
            "metrics": {"auc": 0.8, "log_loss": 0.4},
            "tags": {"code_version": "0.1.0"},
            "artifacts": [self.model, self.chart],
        }
        values |= changes
        return log_run(
            self.uri, str(self.folder / "mlflow"), product=product, run_id=run_id, as_of=as_of, **values
        )

    @property
    def client(self) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def champion(self, product: str) -> Champion:
        found = champion(self.uri, product)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("a b%20#é"))


@pytest.mark.process
def test_a_run_is_logged_with_its_model_registered_as_champion(store: Store) -> None:
    logged = store.log("food", "20260629t180000z-aaaaaa")

    assert (logged.model_name, logged.model_version) == ("churn-food", "1")
    run = store.client.get_run(logged.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "20260629t180000z-aaaaaa"
    assert run.data.params == {"depth": "4", "learning_rate": "0.03"}
    assert run.data.metrics == {"auc": 0.8, "log_loss": 0.4}
    assert {
        "product": "food",
        "as_of": "2026-06-28",
        "code_version": "0.1.0",
    }.items() <= run.data.tags.items()
    assert {file.path for file in store.client.list_artifacts(logged.mlflow_run_id)} == {"model", "gain.svg"}
    artefacts = store.folder / "mlflow/churn-food" / logged.mlflow_run_id / "artifacts"
    assert (artefacts / "model/booster.ubj").read_bytes() == b"trees"
    best = store.champion("food")
    assert (best.model_version, best.run_id, best.as_of) == ("1", "20260629t180000z-aaaaaa", AS_OF)
    assert best.source == f"{artefacts.as_uri()}/model"


def test_logging_a_run_again_renews_it_and_makes_no_second_one(store: Store) -> None:
    first = store.log("twice", "r1")
    (store.model / "model.json").write_text('{"features": ["x"]}')
    second = store.log("twice", "r1", metrics={"auc": 0.9}, tags={"note": "again"})

    assert second == first
    experiment = store.client.get_experiment_by_name("churn-twice")
    assert len(store.client.search_runs([experiment.experiment_id])) == 1
    assert len(store.client.search_model_versions("name = 'churn-twice'")) == 1
    run = store.client.get_run(first.mlflow_run_id)
    assert run.data.metrics == {"auc": 0.9, "log_loss": 0.4}
    assert run.data.tags["note"] == "again"
    assert (
        "x" in (store.folder / f"mlflow/churn-twice/{run.info.run_id}/artifacts/model/model.json").read_text()
    )


def test_a_parameter_that_changed_is_refused(store: Store) -> None:
    store.log("changed", "r1")
    with pytest.raises(UsageError, match="depth of run r1 was logged as '4' and is now '5'"):
        store.log("changed", "r1", params={"depth": 5})


def test_a_run_that_was_cut_off_is_continued(store: Store) -> None:
    experiment = store.client.create_experiment("churn-cut", (store.folder / "mlflow/churn-cut").as_uri())
    begun = store.client.create_run(experiment, tags={"run_id": "r1"}).info.run_id
    assert store.log("cut", "r1").mlflow_run_id == begun
    assert store.client.get_run(begun).info.status == "FINISHED"


def test_champion_is_the_newest_as_of_date_and_never_goes_back(store: Store) -> None:
    store.log("moves", "20260622t180000z-000000", date(2026, 6, 21))
    newest = store.log("moves", "20260629t180000z-000000")
    store.log("moves", "20260630t090000z-000000", date(2026, 6, 14))
    store.log("moves", "20260622t180000z-000000", date(2026, 6, 21))
    assert store.champion("moves").model_version == newest.model_version

    forced = store.log("moves", "20260629t190000z-000000")
    assert store.champion("moves").model_version == forced.model_version


def test_a_champion_set_by_hand_to_a_foreign_version_is_explained_and_replaced(store: Store) -> None:
    store.log("hand", "r1")
    foreign = store.client.create_model_version("churn-hand", "file:///elsewhere", await_creation_for=0)
    store.client.set_registered_model_alias("churn-hand", "champion", foreign.version)
    with pytest.raises(RunError, match="was not registered by a run"):
        champion(store.uri, "hand")
    store.log("hand", "r2")
    assert store.champion("hand").run_id == "r2"


def test_runs_logged_at_once_are_each_logged_once(store: Store) -> None:
    initialise(store.uri)
    weeks = [date(2026, 6, 7), date(2026, 6, 28), date(2026, 6, 14), date(2026, 6, 28)]
    with ThreadPoolExecutor(4) as pool:
        logged = list(pool.map(lambda week: store.log("busy", f"r{week:%m%d}", week), weeks))

    assert logged[1] == logged[3]
    assert len({run.model_version for run in logged}) == 3
    assert store.champion("busy").as_of == date(2026, 6, 28)


def test_a_folder_that_moved_with_its_database_is_not_written_to_at_its_old_place(store: Store) -> None:
    first = store.log("moved", "r1")
    elsewhere = store.folder / "elsewhere"
    second = log_run(
        store.uri,
        str(elsewhere),
        product="moved",
        run_id="r2",
        as_of=date(2026, 7, 5),
        params={},
        metrics={},
        tags={},
        artifacts=[store.model],
    )
    assert (elsewhere / f"churn-moved/{second.mlflow_run_id}/artifacts/model/booster.ubj").exists()
    assert not (store.folder / "mlflow/churn-moved" / second.mlflow_run_id).exists()
    assert store.client.get_run(first.mlflow_run_id).data.tags["run_id"] == "r1"


def test_a_logged_run_is_known_until_its_model_is_removed(store: Store) -> None:
    logged = store.log("known", "r1")
    assert is_logged(store.uri, product="known", run_id="r1")
    assert not is_logged(store.uri, product="known", run_id="r2")
    assert not is_logged(store.uri, product="other", run_id="r1")
    store.client.delete_model_version(logged.model_name, logged.model_version)
    assert not is_logged(store.uri, product="known", run_id="r1")


@pytest.mark.process
def test_a_logged_run_is_found_in_the_file_without_mlflow(store: Store) -> None:
    store.log("quick", "r1")
    program = "import sys; from churn.outputs.tracking import is_logged\n"
    program += f"print(is_logged({store.uri!r}, product='quick', run_id='r1'), 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == "True False\n", done.stderr


def test_rows_of_users_are_not_logged(store: Store) -> None:
    rows = store.folder / "run/scores/part-00000.parquet"
    rows.parent.mkdir(exist_ok=True)
    rows.write_bytes(b"PAR1")
    for artefact in (rows, rows.parent):
        with pytest.raises(UsageError, match="rows of users, which must stay in the lake"):
            store.log("private", "r1", artifacts=[store.model, artefact])
    assert store.client.get_experiment_by_name("churn-private") is None


def test_wrong_artefacts_and_tags_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="no artefact is the model's folder"):
        store.log("wrong", "r1", artifacts=[store.chart])
    with pytest.raises(UsageError, match="does not exist"):
        store.log("wrong", "r1", artifacts=[store.model, store.folder / "gone.txt"])
    with pytest.raises(UsageError, match=r"mlflow\.user"):
        store.log("wrong", "r1", tags={"mlflow.user": "me"})


@given(product=st.text(max_size=12), run_id=st.text(max_size=12))
def test_unsafe_names_never_reach_mlflow(store: Store, product: str, run_id: str) -> None:
    with pytest.raises(UsageError):
        store.log(f"{product}'", run_id)
    with pytest.raises(UsageError):
        store.log("food", f"{run_id}'")
    with pytest.raises(UsageError):
        champion(store.uri, f"{product}'")


def test_champion_of_nothing_is_none_and_makes_no_file(store: Store, tmp_path: Path) -> None:
    initialise(store.uri)
    assert champion(store.uri, "unknown") is None
    assert champion(f"sqlite:///{tmp_path}/none.db", "food") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda file: file.write_bytes(b"this is not a database" * 100),
            "file is not a database; check that the file",
        ),
        (lambda file: file.mkdir(), "unable to open database file; check that the file"),
        (
            lambda file: sqlite3.connect(file).execute("CREATE TABLE experiments (x)"),
            "could not look for experiments in MLflow",
        ),
    ],
)
def test_a_file_that_is_no_tracking_database_is_explained_at_once(
    tmp_path: Path, make: Any, told: str
) -> None:
    make(tmp_path / "mlflow.db")
    began = time.monotonic()
    with pytest.raises(RunError, match=told):
        initialise(f"sqlite:///{tmp_path}/mlflow.db")
    assert time.monotonic() - began < 20  # MLflow by itself tries for 100 s


def test_a_file_where_the_folder_should_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RunError, match="a file stands where a folder should be"):
        initialise(f"sqlite:///{tmp_path}/out/deep/mlflow.db")


def test_a_server_that_does_not_answer_is_explained_without_the_password(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with pytest.raises(
        RunError,
        match=r"in MLflow at http://127\.0\.0\.1:9: it cannot be reached \(Connection refused\); check that "
        r"the server answers and that its credentials are right$",
    ) as caught:
        log_run(
            "http://me:canary@127.0.0.1:9",
            "s3://bucket/mlflow",
            product="food",
            run_id="r1",
            as_of=AS_OF,
            params={},
            metrics={},
            tags={},
            artifacts=[store.model],
        )
    assert "canary" not in f"{caught.value} {caught.value.__cause__}"
    assert time.monotonic() - began < 20  # MLflow by itself tries for 240 s
    assert caplog.records == []  # no "Retrying (Retry(total=6, ...", a line a try


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://me:pa/canary@127.0.0.1:1/mlflow", "postgresql://127.0.0.1:1/mlflow"),
        ("postgresql://me:pa@canary@127.0.0.1:1/mlflow", "postgresql://127.0.0.1:1/mlflow"),
        ("postgresql://me:pa?canary@127.0.0.1:1/mlflow", "postgresql://***"),
        ("postgresql://127.0.0.1:1/mlflow?user=me&password=canary", "postgresql://127.0.0.1:1/mlflow"),
        ("postgresql://me:canary/mlflow", "postgresql://***"),
        ("http://canary@127.0.0.1:9", "http://127.0.0.1:9"),
    ],
)
def test_a_password_is_hidden_wherever_it_stands_in_the_address(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 0)  # 10 tries take 100 s
    with pytest.raises(RunError) as caught:
        initialise(address)
    assert f"{told}: " in str(caught.value) or f"{told} is not a valid URI: write" in str(caught.value)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot open redshift://me:pa/ss@word@host/db at all", "cannot open redshift://***@host/db at all"),
        ("dsn is host=h password='two words' port=1", "dsn is host=h password=*** port=1"),
        ("s3://bucket/me@home is not there", "s3://bucket/me@home is not there"),
        ("sqlite:////data/me@home/mlflow.db is locked", "sqlite:////data/me@home/mlflow.db is locked"),
    ],
)
def test_what_looks_like_a_password_is_taken_out_of_a_message_and_nothing_else(text: str, told: str) -> None:
    assert mask_secrets(text) == told


@pytest.mark.server
def test_a_server_that_is_silent_is_given_up_after_as_long_as_the_person_has_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(RunError, match="it does not answer in time"):
            initialise(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - began < 9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "4m") as disk:
        yield disk


def test_a_full_disk_is_explained_and_the_run_logged_once_there_is_space(
    small_disk: Path, tmp_path: Path
) -> None:
    full = Store(small_disk)
    full.log("food", "r1")
    big = tmp_path / "model"
    shutil.copytree(full.model, big)
    (big / "booster.ubj").write_bytes(bytes(6_000_000))
    with pytest.raises(RunError, match=r"disk is full|No space left"):
        full.log("food", "r2", date(2026, 7, 5), artifacts=[big])
    assert full.champion("food").run_id == "r1"

    shutil.rmtree(small_disk / "mlflow")
    full.log("food", "r2", date(2026, 7, 5))
    assert full.champion("food").run_id == "r2"


@pytest.mark.process
def test_a_kill_during_the_set_up_leaves_nothing_that_the_next_one_trips_over(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from churn.outputs.tracking import initialise; initialise(sys.argv[1])",
            uri,
        ],
        cwd=REPOSITORY,
    )
    unfinished = tmp_path / ".mlflow.db.new"
    while not (unfinished.exists() and unfinished.stat().st_size > 100_000):
        assert process.poll() is None, "the set-up ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()

    initialise(uri)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


@pytest.mark.process
def test_a_process_that_logs_is_silent_calls_nobody_and_gives_nobody_away(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    home, here = tmp_path / "home-of-canary", tmp_path / "current-folder"
    home.mkdir()
    here.mkdir()
    code = """
import socket, sys
calls = []
def watch(event, arguments):
    asked = event in ("socket.getaddrinfo", "socket.gethostbyname")
    called = event == "socket.connect" and arguments[0].family != socket.AF_UNIX
    if asked or called or (event == "subprocess.Popen" and "git" in str(arguments[0])):
        calls.append((event, arguments))
sys.addaudithook(watch)
from datetime import date
from churn.outputs import tracking
assert "mlflow" not in sys.modules, "importing churn.outputs.tracking must be quick"
uri, root, model = sys.argv[1:]
tracking.initialise(uri)
for _ in range(2):
    tracking.log_run(uri, root, product="food", run_id="r1", as_of=date(2026, 6, 28), params={"depth": 4},
                     metrics={"auc": 0.8}, tags={}, artifacts=[model])
import time
time.sleep(0.3)
assert not calls, calls
"""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_CURRENT_TEST")
    }
    environment |= {
        "HOME": str(home),
        "USER": "canary-user",
        "LOGNAME": "canary-user",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONWARNINGS": "default",
        "DO_NOT_TRACK": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, store.uri, str(store.folder / "mlflow"), str(store.model)],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(here.iterdir()) == []
    assert list(home.iterdir()) == []
    database = (store.folder / "mlflow.db").read_bytes()
    for word in (b"canary", b"current-folder", b"mlflow.source", b"mlflow.user"):
        assert word not in database
