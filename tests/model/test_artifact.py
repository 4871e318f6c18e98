import json
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from churn.core.errors import RunError
from churn.model.artifact import Model, ModelCard
from churn.model.encoding import FeatureSchema, category_codes, order_values, sigmoid
from churn.model.learners.boosted import Boosted


def table_of(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "user_id": [f"u{i}" for i in range(rows)],
            "days": pa.array(rng.integers(0, 7, rows), pa.int32(), mask=rng.random(rows) < 0.1),
            "share": pa.array(rng.random(rows), pa.float64()),
            "opted_in": pa.array(rng.random(rows) < 0.5),
            "nation": pa.array(rng.choice(["wales", "england", "scotland"], rows).tolist()),
        }
    )


def labels_of(table):
    return (pa.compute.equal(table["nation"], "wales").to_numpy()).astype(np.int8)


@pytest.fixture(scope="module")
def model():
    table = table_of()
    churned = labels_of(table)
    schema = FeatureSchema.fit(table, churned)
    data = xgb.DMatrix(schema.encode(table), churned, feature_names=list(schema.names))
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1, "max_depth": 3}, data, 10)
    card = ModelCard(
        product="food",
        as_of=date(2026, 6, 28),
        model_version="food-1",
        features=schema.names,
        categories=dict(schema.categories),
        params={"max_depth": 3},
        trees=10,
        training_dates=(date(2026, 6, 7), date(2026, 6, 14)),
        dates=(),
        rows=400,
        churn_rate=float(churned.mean()),
        judged_on="later_dates",
        metrics={"log_loss": {"value": 0.5, "low": None, "high": None}},
        threshold=0.4,
        seed=1,
        data_fingerprint="0",
        code_version="0",
        created_at=datetime(2026, 6, 29, tzinfo=UTC),
    )
    return Model.of(Boosted(booster, {}), card)


def test_encode_gives_float32_in_the_order_of_the_names():
    schema = FeatureSchema(("b", "a"))
    matrix = schema.encode(pa.table({"a": [1, 2], "b": [0.5, None], "extra": ["x", "y"]}))
    assert matrix.dtype == np.float32
    assert matrix.T.flags.c_contiguous
    np.testing.assert_array_equal(matrix, np.array([[0.5, 1], [np.nan, 2]], dtype=np.float32))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, None, 0], pa.int8()),
        pa.array([1, None, 0], pa.int64()),
        pa.array([1, None, 0], pa.float64()),
        pa.array([True, None, False]),
        pa.array(["1.0", None, "0.0"]).cast(pa.decimal128(10, 2)),
    ],
    ids=lambda array: str(array.type),
)
def test_numbers_and_booleans_of_any_type_become_floats_and_null_becomes_missing(values):
    matrix = FeatureSchema(("a",)).encode(pa.table({"a": values}))
    np.testing.assert_array_equal(matrix[:, 0], np.array([1, np.nan, 0], dtype=np.float32))


def test_large_integers_are_rounded_and_not_refused():
    assert FeatureSchema(("a",)).encode(pa.table({"a": [2**53 + 1]}))[0, 0] == np.float32(2**53)


@pytest.mark.parametrize(
    "as_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_a_category_becomes_its_position_and_an_unseen_or_null_one_is_missing(as_type):
    schema = FeatureSchema(("c",), {"c": ("low", "mid", "high")})
    column = pa.chunked_array(
        [pa.array(["high", "new"]).cast(as_type), pa.array(["low", None]).cast(as_type)]
    )
    found = schema.encode(pa.table({"c": column}))[:, 0]
    np.testing.assert_array_equal(found, np.array([2, np.nan, 0, np.nan], dtype=np.float32))


def test_a_category_that_is_null_throughout_is_missing():
    schema = FeatureSchema(("c",), {"c": ("x",)})
    assert np.isnan(schema.encode(pa.table({"c": pa.nulls(3)}))).all()


def test_a_record_batch_is_encoded_like_its_table(model):
    table = table_of()
    batch = table.combine_chunks().to_batches()[0]
    np.testing.assert_array_equal(model.schema.encode(batch), model.schema.encode(table))


def test_an_empty_table_has_no_rows(model):
    empty = table_of().slice(0, 0)
    matrix = model.schema.encode(empty)
    assert matrix.shape == (0, 4)
    assert model.probability(matrix).shape == (0,)


def test_missing_columns_are_named():
    with pytest.raises(RunError, match=r"lacks 2 feature\(s\).*: b, c"):
        FeatureSchema(("a", "b", "c")).encode(pa.table({"a": [1]}))


@pytest.mark.parametrize(
    ("column", "categories", "message"),
    [
        (pa.array(["x"]), {}, "'a' is a number in the model, but string"),
        (pa.array([1]), {"a": ("x",)}, "'a' is a category in the model, but int64"),
        (pa.array([date(2026, 1, 1)]), {}, "but date32"),
        (pa.array([float("inf")]), {}, "'a' holds 1 infinite"),
    ],
)
def test_a_column_of_another_kind_than_in_training_is_refused(column, categories, message):
    with pytest.raises(RunError, match=message):
        FeatureSchema(("a",), categories).encode(pa.table({"a": column}))


def test_categories_are_ordered_by_churn_rate_and_equal_ones_by_name():
    values = ["never", "b", "a", "always"]
    codes = np.repeat(np.arange(4), 40)
    churned = np.r_[np.zeros(40), np.tile([0, 1], 20), np.tile([1, 0], 20), np.ones(40)]
    assert order_values(values, codes, churned, 0.5) == ("never", "a", "b", "always")


def test_rare_values_are_left_out():
    codes = np.r_[np.zeros(100), np.ones(19), np.full(20, 2), np.full(5, -1)].astype(int)
    found = order_values(["common", "rare", "enough"], codes, np.zeros(144), 0.0)
    assert set(found) == {"common", "enough"}


def test_few_rows_are_drawn_to_the_overall_rate():
    # 20 churners of 20, and 190 of 200: the smaller group's rate is higher, but known less well.
    codes = np.repeat([0, 1, 2], [20, 200, 200])
    churned = np.r_[np.ones(20), np.ones(190), np.zeros(10), np.zeros(200)]
    assert order_values(["small", "large", "none"], codes, churned, churned.mean()) == (
        "none",
        "small",
        "large",
    )


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30), st.integers(0, 29))
def test_category_codes_can_be_read_back(values, cut):
    column = pa.chunked_array([pa.array(values[:cut], pa.string()), pa.array(values[cut:], pa.string())])
    distinct, codes = category_codes(column)
    assert [None if code < 0 else distinct[code] for code in codes] == values


def test_fit_takes_every_column_that_is_not_a_key(model):
    assert model.schema.names == ("days", "share", "opted_in", "nation")
    assert list(model.schema.categories) == ["nation"]
    assert model.schema.categories["nation"][-1] == "wales"


def test_a_saved_model_gives_the_same_margins(model, tmp_path):
    matrix = model.schema.encode(table_of(seed=5))
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model", threads=1)
    np.testing.assert_array_equal(loaded.margin(matrix), model.margin(matrix))
    assert loaded.card == model.card
    assert loaded.schema == model.schema
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "xgboost.ubj"]


def test_a_model_can_be_saved_under_a_url(model):
    model.save("memory://models/food")
    assert Model.load("memory://models/food").card == model.card


def test_probabilities_are_the_margins_logistic_function(model):
    matrix = model.schema.encode(table_of())
    expected = model.members[0].member.booster.predict(
        xgb.DMatrix(matrix, feature_names=list(model.schema.names))
    )
    np.testing.assert_allclose(model.probability(matrix), expected, rtol=1e-5)


def test_the_logistic_function_does_not_overflow():
    with np.errstate(all="raise"):
        found = sigmoid(np.array([-700.0, 0.0, 700.0]))
    np.testing.assert_allclose(found, [0, 0.5, 1], atol=1e-12)


def rewrite(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rename_a_feature(content):
    content["card"]["features"][0] = "other"


DAMAGES = {
    "no booster": (lambda folder: (folder / "xgboost.ubj").unlink(), "no complete model"),
    "no card": (lambda folder: (folder / "model.json").unlink(), "no complete model"),
    "cut booster": (
        lambda folder: (folder / "xgboost.ubj").write_bytes((folder / "xgboost.ubj").read_bytes()[:-50]),
        "checksum",
    ),
    "cut card": (
        lambda folder: (folder / "model.json").write_text((folder / "model.json").read_text()[:-50]),
        "damaged or of another version",
    ),
    "other features": (
        lambda folder: rewrite(folder, rename_a_feature),
        "reads features that the card lacks: days",
    ),
    "later format": (lambda folder: rewrite(folder, lambda content: content.update(format=3)), "format"),
    "unknown key": (lambda folder: rewrite(folder, lambda content: content.update(extra=1)), "extra"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_not_loaded(model, tmp_path, damage):
    do, message = DAMAGES[damage]
    model.save(tmp_path)
    do(tmp_path)
    with pytest.raises(RunError, match=message):
        Model.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        model.save(tmp_path / "file" / "model")
