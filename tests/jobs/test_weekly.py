"""The weekly job from the command line to the last file, as a newcomer runs it: everything real, and once."""

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dask.dataframe
import duckdb
import mlflow.pyfunc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import flows.cli
from churn.config.load import load_settings
from churn.lake.lake import FOLDERS, Lake, Run
from churn.model.artifact import Model
from churn.warehouse.duckdb.client import DuckDBWarehouse
from tests.support.command_line import exit_code
from tests.support.data_folders import files_below

pytestmark = [pytest.mark.server, pytest.mark.process]

PRODUCTS = {"iplayer": "BBC iPlayer", "sounds": "BBC Sounds"}
AS_OF = date(2026, 6, 28)  # the last Sunday of the simulation
TARGET_WEEK = date(2026, 7, 6)
CHURN = Path(sys.executable).with_name("churn")

# A small audience: every user at every date, few trees, several partitions.
SETTINGS = {
    "CHURN_PARTITION_ROWS": "150",
    "CHURN_SQL_MEMORY": "1GB",
    "CHURN_CLUSTER__WORKERS": "1",
    "CHURN_PRODUCTS__IPLAYER__TRAINING__SAMPLING": "all",
    "CHURN_PRODUCTS__IPLAYER__TRAINING__MAX_TREES": "60",
    "CHURN_PRODUCTS__SOUNDS__TRAINING__SAMPLING": "all",
    "CHURN_PRODUCTS__SOUNDS__TRAINING__MAX_TREES": "60",
}
SCORE_COLUMNS = {
    "user_id": pa.string(),
    "target_week_start_date": pa.date32(),
    "learner_type": pa.string(),
    "learner_name": pa.string(),
    "predicted_probability": pa.float64(),
    "optimal_threshold": pa.float64(),
    "optimal_classification": pa.int32(),
    "score_datetime": pa.timestamp("us"),
    "as_of": pa.date32(),
    "run_id": pa.string(),
    "model_version": pa.string(),
    "margin": pa.float64(),
    "reason_1": pa.string(),
    "reason_2": pa.string(),
    "reason_3": pa.string(),
}
OF_ONE_RUN = ["run_id", "score_datetime"]

Call = Callable[..., tuple[int, str, str]]
Later = tuple[dict[str, Any], dict[str, Any], str]


@dataclass(frozen=True)
class Demo:
    """What ``churn demo`` said and left behind, as it was before anything else was run."""

    into: Path
    said: str
    progress: str
    runs: Mapping[str, Run]
    published: list[tuple[Any, ...]]

    @property
    def data(self) -> Path:
        return self.into / "data"

    @property
    def out(self) -> Path:
        return self.into / "out"


def environment(prefect_home: Path) -> dict[str, str]:
    ours = ("CHURN_", "PREFECT_", "MLFLOW_", "DASK_")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return outside | SETTINGS | {"PREFECT_HOME": str(prefect_home), "OMP_NUM_THREADS": "1"}


def published(out: Path) -> list[tuple[Any, ...]]:
    """The rows of the table that the warehouse's readers read."""
    with duckdb.connect(str(out / "warehouse.duckdb"), read_only=True) as warehouse:
        found = warehouse.sql(
            "select product, * exclude (product) from churn.scores"
            " order by product, target_week_start_date, user_id"
        )
        assert found.columns == ["product", *SCORE_COLUMNS]
        return found.fetchall()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    into = tmp_path_factory.mktemp("weekly") / "demo"
    program = [CHURN, "demo", "--users", "1500", "--weeks", "24", "--into", str(into)]
    done = subprocess.run(
        program,
        env=environment(into / "prefect"),
        capture_output=True,
        text=True,
        cwd=into.parent,
        umask=0o022,
    )
    assert done.returncode == 0, done.stderr
    lake = Lake(str(into / "out" / "lake"))
    runs = {name: run for name in PRODUCTS if (run := lake.current(name)) is not None}
    return Demo(into, done.stdout, done.stderr, runs, published(into / "out"))


@pytest.fixture
def call(demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a command that runs no flow in this process; returns exit code, standard output and error."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)

    def call_(*arguments: str) -> tuple[int, str, str]:
        return exit_code(arguments), *capsys.readouterr()

    return call_


@pytest.fixture(params=list(PRODUCTS))
def run(request: pytest.FixtureRequest, demo: Demo) -> Run:
    """The demo's run of each product."""
    return demo.runs[request.param]


def table(run: Run, dataset: str) -> pa.Table:
    """A dataset of a run, its partitions in order."""
    paths = sorted(Path(run.path(dataset)).glob("*.parquet"))
    return pa.concat_tables(pq.ParquetFile(path).read() for path in paths)


# --- who may read it ---


def test_nothing_that_a_run_writes_can_be_read_by_other_people(demo: Demo) -> None:
    wide = [path for path in [demo.into, *demo.into.rglob("*")] if path.lstat().st_mode & 0o077]
    assert wide == []
    assert (demo.into / "prefect").is_dir()


# --- what the command says ---


def test_progress_is_a_line_a_stage_and_each_warning_of_the_reports(demo: Demo) -> None:
    """What a run knows is said when it knows it: the report says no other warnings than the terminal."""
    lines = demo.progress.splitlines()
    told = [line for line in lines if line.startswith("  warning: ")]
    reports = {name: Path(run.path("charts", "report.json")) for name, run in demo.runs.items()}
    known = {name: json.loads(report.read_text("utf-8"))["warnings"] for name, report in reports.items()}
    assert any(known.values())
    assert told == [f"  warning: {name}: {sentence}" for name, each in known.items() for sentence in each]
    lines = [line for line in lines if line not in told]
    stage = (
        r"  (iplayer|sounds) +(prepare|train|score|publish)  +([a-z][\w ]*?\w)  +(?:[\d,]+ rows)? +[\d.]+ s"
    )
    matched = [re.fullmatch(stage, line) for line in lines]
    assert all(matched), [line for line, match in zip(lines, matched, strict=True) if not match]
    stages = {(match[1], match[3]) for match in matched if match}
    for name in PRODUCTS:
        assert {
            (name, stage)
            for stage in (
                "check sources",
                "aggregate weeks",
                "feature_rows",
                "snapshots",
                "check snapshots",
                "unload train",
            )
        } <= stages
        assert {
            (name, stage)
            for stage in ("train", "score and explain", "report and commit", "load scores", "log to MLflow")
        } <= stages


def test_the_summary_is_a_table_with_the_paths_below_it(demo: Demo) -> None:
    first, *rest = demo.said.splitlines()
    assert re.fullmatch(r"Simulated 1,500 users over 24 weeks \(2026-01-12 to 2026-06-28\): .*", first)
    heading = next(line for line in rest if "product" in line)
    assert re.split(r" {2,}", heading.strip()) == [
        "product", "users scored", "churn predicted", "log loss", "best possible", "AUC",
        "prepare s", "train s", "score s", "publish s",
    ]  # fmt: skip
    for name, title in PRODUCTS.items():
        row = next(line for line in rest if line.strip().startswith(title))
        users, churn, model, best, auc, *seconds = re.split(r" {2,}", row.strip())[1:]
        manifest = demo.runs[name].manifest
        assert int(users.replace(",", "")) == manifest.rows["scores"]
        assert churn == f"{manifest.metrics['mean_probability']:.1%}"
        assert model == f"{manifest.metrics['log_loss']:.4f}"
        assert best == f"{manifest.metrics['true_log_loss']:.4f}"
        assert auc == f"{manifest.metrics['auc']:.4f}"
        assert all(float(value) >= 0 for value in seconds)
        base = Path(demo.runs[name].base).relative_to(demo.into.parent)  # where the command was given
        assert f"{title}: report {base}/charts/report.html" in rest
        assert f"{' ' * len(title)}  scores {base}/scores" in rest


# --- the lake ---


def test_the_lake_holds_one_whole_run_a_product_and_nothing_else(demo: Demo) -> None:
    lake = demo.out / "lake"
    assert set(files_below(lake / ".staging")) == {f"product={name}/.lock" for name in PRODUCTS}
    assert {path.name for path in (lake / "runs").iterdir()} == {f"product={name}" for name in PRODUCTS}
    for name, run in demo.runs.items():
        product = lake / "runs" / f"product={name}"
        base = product / f"week_start={TARGET_WEEK}" / f"run={run.manifest.run_id}"
        assert str(base) == run.base
        assert {path.name for path in product.iterdir()} == {"current.json", f"week_start={TARGET_WEEK}"}
        assert {path.name for path in base.iterdir()} == {*FOLDERS, "manifest.json"}
        assert all(any((base / folder).iterdir()) for folder in FOLDERS)
        run.verify(checksums=True)


def test_current_names_the_run(run: Run) -> None:
    pointer = json.loads((Path(run.base).parents[1] / "current.json").read_text())
    expected = json.loads(run.manifest.model_dump_json(include=set(pointer)))
    assert pointer == expected
    assert pointer["run_id"] == run.manifest.run_id


def test_the_manifest_tells_what_the_run_was(run: Run) -> None:
    manifest = run.manifest
    assert (manifest.status, manifest.as_of, manifest.target_week_start) == ("committed", AS_OF, TARGET_WEEK)
    assert manifest.rows["scores"] > 200
    assert manifest.rows["training"] > 1_000
    figures = manifest.metrics
    assert figures["true_log_loss"] < figures["log_loss"] < figures["base_log_loss"]
    assert figures["auc"] > 0.6
    assert all(seconds >= 0 for seconds in manifest.seconds.values())


def test_all_datasets_hold_the_same_users_in_the_same_partitions(run: Run) -> None:
    folders = ("features", "scores", "shap", "reasons")
    names = {folder: sorted(path.name for path in Path(run.path(folder)).iterdir()) for folder in folders}
    expected = -(-run.manifest.rows["scores"] // int(SETTINGS["CHURN_PARTITION_ROWS"]))
    assert expected > 1
    assert names["scores"] == [f"part-{index:05d}.parquet" for index in range(expected)]
    assert all(found == names["scores"] for found in names.values())
    for name in names["scores"]:
        users = {
            folder: pq.ParquetFile(run.path(folder, name)).read(columns=["user_id"])["user_id"].to_pylist()
            for folder in folders
        }
        assert len(set(users["scores"])) == len(users["scores"])
        assert users["features"] == users["scores"] == users["shap"]
        assert users["reasons"] == [user for user in users["scores"] for _ in range(5)]


def test_scores_have_the_columns_that_their_readers_know(run: Run) -> None:
    scores = table(run, "scores")
    assert dict(zip(scores.schema.names, scores.schema.types, strict=True)) == SCORE_COLUMNS
    assert scores.schema.names == list(SCORE_COLUMNS)
    assert not any(scores[name].null_count for name in SCORE_COLUMNS)
    manifest = run.manifest
    assert scores.num_rows == manifest.rows["scores"] == len(set(scores["user_id"].to_pylist()))
    constant = {
        "target_week_start_date": TARGET_WEEK,
        "as_of": AS_OF,
        "run_id": manifest.run_id,
        "model_version": manifest.model_version,
        "score_datetime": manifest.started_at.replace(tzinfo=None),
    }
    for name, value in constant.items():
        assert scores[name].unique().to_pylist() == [value]


@pytest.mark.filterwarnings("ignore:The inplace keyword:Warning")  # Dask's own
def test_scores_open_with_readers_that_take_columns_from_folder_names(run: Run) -> None:
    files = sorted(Path(run.path("scores")).glob("*.parquet"))
    users = run.manifest.rows["scores"]
    assert pq.read_table(list(map(str, files)))["product"].unique().to_pylist() == [run.manifest.product]
    assert pq.read_table(run.path("scores")).num_rows == users
    opened = dask.dataframe.read_parquet(run.path("scores")).compute(scheduler="synchronous")
    assert set(opened["product"]) == {run.manifest.product}
    assert len(opened) == len(set(opened["user_id"])) == users


def test_probabilities_lie_between_0_and_1_and_follow_the_margin(run: Run) -> None:
    scores = table(run, "scores")
    probability = scores["predicted_probability"].to_numpy()
    assert ((probability > 0) & (probability < 1)).all()
    assert len(np.unique(probability)) > 20
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-scores["margin"].to_numpy())), rtol=1e-12)
    assert probability.mean() == pytest.approx(run.manifest.metrics["mean_probability"])
    above = probability >= scores["optimal_threshold"].to_numpy()
    np.testing.assert_array_equal(scores["optimal_classification"].to_numpy(), above)


def test_the_margin_is_the_bias_and_the_contributions_together(run: Run) -> None:
    shap = table(run, "shap")
    for name in sorted(Path(run.path("shap")).iterdir()):
        file = pq.ParquetFile(name)
        assert set(file.schema_arrow.metadata) >= {b"bias", b"model_version"}
    bias = float(shap.schema.metadata[b"bias"])
    assert shap.schema.names[0] == "user_id"
    assert set(shap.schema.types[1:]) == {pa.float32()}
    contributions = np.column_stack([shap[name].to_numpy() for name in shap.schema.names[1:]])
    margin = table(run, "scores")["margin"].to_numpy()
    assert np.abs(margin - bias - contributions.sum(axis=1, dtype=np.float64)).max() < 1e-4
    assert np.abs(contributions).max() > 0.1


def test_reasons_are_the_five_largest_contributions(run: Run) -> None:
    shap, reasons = table(run, "shap"), table(run, "reasons")
    assert reasons.schema.names == ["user_id", "rank", "feature", "value", "contribution", "sentence"]
    names = shap.schema.names[1:]
    contributions = np.column_stack([shap[name].to_numpy() for name in names])
    rows = reasons.num_rows // 5
    assert rows == shap.num_rows
    assert reasons["rank"].to_pylist() == [1, 2, 3, 4, 5] * rows
    told = reasons["contribution"].to_numpy().reshape(rows, 5)
    np.testing.assert_array_equal(np.abs(told), -np.sort(-np.abs(contributions), axis=1)[:, :5])
    column = np.array([names.index(name) for name in reasons["feature"].to_pylist()]).reshape(rows, 5)
    np.testing.assert_array_equal(told, np.take_along_axis(contributions, column, axis=1))


def test_the_model_in_the_run_gives_its_scores(run: Run) -> None:
    assert {path.name for path in Path(run.path("model")).iterdir()} >= {"xgboost.ubj", "model.json"}
    model = Model.load(run.path("model"))
    features = table(run, "features")
    assert features.schema.names[:2] == ["user_id", "as_of_date"]
    assert "churned" not in features.schema.names
    assert table(run, "shap").schema.names[1:] == list(model.schema.names)
    probability = model.probability(model.schema.encode(features))
    # Two sums of the same single-precision contributions in another order.
    np.testing.assert_allclose(
        probability, table(run, "scores")["predicted_probability"].to_numpy(), rtol=5e-6
    )


# --- warehouse, MLflow, Prefect, report ---


def test_the_warehouse_holds_each_score_once(demo: Demo) -> None:
    expected = [
        (name, *row.values())
        for name in sorted(PRODUCTS)
        for row in sorted(table(demo.runs[name], "scores").to_pylist(), key=lambda row: row["user_id"])
    ]
    assert demo.published == expected
    with duckdb.connect(str(demo.out / "warehouse.duckdb"), read_only=True) as warehouse:
        tables = warehouse.sql("select schema_name, table_name from duckdb_tables()").fetchall()
    published = {("churn", name) for name in ("published", "reasons", "schema_version", "scores")}
    kept = {name.rpartition("_")[0] for schema, name in tables if schema == "churn_kept"}
    assert {(schema, name) for schema, name in tables if schema != "churn_kept"} == published
    weeks = {"weeks", "files", "week_facts", "user_week", "user_item_week", "week_users"}
    lives = {"life_weeks", "user_life", "user_state"}
    assert kept == weeks | lives | {"feature_dates", "feature_rows"}


def test_mlflow_loads_the_champion_and_it_predicts_the_published_scores(demo: Demo, run: Run) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{demo.out / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model(f"models:/churn-{run.manifest.product}@champion")
    features = table(run, "features").drop_columns(["user_id", "as_of_date"])
    predicted = loaded.predict(features.to_pandas())
    np.testing.assert_array_equal(predicted, table(run, "scores")["predicted_probability"].to_numpy())
    assert loaded.metadata.signature.inputs.input_names() == features.column_names
    assert loaded.predict(loaded.input_example).shape == (1,)


def test_mlflow_knows_each_run_with_figures_and_model(demo: Demo, run: Run) -> None:
    with closing(sqlite3.connect(demo.out / "mlflow.db")) as mlflow:
        id_, status, artifacts = mlflow.execute(
            "select run_uuid, status, artifact_uri from runs where name = ?", [run.manifest.run_id]
        ).fetchone()
        figures = dict(mlflow.execute("select key, value from latest_metrics where run_uuid = ?", [id_]))
        versions = mlflow.execute(
            "select name, version from model_versions where run_id = ?", [id_]
        ).fetchall()
        champion = mlflow.execute(
            "select alias, version from registered_model_aliases where name = ?",
            [f"churn-{run.manifest.product}"],
        ).fetchall()
    assert status == "FINISHED"
    assert figures.pop("training_rows") > 0
    assert 0 < figures.pop("training_churn_rate") < 1
    assert figures == pytest.approx(
        {**run.manifest.metrics, **{f"rows_{name}": n for name, n in run.manifest.rows.items()}}
    )
    assert [name for name, _ in versions] == [f"churn-{run.manifest.product}"]
    assert ("champion", versions[0][1]) in champion
    folder = Path(artifacts.removeprefix("file://"))
    assert demo.out in folder.parents
    for file in ("model/xgboost.ubj", "model/model.json", "charts/report.html"):
        assert (folder / file).read_bytes() == Path(run.path(file)).read_bytes()


def test_prefect_shows_figures_and_the_place_of_the_report_and_no_link_to_a_file(
    demo: Demo, run: Run
) -> None:
    with closing(sqlite3.connect(demo.into / "prefect" / "prefect.db")) as prefect:
        found = prefect.execute(
            "select type, data from artifact where key = ?", [f"report-{run.manifest.product}"]
        ).fetchall()
    ((kind, data),) = found
    assert kind == "markdown"
    shown = json.loads(data)
    assert f"\n{run.path('charts', 'report.html')}\n" in shown
    assert f"| users scored | {run.manifest.rows['scores']:,} |" in shown
    assert "file://" not in shown


def test_prefect_saw_each_flow_complete_in_the_demos_own_folder(demo: Demo) -> None:
    with closing(sqlite3.connect(demo.into / "prefect" / "prefect.db")) as prefect:
        found = prefect.execute("select name, state_type from flow_run order by name").fetchall()
        states = {state for (state,) in prefect.execute("select state_type from task_run")}
    ours = {f"{name}-{AS_OF}" for name in PRODUCTS}
    assert {(name, "COMPLETED") for name in ours} <= set(found)
    assert states == {"COMPLETED"}


def test_prefect_shows_how_far_scoring_is_without_any_user(demo: Demo, run: Run) -> None:
    with closing(sqlite3.connect(demo.into / "prefect" / "prefect.db")) as prefect:
        found = prefect.execute(
            "select artifact.type, data, description, task_run.name from artifact"
            " join task_run on task_run.id = task_run_id where key = ?",
            [f"score-{run.manifest.product}"],
        ).fetchall()
    ((kind, percent, told, task),) = found
    assert (kind, float(percent)) == ("progress", 100)
    assert task.startswith("score")
    users, parts = run.manifest.rows["scores"], len(list(Path(run.path("scores")).iterdir()))
    assert re.fullmatch(
        rf"{parts} of {parts} partitions, {users:,} of {users:,} users, [\d,]+ users a second, 0 s left", told
    )


def test_the_report_is_about_the_product_and_knows_the_best_possible(run: Run) -> None:
    page = Path(run.path("charts", "report.html")).read_text("utf-8")
    figures = json.loads(Path(run.path("charts", "report.json")).read_text("utf-8"))
    assert PRODUCTS[run.manifest.product] in page
    assert "best possible" in page.lower()
    assert f"{run.manifest.metrics['true_log_loss']:.4f}" in page
    assert figures["holdout"]["true_log_loss"] == pytest.approx(run.manifest.metrics["true_log_loss"])
    assert figures["audience"]["users_scored"] == run.manifest.rows["scores"]
    assert sum(bin_["users"] for bin_ in figures["audience"]["histogram"]) == run.manifest.rows["scores"]
    assert {group["name"] for group in figures["groups_used"]} > {"profile", "content"}
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page), "it needs nothing from elsewhere"


def test_no_user_id_stands_anywhere_but_in_lake_and_warehouse(demo: Demo) -> None:
    profiles = pq.read_table(demo.data / "tables" / "prez.id_profile", columns=["bbc_hid3"])
    users = {user.encode() for user in profiles["bbc_hid3"].to_pylist()}
    assert len(users) == 1_500
    pattern = re.compile(rb"u\d{8}")
    assert all(pattern.fullmatch(user) for user in users)
    looked_at = set()
    for path in sorted(demo.into.rglob("*")):
        of_users = path.suffix == ".parquet" or path.name.startswith("warehouse.duckdb")
        if path.is_file() and not of_users:
            assert not users & set(pattern.findall(path.read_bytes())), path
            looked_at.add(path.name)
    assert {
        "report.html", "report.json", "manifest.json", "model.json", "xgboost.ubj", "features.json",
        "current.json", "mlflow.db", "prefect.db",
    } <= looked_at  # fmt: skip
    assert not users & set(pattern.findall((demo.said + demo.progress).encode()))


# --- what comes after the first run ---


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files_below(folder).items()}


def test_a_second_run_says_that_it_is_committed_and_changes_nothing(demo: Demo) -> None:
    before = hashes(demo.out / "lake"), hashes(demo.out / "mlflow"), published(demo.out)
    tracked = (demo.out / "mlflow.db").read_bytes()
    products = [argument for name in PRODUCTS for argument in ("--product", name)]
    places = ["--data", str(demo.data), "--out", str(demo.out), "--as-of", str(AS_OF)]
    done = subprocess.run(
        [CHURN, "run", *places, *products],
        env=environment(demo.into / "never"),
        capture_output=True,
        text=True,
        cwd=demo.into,
    )
    assert done.returncode == 0, done.stderr
    for name, run in demo.runs.items():
        assert f"{name}: run {run.manifest.run_id} is already committed for {AS_OF}" in done.stdout
    assert done.stderr == ""
    assert (hashes(demo.out / "lake"), hashes(demo.out / "mlflow"), published(demo.out)) == before
    assert (demo.out / "mlflow.db").read_bytes() == tracked
    assert not (demo.into / "never").exists(), "Prefect was not even started"


FROM_PYTHON = """
import json, sys
from datetime import date
from pathlib import Path
from flows.console import silence_libraries

data, out = Path(sys.argv[1]), Path(sys.argv[2])
if __name__ == "__main__":
    silence_libraries()
    from flows.cli import main
    from flows.weekly import weekly_churn

    made = weekly_churn(
        product="sounds", as_of=date(2026, 6, 21), data=data, out=out, settings={"partition_rows": 100}
    )
    print(json.dumps({"run_id": made.run_id, "users": made.users, "repeated": made.repeated}))

    import httpx
    from flows.weekly_all import weekly_all

    send, lost = httpx.Client.send, []

    def once_without_an_answer(client, request, **options):
        answer = send(client, request, **options)
        if request.url.path.endswith("/set_state") and b"COMPLETED" in request.content and not lost:
            lost.append(request.url.path)
            raise httpx.ReadTimeout("the answer is lost", request=request)
        return answer

    httpx.Client.send = once_without_an_answer
    (again,) = weekly_all(products=["sounds"], as_of=date(2026, 6, 21), data=data, out=out,
                          settings={"partition_rows": 100})
    print(json.dumps({"run_id": again.run_id, "repeated": again.repeated, "lost": len(lost)}))
    httpx.Client.send = send

    main(["run", "--data", str(data), "--out", str(out), "--product", "iplayer", "--as-of", "2026-06-28", "--force"])
"""


@pytest.fixture(scope="module")
def later(demo: Demo) -> Later:
    """A run of another week from Python, the same again, a forced one from the command line: one server."""
    program = demo.into / "later.py"
    program.write_text(FROM_PYTHON, "utf-8")
    done = subprocess.run(
        [sys.executable, str(program), str(demo.data), str(demo.out)],
        env=environment(demo.into / "prefect") | {"PYTHONPATH": str(Path(flows.cli.__file__).parents[1])},
        capture_output=True,
        text=True,
        cwd=demo.into,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    outcome, again, said = done.stdout.split("\n", 2)
    return json.loads(outcome), json.loads(again), said


@pytest.mark.slow
def test_the_flow_can_be_called_from_python_with_settings(demo: Demo, later: Later) -> None:
    outcome, *_ = later
    run = Lake(str(demo.out / "lake")).get("sounds", outcome["run_id"])
    assert run is not None
    run.verify(checksums=True)
    assert outcome == {"run_id": run.manifest.run_id, "users": run.manifest.rows["scores"], "repeated": False}
    assert (run.manifest.as_of, run.manifest.target_week_start) == (
        AS_OF - timedelta(days=7),
        TARGET_WEEK - timedelta(days=7),
    )
    assert len(list(Path(run.path("scores")).iterdir())) == -(-outcome["users"] // 100)


@pytest.mark.slow
def test_a_lost_answer_of_the_server_loses_no_outcome(later: Later) -> None:
    outcome, again, _ = later
    assert again == {"run_id": outcome["run_id"], "repeated": True, "lost": 1}


@pytest.mark.slow
def test_an_earlier_week_does_not_become_current(demo: Demo, later: Later) -> None:
    current = Lake(str(demo.out / "lake")).current("sounds")
    assert current is not None
    assert current.manifest == demo.runs["sounds"].manifest
    weeks = {row[2] for row in published(demo.out) if row[0] == "sounds"}
    assert weeks == {TARGET_WEEK, TARGET_WEEK - timedelta(days=7)}


@pytest.mark.slow
def test_force_makes_a_new_run_with_the_same_scores(demo: Demo, later: Later) -> None:
    first, lake = demo.runs["iplayer"], Lake(str(demo.out / "lake"))
    second = lake.current("iplayer")
    assert second is not None
    assert second.manifest.run_id != first.manifest.run_id
    assert [run.manifest.run_id for run in lake.runs("iplayer")] == [
        first.manifest.run_id, second.manifest.run_id
    ]  # fmt: skip
    assert f"run={second.manifest.run_id}" in later[2]
    assert (
        table(second, "scores")
        .drop_columns(OF_ONE_RUN)
        .equals(table(first, "scores").drop_columns(OF_ONE_RUN))
    )
    for folder in ("features", "shap", "reasons"):
        assert table(second, folder).equals(table(first, folder))
    assert second.manifest.metrics == first.manifest.metrics
    assert (
        hashes(Path(second.path("model")))["xgboost.ubj"] == hashes(Path(first.path("model")))["xgboost.ubj"]
    )
    rows = [row for row in published(demo.out) if row[0] == "iplayer"]
    assert {row[10] for row in rows} == {second.manifest.run_id}
    assert len(rows) == second.manifest.rows["scores"]
    first.verify(checksums=True)


@pytest.mark.slow
def test_no_run_leaves_its_tables_or_staging_behind(demo: Demo, later: Later) -> None:
    with duckdb.connect(str(demo.out / "warehouse.duckdb"), read_only=True) as warehouse:
        schemas = {row[0] for row in warehouse.sql("select schema_name from duckdb_schemas()").fetchall()}
    assert not [name for name in schemas if name.startswith(("run_", "backtest_"))]
    assert set(files_below(demo.out / "lake" / ".staging")) == {f"product={name}/.lock" for name in PRODUCTS}


# --- commands that read ---


def test_explain_tells_a_users_probability_and_five_reasons_in_words(demo: Demo, call: Call) -> None:
    current = Lake(str(demo.out / "lake")).current("iplayer")
    assert current is not None
    score = table(current, "scores").slice(7, 1).to_pylist()[0]
    user = score["user_id"]
    code, out, err = call("explain", "--out", str(demo.out), "--product", "iplayer", "--user", user)
    assert (code, err) == (0, "")
    first, start, *reasons, rest, total = out.splitlines()
    assert first.startswith(f"{user}: {score['predicted_probability']:.1%} likely to stay away")
    assert str(TARGET_WEEK) in first
    printed = [
        float(line.rpartition("(" if line.endswith(").") else " ")[2].strip("().")) for line in (start, total)
    ]
    contributions = [float(line.rpartition(", ")[2].strip(").")) for line in (*reasons, rest)]
    assert printed[0] + sum(contributions) == pytest.approx(printed[1], abs=1e-6)
    assert [line.strip()[:2] for line in reasons] == ["1.", "2.", "3.", "4.", "5."]
    named = table(current, "reasons").slice(35, 5)
    for line, contribution in zip(reasons, named["contribution"].to_pylist(), strict=True):
        assert f"{contribution:+.2f}" in line
        words = {True: "raises", False: "lowers"}[contribution > 0] if abs(contribution) >= 0.005 else ""
        assert words in line
    assert not re.search(r"_w\d|_13w|share_", out), "features are told in words"


def test_explain_refuses_a_user_who_was_not_scored(demo: Demo, call: Call) -> None:
    code, out, err = call("explain", "--out", str(demo.out), "--product", "iplayer", "--user", "nobody")
    assert (code, out) == (2, "")
    assert re.match(r"churn: user 'nobody' was not scored: .*\n$", err)


@pytest.fixture(scope="module")
def backtest_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backtest") / "figures.json"


def test_backtest_writes_figures_with_intervals_and_the_predictions(
    demo: Demo, call: Call, backtest_file: Path
) -> None:
    day = date(2026, 6, 14)
    places = ["--data", str(demo.data), "--product", "iplayer", "--json", str(backtest_file)]
    code, out, err = call("backtest", *places, "--as-of", str(day))
    assert code == 0, err
    assert "Traceback" not in err
    figures = json.loads(backtest_file.read_text("utf-8"))
    assert set(figures) == {"product", "dates", "all", "left_out", "predictions"}
    assert figures["left_out"] == {}
    (of_day,) = figures["dates"]
    assert of_day["as_of"] == str(day)
    names = ("churn_rate", "log_loss", "auc", "pr_auc", "brier", "ece", "lift_top_decile")
    for part in (of_day, figures["all"]):
        assert {"rows", *names} <= set(part)
        for name in names:
            assert set(part[name]) == {"value", "low", "high"}
            assert part[name]["low"] <= part[name]["value"] <= part[name]["high"], name
    predictions = pq.read_table(figures["predictions"])
    assert predictions.schema.names == [
        "user_id", "as_of", "target_week_start_date", "churned", "predicted_probability"
    ]  # fmt: skip
    assert predictions.num_rows == of_day["rows"] == len(set(predictions["user_id"].to_pylist()))
    assert predictions["as_of"].unique().to_pylist() == [day]
    assert predictions["target_week_start_date"].unique().to_pylist() == [date(2026, 6, 22)]
    churned = predictions["churned"].to_numpy()
    p = predictions["predicted_probability"].to_numpy()
    assert set(churned) == {0, 1}
    assert of_day["churn_rate"]["value"] == pytest.approx(churned.mean())
    assert of_day["log_loss"]["value"] == pytest.approx(-np.log(np.where(churned == 1, p, 1 - p)).mean())
    assert of_day["log_loss"]["value"] < of_day["base_log_loss"]
    assert f"Figures: {backtest_file}; predictions: {figures['predictions']}" in out


def test_backtest_outcomes_are_what_the_log_says(demo: Demo, backtest_file: Path) -> None:
    """Churned = not seen on iPlayer from 22 to 28 June, straight from the source table."""
    if not backtest_file.exists():
        pytest.skip("the back-test did not run")
    predictions = pq.read_table(backtest_file.with_suffix(".parquet"))
    log = demo.data / "tables" / "audience.audience_activity_daily_summary_enriched" / "*.parquet"
    came = duckdb.sql(
        f"""select distinct audience_id from read_parquet('{log}')
        where date_of_event between date '2026-06-22' and date '2026-06-28'
        and destination = 'PS_IPLAYER'"""
    ).fetchall()
    here = {user for (user,) in came}
    found = dict(zip(predictions["user_id"].to_pylist(), predictions["churned"].to_pylist(), strict=True))
    assert {user for user, churned in found.items() if churned} == set(found) - here


def people_of(demo: Demo, as_of: date) -> dict[str, bool]:
    """Who counts on an as-of date, and whether they came in its target week, straight from the source tables."""
    tables = demo.data / "tables"
    rows = duckdb.execute(
        f"""
        with activity as (
            select audience_id, date_of_event as day, playback_time_total as seconds
            from read_parquet('{tables}/audience.audience_activity_daily_summary_enriched/*.parquet')
            where destination = 'PS_IPLAYER'
        ),
        refused as (
            select bbc_hid3 from (select distinct * from read_parquet('{tables}/prez.id_profile/*.parquet'))
            group by bbc_hid3 having count(*) > 1 or max(status) = 'deleted'
        )
        select audience_id, bool_or(day between $day + 8 and $day + 14)
        from activity
        where audience_id not in (select bbc_hid3 from refused)
        group by audience_id
        having bool_or(day between $day - 6 and $day)
            and sum(seconds) filter (day between $day - 90 and $day) > 180
        """,
        {"day": as_of},
    ).fetchall()
    return dict(rows)


def test_every_figure_of_the_audience_is_about_the_same_people(demo: Demo, backtest_file: Path) -> None:
    """Scored, trained on, held out, in the trend, in each segment and in a back-test: one rule, also for new accounts."""
    run = demo.runs["iplayer"]
    report = json.loads(Path(run.path("charts", "report.json")).read_text("utf-8"))
    now = people_of(demo, AS_OF)
    scored = table(run, "scores")
    assert set(scored["user_id"].to_pylist()) == set(now)
    ages = table(run, "features")["account_age_days"].drop_null().to_pylist()
    assert any(age <= 14 for age in ages)  # new accounts are among them
    assert report["audience"]["users_scored"] == report["reasons"]["users"] == len(now)
    assert report["flagged"]["users"] == sum(scored["optimal_classification"].to_pylist())
    for parts in (report["audience"]["histogram"], *(each["rows"] for each in report["segments"])):
        assert sum(part["users"] for part in parts) == len(now)

    past = {point["as_of"]: people_of(demo, date.fromisoformat(point["as_of"])) for point in report["trend"]}
    assert past
    for point in report["trend"]:
        came = past[point["as_of"]].values()
        assert point["snapshots"] == len(came), point
        assert point["churn_rate"] == pytest.approx(1 - sum(came) / len(came))
    assert report["training"]["snapshots"] == sum(map(len, past.values()))
    holdout = report["holdout"]
    (held_out,) = holdout["as_of_dates"]
    judged = past[held_out]
    assert holdout["snapshots"] == sum(row["count"] for row in holdout["calibration"]) == len(judged)
    assert holdout["gains"][-1]["users"] == len(judged)
    assert holdout["base_rate"] == pytest.approx(1 - sum(judged.values()) / len(judged))

    if not backtest_file.exists():
        pytest.skip("the back-test did not run")
    tested = pq.read_table(backtest_file.with_suffix(".parquet"))
    assert tested["as_of"].unique().to_pylist() == [date.fromisoformat(held_out)]
    assert dict(zip(tested["user_id"].to_pylist(), tested["churned"].to_pylist(), strict=True)) == {
        user: not came for user, came in judged.items()
    }


def test_backtest_of_a_week_that_is_not_over_is_refused(demo: Demo, call: Call, tmp_path: Path) -> None:
    places = ["--data", str(demo.data), "--product", "iplayer", "--json", str(tmp_path / "f.json")]
    code, _, err = call("backtest", *places, "--as-of", "2026-06-21")
    assert code == 1
    assert "2026-06-29 to 2026-07-05" in err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def rendered(demo: Demo) -> Iterator[DuckDBWarehouse]:
    """A warehouse of the demo's data, for SQL that was printed."""
    warehouse = DuckDBWarehouse(None, demo.data, memory="1GB", threads=1)
    try:
        yield warehouse
    finally:
        warehouse.close()


def test_the_sql_that_render_prints_makes_the_features_that_were_scored(
    demo: Demo, call: Call, rendered: DuckDBWarehouse
) -> None:
    places = ["--data", str(demo.data), "--product", "iplayer", "--as-of", str(AS_OF)]
    code, text, _ = call("render", *places, "--dialect", "duckdb")
    assert code == 0
    rendered.execute("create schema churn_iplayer")
    for statement in re.split(r";\s*$", text, flags=re.M):
        if statement.strip():
            rendered.execute(statement)
    features = table(demo.runs["iplayer"], "features")
    columns = ", ".join(features.schema.names)
    made = rendered.fetch(
        f"select {columns} from churn_iplayer.feature_set where purpose = 'score' order by user_id"
    )
    assert made.cast(features.schema).equals(features)


def test_products_lists_what_the_data_folder_knows(demo: Demo, call: Call) -> None:
    code, out, _ = call("products", "--data", str(demo.data))
    assert code == 0
    assert set(load_settings(demo.data, demo.out).products) == {"iplayer", "pan", "sounds"}
    assert re.search(r"^ *iplayer +BBC iPlayer +iplayer +180 seconds +all *$", out, flags=re.M)
