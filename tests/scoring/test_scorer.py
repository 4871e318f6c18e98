import hashlib
import json
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from churn.core import datasets
from churn.core.errors import CheckError, RunError
from churn.explain.contributions import Contributions, contributions
from churn.explain.effects import BinEdges, read_summary
from churn.explain.user import explain_user
from churn.features.feature import DOUBLE, Feature
from churn.features.phrases import NO_PHRASES, say
from churn.lake.readers import read_rows
from churn.model.encoding import sigmoid
from churn.scoring import scorer
from churn.scoring.scorer import score_partition, summarise_partitions
from tests.support.small_models import (
    NATIONS,
    booster_of,
    model_of,
    partition_task,
    small_model,
    small_stack,
    snapshots,
)

DATASETS = ("scores", "shap", "reasons", "effects")


@pytest.fixture(scope="module")
def model():
    return small_model()


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def output(folder, dataset, index=0):
    return pq.read_table(folder / dataset / f"part-{index:05d}.parquet")


def digests(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files_of(folder)}


def test_scores_have_the_columns_that_the_tables_readers_know(tmp_path, model):
    table = snapshots(500)
    row = score_partition(partition_task(tmp_path, table, model))
    scores = output(tmp_path, "scores")
    assert tuple(scores.column_names) == datasets.SCORES.column_names
    assert scores.schema.remove_metadata() == datasets.SCORES.schema
    assert scores["user_id"].equals(table["user_id"])
    margin = model.margin(model.schema.encode(table))
    np.testing.assert_allclose(scores["margin"].to_numpy(), margin, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scores["predicted_probability"].to_numpy(), sigmoid(margin), atol=1e-6)
    assert set(scores["target_week_start_date"].to_pylist()) == {date(2026, 7, 6)}
    assert set(scores["score_datetime"].to_pylist()) == {datetime(2026, 6, 29, 18)}
    assert row.rows == 500
    assert row.probability_sum == pytest.approx(sigmoid(margin).sum())
    assert (
        row.classified == pc.sum(scores["optimal_classification"]).as_py() == (sigmoid(margin) >= 0.5).sum()
    )


def test_bias_and_shap_add_up_to_the_margin_in_the_files(tmp_path, model):
    row = score_partition(partition_task(tmp_path, snapshots(500), model))
    shap = output(tmp_path, "shap")
    assert shap.column_names == ["user_id", *model.schema.names]
    assert set(shap.schema.types[1:]) == {pa.float32()}
    phi = np.column_stack([shap[name].to_numpy() for name in model.schema.names])
    total = float(shap.schema.metadata[b"bias"]) + phi.sum(axis=1, dtype=np.float64)
    gap = np.abs(total - output(tmp_path, "scores")["margin"].to_numpy()).max()
    assert gap < 1e-5
    assert row.additivity_gap < 1e-5
    assert 200 <= row.checked_rows <= 256
    assert row.rounding == 0


def test_reasons_are_the_largest_contributions_with_their_values(tmp_path, model):
    table = snapshots(300)
    score_partition(partition_task(tmp_path, table, model))
    shap, reasons = output(tmp_path, "shap"), output(tmp_path, "reasons")
    assert reasons.num_rows == 300 * 5
    for position, first in enumerate(range(0, 50, 5)):
        mine = reasons.slice(first, 5).to_pylist()
        phi = {name: shap[name][position].as_py() for name in model.schema.names}
        largest = sorted(phi, key=lambda name: -abs(phi[name]))[:5]
        assert [reason["feature"] for reason in mine] == largest
        assert [reason["rank"] for reason in mine] == [1, 2, 3, 4, 5]
        assert [reason["contribution"] for reason in mine] == [phi[name] for name in largest]
        assert {reason["user_id"] for reason in mine} == {table["user_id"][position].as_py()}
        for reason in mine:
            raw = table[reason["feature"]][position].as_py()
            if raw is None:
                assert reason["value"] is None
            elif isinstance(raw, float):
                assert float(reason["value"]) == pytest.approx(raw, rel=1e-6)
            else:
                assert reason["value"] == str(raw).lower()


def test_small_batches_give_what_one_batch_gives(tmp_path, model):
    table = snapshots(2000)
    whole = score_partition(partition_task(tmp_path / "whole", table, model, batch_rows=10_000))
    parts = score_partition(partition_task(tmp_path / "parts", table, model, batch_rows=130))
    for dataset in ("scores", "shap", "reasons"):
        assert output(tmp_path / "parts", dataset).equals(output(tmp_path / "whole", dataset))
    assert pq.ParquetFile(tmp_path / "parts/shap/part-00000.parquet").num_row_groups > 10
    assert parts.margin_range == whole.margin_range
    assert parts.probability_sum == pytest.approx(whole.probability_sum)
    mine, theirs = (read_summary(str(tmp_path / name)) for name in ("parts", "whole"))
    np.testing.assert_array_equal(mine.bin_rows, theirs.bin_rows)
    np.testing.assert_array_equal(mine.buckets, theirs.buckets)
    np.testing.assert_allclose(mine.total_abs, theirs.total_abs)


def test_running_again_gives_the_same_bytes(tmp_path, model):
    table = snapshots(1000)
    for name in ("one", "two"):
        score_partition(partition_task(tmp_path / name, table, model))
    for dataset in DATASETS:
        paths = [tmp_path / name / dataset / "part-00000.parquet" for name in ("one", "two")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_finished_partition_is_not_computed_again(tmp_path, model, monkeypatch):
    task = partition_task(tmp_path, snapshots(200), model)
    row = score_partition(task)
    monkeypatch.setattr(scorer, "contributions", None)
    assert score_partition(task) == row


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_output_is_computed_again(tmp_path, model, dataset, damage):
    task = partition_task(tmp_path, snapshots(200), model)
    score_partition(task)
    before = {name: digest for name, digest in digests(tmp_path).items() if not name.startswith("logs")}
    path = tmp_path / dataset / "part-00000.parquet"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "changed":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    else:
        path.unlink()
    row = score_partition(task)
    assert row.files[dataset].sha256 == before[f"{dataset}/part-00000.parquet"]
    assert {
        name: digest for name, digest in digests(tmp_path).items() if not name.startswith("logs")
    } == before


@pytest.mark.parametrize("text", ["", "{", '{"index": 0}'])
def test_a_damaged_row_is_written_again(tmp_path, model, text):
    task = partition_task(tmp_path, snapshots(200), model)
    row = score_partition(task)
    path = tmp_path / "logs/partitions/part-00000.json"
    path.write_text(text)
    assert score_partition(task).files == row.files
    assert json.loads(path.read_text())["rows"] == 200


def test_the_row_of_another_task_does_not_count(tmp_path, model):
    task = partition_task(tmp_path, snapshots(200), model)
    score_partition(task)
    score_partition(replace(task, run_id="20260629t180001z-000000"))
    assert set(output(tmp_path, "scores")["run_id"].to_pylist()) == {"20260629t180001z-000000"}


def test_a_new_model_in_the_same_folder_is_loaded(tmp_path, model):
    task = partition_task(tmp_path, snapshots(200), model)
    score_partition(task)
    other = small_model(seed=5)
    other.save(tmp_path / "model")
    table = snapshots(200)
    score_partition(replace(task, run_id="20260629t180001z-000000"))
    margin = other.margin(other.schema.encode(table))
    np.testing.assert_allclose(output(tmp_path, "scores")["margin"].to_numpy(), margin, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("missing", ["user_id", "share"])
def test_a_missing_column_is_named_and_nothing_is_left(tmp_path, model, missing):
    task = partition_task(tmp_path, snapshots(200).drop_columns([missing]), model)
    with pytest.raises(CheckError, match=rf"part-00000.*\n.*lacks 1 column.*: {missing}"):
        score_partition(task)
    assert {name.split("/")[0] for name in files_of(tmp_path)} == {"features", "model"}


def test_a_column_of_another_type_is_named(tmp_path, model):
    table = snapshots(200)
    table = table.set_column(table.column_names.index("share"), "share", table["user_id"])
    with pytest.raises(RunError, match="'share' is a number in the model, but string"):
        score_partition(partition_task(tmp_path, table, model))


@pytest.mark.parametrize(("content", "says"), [(None, "does not exist"), (b"PAR1 no", "not a Parquet file")])
def test_an_unreadable_features_file_is_named(tmp_path, model, content, says):
    task = partition_task(tmp_path, snapshots(10), model)
    path = tmp_path / "features/part-00000.parquet"
    path.unlink()
    if content:
        path.write_bytes(content)
    with pytest.raises(CheckError, match=says):
        score_partition(task)


def test_a_null_user_id_is_refused(tmp_path, model):
    table = snapshots(50)
    users = pa.array([None, *table["user_id"].to_pylist()[1:]], pa.string())
    with pytest.raises(CheckError, match="1 rows without a user id"):
        score_partition(partition_task(tmp_path, table.set_column(0, "user_id", users), model))


def test_extra_columns_are_ignored_and_said(tmp_path, model):
    row = score_partition(partition_task(tmp_path, snapshots(50), model))
    assert row.ignored == ("not_in_model",)
    assert summarise_partitions([row]).ignored == ("not_in_model",)


def test_an_unseen_category_counts_as_missing(tmp_path, model):
    table = snapshots(50)
    position = table.column_names.index("nation")
    strange = table.set_column(position, "nation", pa.array(["atlantis"] * 50))
    empty = table.set_column(position, "nation", pa.nulls(50, pa.string()))
    score_partition(partition_task(tmp_path / "a", strange, model))
    score_partition(partition_task(tmp_path / "b", empty, model))
    assert output(tmp_path / "a", "shap").equals(output(tmp_path / "b", "shap"))
    assert "atlantis" not in NATIONS


def test_contributions_that_do_not_add_up_stop_the_partition(tmp_path, model, monkeypatch):
    def skewed(model, X):
        phi, bias, margin, players = contributions(model, X)
        phi = phi.copy()
        phi[7:8, 0] += 0.01
        return Contributions(phi, bias, margin, players)

    monkeypatch.setattr(scorer, "contributions", skewed)
    with pytest.raises(CheckError, match=r"differ from the margin that the model predicts by 0\.0\d+ "):
        score_partition(partition_task(tmp_path, snapshots(50), model))
    assert not (tmp_path / "scores").exists()


def test_a_margin_that_is_not_the_boosters_stops_the_partition(tmp_path, model, monkeypatch):
    def shifted(model, X):
        phi, bias, margin, players = contributions(model, X)
        return Contributions(phi, bias, margin + np.float32(0.01), players)

    monkeypatch.setattr(scorer, "contributions", shifted)
    with pytest.raises(CheckError, match=r"differ from the margin that the model predicts by 0\.0\d+ "):
        score_partition(partition_task(tmp_path, snapshots(50), model))


def test_a_probability_that_is_no_number_stops_the_partition(tmp_path, model, monkeypatch):
    def broken(model, X):
        phi, bias, margin, players = contributions(model, X)
        margin[3:4] = np.nan
        return Contributions(phi, bias, margin, players)

    monkeypatch.setattr(scorer, "contributions", broken)
    with pytest.raises(CheckError, match=r"1 users have no probability \(NaN\)$"):
        score_partition(partition_task(tmp_path, snapshots(50), model))


def test_scores_carry_the_first_three_reasons_with_their_direction(tmp_path, model):
    score_partition(partition_task(tmp_path, snapshots(300), model))
    scores = output(tmp_path, "scores")
    for reason in output(tmp_path, "reasons").to_pylist():
        if reason["rank"] <= 3:
            row = int(reason["user_id"][1:])
            sign = "+" if reason["contribution"] > 0 else "-"
            expected = f"{sign}{reason['feature']}" if reason["contribution"] else None
            assert scores[f"reason_{reason['rank']}"][row].as_py() == expected


def test_contributions_may_be_left_out(tmp_path, model):
    task = partition_task(tmp_path, snapshots(100), model, contributions="none", reasons=3)
    row = score_partition(task)
    assert set(row.files) == summarise_partitions([row]).datasets == {"scores", "reasons", "effects"}
    (tmp_path / "shap").mkdir()  # as a run's folder has it
    assert not list((tmp_path / "shap").iterdir())
    assert output(tmp_path, "reasons").num_rows == 300
    assert score_partition(task) == row
    with pytest.raises(RunError, match="has no shap"):
        read_rows(str(tmp_path), "shap")


def test_half_precision_states_its_greatest_error(tmp_path, model):
    table = snapshots(400)
    score_partition(partition_task(tmp_path / "whole", table, model))
    row = score_partition(partition_task(tmp_path / "half", table, model, contributions="float16"))
    whole, half = (read_rows(str(tmp_path / name), "shap") for name in ("whole", "half"))
    assert output(tmp_path / "half", "shap").schema.field("share").type == pa.float16()
    assert half.schema.equals(whole.schema)
    gaps = [np.abs(half[name].to_numpy() - whole[name].to_numpy()).max() for name in model.schema.names]
    assert 0 < max(gaps) == pytest.approx(row.rounding)
    assert max(gaps) <= 2**-11 * max(np.abs(whole[name].to_numpy()).max() for name in model.schema.names)
    assert summarise_partitions([row]).rounding == row.rounding
    assert output(tmp_path / "half", "reasons").equals(output(tmp_path / "whole", "reasons"))


def test_wide_models_are_scored_in_smaller_batches():
    assert scorer.batch_rows(150) == 16_384
    assert scorer.batch_rows(1000) * 1000 * 16 <= 40_000_000
    assert scorer.batch_rows(0) == 16_384
    assert scorer.batch_rows(10**8) == 1


def test_no_reader_ever_sees_a_temporary_file(tmp_path, model, monkeypatch):
    seen = []

    def spying(model, X):
        seen.append({name for name in files_of(tmp_path) if name.split("/")[0] in (*DATASETS, "logs")})
        return contributions(model, X)

    monkeypatch.setattr(scorer, "contributions", spying)
    score_partition(partition_task(tmp_path, snapshots(2000), model, batch_rows=500))
    assert len(seen) >= 4
    assert not any(seen)
    assert files_of(tmp_path) == {
        *(f"{name}/part-00000.parquet" for name in ("features", *DATASETS)),
        "logs/partitions/part-00000.json",
        "model/xgboost.ubj",
        "model/model.json",
    }


def test_a_failure_half_way_leaves_nothing_behind(tmp_path, model, monkeypatch):
    calls = []

    def failing(model, X):
        calls.append(len(X))
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return contributions(model, X)

    task = partition_task(tmp_path, snapshots(2000), model, batch_rows=500)
    scorer._load.cache_clear()
    monkeypatch.setattr(scorer, "contributions", failing)
    with pytest.raises(OSError, match="No space left"):
        score_partition(task)
    assert {name.split("/")[0] for name in files_of(tmp_path)} == {"features", "model"}
    assert score_partition(task).rows == 2000


def test_a_full_disk_while_writing_is_raised_as_it_is(tmp_path, model):
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    task = partition_task(tmp_path, snapshots(3000), model)
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            score_partition(task)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "scores").exists()
    assert not list((tmp_path / ".tmp").iterdir())


def test_an_empty_partition_gives_empty_files(tmp_path, model):
    row = score_partition(partition_task(tmp_path, snapshots(0), model))
    assert (row.rows, row.margin_range) == (0, None)
    assert output(tmp_path, "scores").schema.remove_metadata() == datasets.SCORES.schema
    assert output(tmp_path, "shap").num_rows == output(tmp_path, "reasons").num_rows == 0
    full = score_partition(partition_task(tmp_path, snapshots(80, seed=3), model, index=1))
    assert summarise_partitions([row, full], expected=[0, 80]).rows == 80


def test_a_model_of_one_feature_and_one_leaf_is_scored(tmp_path):
    X = np.zeros((40, 1), np.float32)
    model = model_of(booster_of(X, np.arange(40) % 2, trees=1), ["days_w2"])
    row = score_partition(partition_task(tmp_path, snapshots(30), model))
    assert output(tmp_path, "reasons").num_rows == 30
    assert read_summary(str(tmp_path)).cuts == (BinEdges((), None),)
    with pytest.raises(CheckError, match="all 30 users have the same score"):
        summarise_partitions([row])


def test_merging_partitions_equals_one_partition(tmp_path, model):
    table = snapshots(900)
    whole = summarise_partitions([score_partition(partition_task(tmp_path / "whole", table, model))])
    rows = [
        score_partition(partition_task(tmp_path / "parts", table.slice(300 * i, 300), model, index=i))
        for i in range(3)
    ]
    merged = summarise_partitions(rows[::-1], expected=[300, 300, 300])
    assert (merged.rows, merged.partitions, merged.classified) == (900, 3, whole.classified)
    assert merged.mean_probability == pytest.approx(whole.mean_probability)
    assert merged.bytes == sum(row.bytes for row in rows)
    importance = [read_summary(str(tmp_path / name)).importance() for name in ("parts", "whole")]
    for mine, theirs in zip(*importance, strict=True):
        assert (mine.feature, mine.bins[0].rows) == (theirs.feature, theirs.bins[0].rows)
        assert (mine.mean_abs, mine.mean, *mine.quantiles) == pytest.approx(
            (theirs.mean_abs, theirs.mean, *theirs.quantiles)
        )


def test_importance_says_which_way_a_feature_works(tmp_path, model):
    score_partition(partition_task(tmp_path, snapshots(2000), model))
    found = read_summary(str(tmp_path)).importance()
    by_name = {feature.feature: feature for feature in found}
    shap = output(tmp_path, "shap")
    assert [feature.mean_abs for feature in found] == sorted((f.mean_abs for f in found), reverse=True)
    assert by_name["days_w2"].low > 0 > by_name["days_w2"].high  # few days: more risk
    assert by_name["nation"].cut is None
    days, phi = snapshots(2000)["days_w2"], shap["days_w2"]
    low = pc.mean(phi.filter(pc.less(days, by_name["days_w2"].cut))).as_py()
    assert by_name["days_w2"].low == pytest.approx(low, rel=1e-6)
    nations, phi = snapshots(2000)["nation"], shap["nation"]
    for code, bin in enumerate(by_name["nation"].bins):  # a bin for each value of a category
        mine = phi.filter(pc.equal(nations, NATIONS[code]))
        assert (bin.rows, bin.mean) == (len(mine), pytest.approx(pc.mean(mine).as_py(), rel=1e-6))
    days, phi = snapshots(2000)["days_w2"], shap["days_w2"]
    assert by_name["days_w2"].missing == pytest.approx(
        pc.mean(phi.filter(pc.is_null(days))).as_py(), rel=1e-6
    )


def test_partitions_must_be_complete_and_of_one_run(tmp_path, model):
    rows = [
        score_partition(partition_task(tmp_path, snapshots(50, seed=i), model, index=i)) for i in range(3)
    ]
    with pytest.raises(CheckError, match="part-00001 is missing"):
        summarise_partitions([rows[0], rows[2]], expected=[50, 50, 50])
    with pytest.raises(CheckError, match="part-00001 is there 2 times"):
        summarise_partitions([*rows, rows[1]], expected=[50, 50, 50])
    with pytest.raises(CheckError, match="part-00002 is not of this run"):
        summarise_partitions(rows, expected=[50, 50])
    with pytest.raises(CheckError, match="part-00001 has 50 rows, its features have 51"):
        summarise_partitions(rows, expected=[50, 51, 50])
    with pytest.raises(CheckError, match="different models"):
        summarise_partitions([*rows[:2], rows[2].model_copy(update={"model_version": "other"})])
    with pytest.raises(CheckError, match="no partitions"):
        summarise_partitions([])


def test_reasons_are_written_as_the_sentences_that_explain_prints(tmp_path, model):
    table = snapshots(300)
    task = replace(partition_task(tmp_path, table, model), sentences=True)
    phrases = say("{only}{value} lately", "none lately")
    features = [
        Feature(
            name, "activity", "step", DOUBLE, "days", f"meaning of {name}", phrases if number else NO_PHRASES
        )
        for number, name in enumerate(model.schema.names)
    ]
    (tmp_path / "logs").mkdir(exist_ok=True)
    (tmp_path / "logs" / "features.json").write_text(json.dumps([asdict(feature) for feature in features]))
    score_partition(task)
    reasons = output(tmp_path, "reasons")
    assert reasons["sentence"].null_count == 0
    for row in reasons.slice(0, 60).to_pylist():
        lines = explain_user(str(tmp_path), row["user_id"])
        if abs(row["contribution"]) >= 0.005:
            assert any(line.endswith(f". {row['sentence']}") for line in lines), row


@pytest.fixture(scope="module")
def stack():
    return small_stack()


def with_catalogue(folder: Path) -> Path:
    groups = {"days_w2": "activity", "value_13w": "activity", "nation": "profile", "falling": "trend"}
    entries = [
        {"name": name, "group": group, "step": "", "type": "", "unit": "", "meaning": name}
        for name, group in groups.items()
    ]
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "features.json").write_text(json.dumps(entries))
    return folder


def test_a_stack_is_scored_and_explained_with_a_part_for_the_network(tmp_path, stack):
    table = snapshots(700)
    row = score_partition(partition_task(tmp_path, table, stack, batch_rows=200))
    scores, shap = output(tmp_path, "scores"), output(tmp_path, "shap")
    margin = stack.margin(stack.schema.encode(table))
    np.testing.assert_allclose(scores["margin"], margin, atol=1e-5)
    assert shap.column_names == ["user_id", *stack.schema.names, "learner_network"]
    phi = np.column_stack([shap[name].to_numpy() for name in shap.column_names[1:]])
    np.testing.assert_allclose(row.bias + phi.sum(axis=1, dtype=np.float64), margin, atol=1e-4)
    assert set(scores["learner_type"].to_pylist()) == {"meta-learner"}
    assert set(scores["learner_name"].to_pylist()) == {"stack"}
    reasons = output(tmp_path, "reasons").filter(
        pc.equal(output(tmp_path, "reasons")["feature"], "learner_network")
    )
    assert reasons.num_rows
    assert all(float(value) for value in reasons["value"].to_pylist())
    effects = read_summary(str(tmp_path))
    assert effects.features[-1] == "learner_network"
    np.testing.assert_allclose(effects.total_abs, np.abs(phi).sum(axis=0), rtol=1e-4)
    assert not (tmp_path / "learner_scores").exists()


def test_each_learner_of_a_stack_may_have_scores_of_its_own(tmp_path, stack):
    table = snapshots(300)
    score_partition(partition_task(tmp_path, table, stack, learner_scores=True))
    found, scores = output(tmp_path, "learner_scores"), output(tmp_path, "scores")
    assert found.schema.names == scores.schema.names
    assert set(found["learner_type"].to_pylist()) == {"weak-learner"}
    assert set(found["optimal_threshold"].to_pylist()) == {0.4}
    total = np.zeros(300)
    for each in stack.members:
        own = found.filter(pc.equal(found["learner_name"], each.name))
        assert own["user_id"].equals(scores["user_id"])
        margin = own["margin"].to_numpy()
        np.testing.assert_allclose(sigmoid(margin), own["predicted_probability"])
        np.testing.assert_array_equal(
            own["optimal_classification"], own["predicted_probability"].to_numpy() >= 0.4
        )
        total += each.weight * margin
    np.testing.assert_allclose(total, scores["margin"], atol=1e-5)


def test_themes_are_sums_of_contributions(tmp_path, stack):
    folder = with_catalogue(tmp_path / "run")
    score_partition(partition_task(folder, snapshots(300), stack, themes=True))
    themes, shap = output(folder, "themes"), output(folder, "shap")
    assert themes.column_names == ["user_id", "activity", "other", "trend", "profile"]
    expected = shap["days_w2"].to_numpy() + shap["value_13w"].to_numpy()
    np.testing.assert_allclose(themes["activity"], expected, atol=1e-6)
    names = themes.column_names[1:]
    total = sum(themes[name].to_numpy().astype(np.float64) for name in names)
    np.testing.assert_allclose(
        total + float(themes.schema.metadata[b"bias"]), output(folder, "scores")["margin"], atol=1e-4
    )
