"""What a dead run has left is believed only if everything about it is as it was."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.config.settings import Settings
from churn.core.errors import RunError
from churn.core.timing import StageRecord
from churn.dataset.checks import CheckResult
from churn.jobs.weekly import checkpoint, digests
from churn.jobs.weekly.checkpoint import HOLDOUT, Checkpoint, RunInputs
from churn.lake.lake import Lake, RunFolder
from churn.model.metrics import evaluate
from tests.support.small_models import small_model

WEEK = date(2026, 7, 6)
STARTED = datetime(2026, 6, 29, 18, 0, tzinfo=UTC)
NOW = RunInputs(
    product="food",
    as_of="2026-06-21",
    code_version="1.2.0",
    files="f1",
    settings={"seed": "1", "explain.reasons": "5", "products.food.minimum_value": "180"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    """A staging folder with two partitions of features, a model and a holdout."""
    folder = Lake(str(tmp_path / "lake")).start_run("food", WEEK, "20260629t180000z-3fa1c2")
    for index in range(2):
        table = pa.table({"user_id": [f"user{index}{number}" for number in range(50)]})
        pq.write_table(table, folder.path("features", f"part-{index:05d}.parquet"))
    small_model().save(folder.path("model"))
    holdout = {
        "user_id": ["a", "b"],
        "churned": pa.array([0, 1], pa.int8()),
        "predicted_probability": [0.25, 0.75],
    }
    pq.write_table(pa.table(holdout), folder.path(HOLDOUT))
    folder.save_checkpoint(made(folder).model_dump_json().encode())
    yield folder
    folder.discard()


def made(folder: RunFolder) -> Checkpoint:
    return Checkpoint(
        run_id=folder.run_id,
        started_at=STARTED,
        basis=NOW,
        partitions=(50, 50),
        training_files=(),
        training_rows=500,
        passed=(CheckResult("unique keys", "500 pairs"),),
        warnings=("1 feature is empty in training: x",),
        stages=(StageRecord("user_week", "prepare", 1.25, 100), StageRecord("check", "prepare", 0.1, None)),
        files=checkpoint.stamps(folder.base, checkpoint.inputs(folder.base, 2, ())),
    )


def test_what_is_read_is_what_was_written(folder: RunFolder) -> None:
    found = Checkpoint.read(folder, NOW)
    assert found == made(folder)
    assert found.users == 100
    assert set(found.files) == {
        "features/part-00000.parquet",
        "features/part-00001.parquet",
        "model/xgboost.ubj",
        "model/model.json",
        ".holdout.parquet",
    }


def test_it_says_nothing_of_a_single_user(folder: RunFolder) -> None:
    assert "user0" not in Path(folder.checkpoint).read_text()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, changed, Path.unlink])
@pytest.mark.parametrize(
    "name", ["features/part-00001.parquet", "model/xgboost.ubj", "model/model.json", HOLDOUT]
)
def test_a_damaged_file_is_found(folder: RunFolder, name: str, damage: Callable[[Path], None]) -> None:
    damage(Path(folder.base, name))
    with pytest.raises(RunError, match="is damaged"):
        Checkpoint.read(folder, NOW)


@pytest.mark.parametrize("damage", [truncated, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_refused(folder: RunFolder, damage: Callable[[Path], None]) -> None:
    damage(Path(folder.checkpoint))
    with pytest.raises(RunError, match="checkpoint"):
        Checkpoint.read(folder, NOW)


@pytest.mark.parametrize("change", [{"format": 3}, {"colour": "red"}])
def test_a_checkpoint_of_another_version_is_refused(folder: RunFolder, change: dict[str, object]) -> None:
    path = Path(folder.checkpoint)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match="another version"):
        Checkpoint.read(folder, NOW)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"settings": NOW.settings | {"seed": "2"}}, "settings (seed)"),
        (
            {"settings": {"seed": "2", "explain.reasons": "5", "products.food.verb": "ate"}},
            "settings (products.food.minimum_value, products.food.verb, seed)",
        ),
        ({"files": "f2"}, "source files"),
        ({"code_version": "1.3.0"}, "this program (1.2.0 then, 1.3.0 now)"),
        ({"files": "f2", "settings": NOW.settings | {"seed": "2"}}, "settings (seed); source files"),
        ({"as_of": "2026-06-28"}, "product or date"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_changed_since_is_named(folder: RunFolder, change: dict[str, object], told: str) -> None:
    with pytest.raises(RunError) as refusal:
        Checkpoint.read(folder, NOW.model_copy(update=change))
    assert str(refusal.value) == f"changed since: {told}"


def test_a_checkpoint_of_another_run_is_refused(folder: RunFolder) -> None:
    other = made(folder).model_copy(update={"run_id": "20260629t180000z-000000"})
    folder.save_checkpoint(other.model_dump_json().encode())
    with pytest.raises(RunError, match="of another run"):
        Checkpoint.read(folder, NOW)


def test_only_partitions_with_a_row_count_as_done(folder: RunFolder) -> None:
    state = made(folder)
    assert checkpoint.progress(state, folder.base) == "0 of 2 partitions are done"
    rows = Path(folder.path("logs", "partitions"))
    rows.mkdir()
    for name in ("part-00001.json", "part-00002.json", ".part-00000.json"):
        (rows / name).touch()
    assert checkpoint.progress(state, folder.base) == "1 of 2 partitions are done"


def test_before_training_the_snapshots_are_needed_and_steps_count(folder: RunFolder) -> None:
    for name in (".train", ".fits"):
        Path(folder.path(name)).mkdir()
    Path(folder.path(".train", "part-00000.parquet")).write_bytes(b"rows")
    names = (".train/part-00000.parquet",)
    stamps = checkpoint.stamps(folder.base, checkpoint.inputs(folder.base, 2, names))
    state = made(folder).model_copy(update={"training_files": names, "files": stamps})
    folder.save_checkpoint(state.model_dump_json().encode())
    assert not Checkpoint.read(folder, NOW).trained
    assert checkpoint.progress(state, folder.base) == "0 steps of its training done"
    Path(folder.path(".fits", "xgboost.fold-0.json")).touch()
    assert checkpoint.progress(state, folder.base) == "1 step of its training done"
    Path(folder.path(".train", "part-00000.parquet")).write_bytes(b"rowz")
    with pytest.raises(RunError, match="is damaged"):
        Checkpoint.read(folder, NOW)


def test_the_evaluation_comes_back_from_the_models_card_to_the_last_bit(folder: RunFolder) -> None:
    rng = np.random.default_rng(1)
    probability = rng.random(400)
    churned = (rng.random(400) < probability).astype(np.int8)
    for judged in (evaluate(churned, probability), evaluate(np.zeros(400), probability)):
        model = small_model()
        card = model.card.model_copy(update={"metrics": judged.to_dict()})
        type(model)(model.members, card).save(folder.path("model"))
        read, evaluation, holdout = checkpoint.read_model(folder.base)
        assert read == card
        assert evaluation == judged
        assert holdout.column_names == ["user_id", "churned", "predicted_probability"]


PRODUCT = {"title": "Food", "match": ["food"]}


def settings(data: Path, **changes: object) -> Settings:
    values = {
        "data": data,
        "out": data / "out",
        "source": "events",
        "products": {"food": PRODUCT, "drink": PRODUCT},
    }
    return Settings.model_validate(values | changes)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data/tables/events.activity"
    folder.mkdir(parents=True)
    for index in range(2):
        (folder / f"part-{index:05d}.parquet").write_bytes(b"rows")
    return tmp_path / "data"


def basis(data: Path, as_of: str = "2026-06-28", **changes: object) -> RunInputs:
    return checkpoint.run_inputs(settings(data, **changes), "food", as_of)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"source": "bbc"},
        {"id_column": "customer"},
        {"partition_rows": 20},
        {"products": {"food": PRODUCT | {"minimum_value": 1}}},
        {"products": {"food": PRODUCT | {"training": {"max_trees": 7}}}},
        {"as_of": "2026-06-21"},
    ],
    ids=str,
)
def test_what_the_scores_depend_on_is_seen(data: Path, changes: dict[str, object]) -> None:
    assert basis(data, **changes) != basis(data)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"out": Path("elsewhere")},
        {"cluster": {"workers": 7, "memory_limit": "2GB"}},
        {"sql_memory": "9GB"},
        {"mlflow_tracking_uri": "http://x"},
        {"products": {"food": PRODUCT, "drink": PRODUCT | {"match": ["tea"]}}},
    ],
    ids=str,
)
def test_how_and_where_they_are_computed_does_not_matter(data: Path, changes: dict[str, object]) -> None:
    assert basis(data, **changes) == basis(data)


def test_a_change_of_any_source_file_is_seen(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = basis(data)
    file = data / "tables/events.activity/part-00001.parquet"
    times = file.stat()
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))  # the same size: a value was mended
    assert basis(data) != before
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert basis(data) == before
    file.with_name("part-00002.parquet").touch()
    assert basis(data) != before
    file.with_name("part-00002.parquet").unlink()
    monkeypatch.setattr(checkpoint, "__version__", "another")
    assert basis(data) != before


def test_settings_are_named_as_in_the_file_and_their_values_are_not_told(data: Path) -> None:
    canary = "canary-5d1e"
    before = digests.settings_digests(settings(data), "food")
    chosen = settings(
        data, products={"food": PRODUCT | {"title": canary, "training": {"max_trees": 7}}}, seed=2
    )
    now = digests.settings_digests(chosen, "food")
    assert digests.changed(before, now) == [
        "products.food.title",
        "products.food.training.max_trees",
        "seed",
    ]
    assert canary not in str(now)
    assert digests.settings_digest(chosen, "food") != digests.settings_digest(settings(data), "food")
