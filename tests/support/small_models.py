"""Small fitted models and the snapshots to score with them."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb

from churn.model.artifact import LearnerSummary, Model, ModelCard, ModelMember
from churn.model.encoding import KEYS, FeatureSchema
from churn.model.learners.boosted import Boosted
from churn.model.learners.linear import Linear
from churn.model.learners.network import Network
from churn.model.learners.preparing import RankNormal
from churn.scoring.scorer import PartitionTask

AS_OF, TARGET = date(2026, 6, 28), date(2026, 7, 6)
NATIONS = ("england", "scotland", "wales")


def booster_of(X, y, **params):
    """A booster trained on a matrix; parameters as XGBoost's, plus trees."""
    trees = params.pop("trees", 20)
    base = {"objective": "binary:logistic", "nthread": 1, "max_depth": 3, "verbosity": 0}
    return xgb.train(base | params, xgb.DMatrix(X, y), trees)


def model_of(booster, names, categories=None, threshold=0.5):
    """A model around a booster, with a card that says little."""
    booster.feature_names = list(names)
    card = ModelCard(
        product="food",
        as_of=AS_OF,
        model_version="food-2026-06-28-0123abcd",
        features=tuple(names),
        categories=categories or {},
        params={},
        trees=booster.num_boosted_rounds(),
        training_dates=(AS_OF,),
        dates=(),
        rows=1,
        churn_rate=0.5,
        judged_on="later_dates",
        metrics={},
        threshold=threshold,
        seed=1,
        data_fingerprint="",
        code_version="0",
        created_at=datetime(2026, 6, 29, tzinfo=UTC),
    )
    return Model.of(Boosted(booster, {}), card)


def small_stack(seed=0, rows=600):
    """A stack of trees, a logistic regression and a network, of the columns of ``snapshots``."""
    trees = small_model(seed, rows)
    table = snapshots(rows, seed)
    X = trees.schema.encode(table)
    days = np.nan_to_num(X[:, 0], nan=3.0)
    rng = np.random.default_rng(seed)
    prepare = RankNormal.fit(X)
    linear = Linear(prepare, rng.normal(0, 0.3, prepare.columns), -0.2, {})
    network = Network(
        prepare,
        rng.normal(0, 0.2, (prepare.columns, 4)).astype(np.float32),
        np.zeros(4, np.float32),
        rng.normal(0, 0.5, 4).astype(np.float32),
        float(days.mean() / 10),
        3,
        {},
    )
    members = (
        ModelMember("xgboost", "xgboost", trees.members[0].member, 0.5),
        ModelMember("logistic", "logistic", linear, 0.3),
        ModelMember("network", "network", network, 0.2),
    )
    learners = tuple(
        LearnerSummary(
            name=each.name,
            kind=each.kind,
            weight=each.weight,
            size=1,
            fold_log_loss=0.5,
            holdout_log_loss=0.5,
            threshold=0.4,
        )
        for each in members
    )
    return Model(members, trees.card.model_copy(update={"learners": learners}))


def snapshots(rows, seed=0, first=0):
    """Score snapshots with numbers, flags, missing values, a category and a column that no model knows."""
    rng = np.random.default_rng(seed)
    days = rng.integers(0, 8, rows)
    share = np.where(rng.random(rows) < 0.2, np.nan, rng.random(rows))
    nation = np.where(rng.random(rows) < 0.1, None, rng.choice(NATIONS, rows))
    return pa.table(
        {
            "user_id": [f"u{first + i:06d}" for i in range(rows)],
            "as_of_date": pa.array([AS_OF] * rows, pa.date32()),
            "days_w2": pa.array(days, pa.int32(), mask=rng.random(rows) < 0.05),
            "share": pa.array(share, pa.float64(), from_pandas=True),
            "tenure_days": pa.array(rng.integers(1, 2000, rows), pa.int64()),
            "falling": pa.array(rng.random(rows) < 0.3),
            "nation": pa.array(nation.tolist(), pa.string()),
            "value_13w": pa.array(rng.gamma(2.0, 900.0, rows), pa.float64()),
            "not_in_model": pa.array(np.zeros(rows)),
        }
    )


def small_model(seed=0, rows=600, **params):
    """A model of the columns of ``snapshots``."""
    table = snapshots(rows, seed).drop_columns(["not_in_model"])
    rng = np.random.default_rng(seed)
    risk = -table["days_w2"].to_pandas().fillna(3) + 3 * table["falling"].to_pandas() + rng.normal(0, 1, rows)
    churned = (risk > risk.median()).to_numpy().astype(np.int8)
    names = tuple(name for name in table.column_names if name not in KEYS)
    schema = FeatureSchema(names, {"nation": NATIONS})
    booster = booster_of(schema.encode(table), churned, **params)
    return model_of(booster, schema.names, dict(schema.categories))


def partition_task(folder: Path, table: pa.Table, model: Model, index=0, **changes):
    """Lay a model and a partition's features into a run's folder, and return the task that scores them."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    features = folder / "features" / f"part-{index:05d}.parquet"
    pq.write_table(table, features, row_group_size=700)
    if not (folder / "model").exists():
        model.save(folder / "model")
    given = {
        "index": index,
        "features": str(features),
        "run_folder": str(folder),
        "product": "food",
        "as_of": AS_OF,
        "target_week_start": TARGET,
        "run_id": "20260629t180000z-3fa1c2",
        "model_folder": str(folder / "model"),
        "score_datetime": datetime(2026, 6, 29, 18, tzinfo=UTC),
    }
    return PartitionTask(**(given | changes))
