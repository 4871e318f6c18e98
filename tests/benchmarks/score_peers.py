"""The job of scoring as a user would do it without this package, for ``tests.benchmarks.score``.

Each peer reads the features, predicts, explains, picks everybody's five largest contributions, and writes all
three to Parquet. Everybody has one thread to compute with.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shap
import xgboost as xgb
from numpy.typing import NDArray

from churn.explain.contributions import contributions
from churn.explain.treeshap import TreeShap
from churn.model.artifact import Model
from churn.scoring.scorer import score_partition
from tests.benchmarks.score_data import FEATURES, Snapshots

REASONS = 5


@dataclass
class _Peer:
    name: str
    work: Callable[[Path], Any]  # into an empty folder
    rows: int
    cpu: list[float] = field(default_factory=list)
    error: float | None = None


def kernel_alone(snapshots: Snapshots, rounds: int) -> float:
    """Return the CPU microseconds for each row of nothing but the SHAP kernel, one thread."""
    model = Model.load(snapshots.model_folder, threads=1)
    X = model.schema.encode(pq.read_table(snapshots.files[0][0]))
    kernel = TreeShap(model.members[0].member.booster)
    kernel.contributions(X[:64])
    seconds = []
    for _ in range(max(rounds, 3)):
        start = time.process_time()
        kernel.contributions(X)
        seconds.append(time.process_time() - start)
    return 1e6 * statistics.median(seconds) / len(X)


def peers(snapshots: Snapshots, folder: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    """Run ours on the first partition and the peers on its first rows, interleaved; ours comes first.

    Returns:
        Name, rows, CPU microseconds for each row (medians), and the greatest difference of contributions
        from ours in log-odds.
    """
    path, partition_rows = snapshots.files[0]
    rows = min(rows, partition_rows)
    model = Model.load(snapshots.model_folder, threads=1)
    sample = pq.read_table(path).slice(0, rows)
    parts = folder / "sample"
    parts.mkdir()
    for index, start in enumerate(range(0, rows, half := -(-rows // 2))):
        pq.write_table(sample.slice(start, half), parts / f"part-{index:05d}.parquet", compression="zstd")
    whole = folder / "sample.parquet"
    pq.write_table(sample, whole, compression="zstd")
    first = snapshots.first(partition_rows)
    contenders = [
        _Peer("churn", lambda out: score_partition(first.tasks(out)[0]), partition_rows),
        _Peer("pandas + shap.TreeExplainer", lambda out: _by_pandas(whole, model, out), rows),
        _Peer("dask.dataframe + pred_contribs", lambda out: _by_dask(parts, model, out), rows),
    ]
    expected = contributions(model, model.schema.encode(sample)).phi
    for contender in contenders:  # also warms everybody up
        with tempfile.TemporaryDirectory(prefix="peer-", dir=folder) as out:
            contender.work(Path(out))
            found = dd.read_parquet(f"{out}/shap", columns=list(FEATURES)).compute(scheduler="synchronous")
            contender.error = float(np.abs(found.to_numpy()[:rows] - expected).max())
    for _ in range(rounds):
        for contender in contenders:
            with tempfile.TemporaryDirectory(prefix="peer-", dir=folder) as out:
                start = time.process_time()
                contender.work(Path(out))
                contender.cpu.append(time.process_time() - start)
    return [
        {
            "name": peer.name,
            "rows": peer.rows,
            "cpu_us_per_row": 1e6 * statistics.median(peer.cpu) / peer.rows,
            "error": peer.error,
        }
        for peer in contenders
    ]


def _by_pandas(path: Path, model: Model, out: Path) -> None:
    frame = pd.read_parquet(path)
    X = _matrix(frame, model)
    explainer = shap.TreeExplainer(model.members[0].member.booster)
    phi = explainer.shap_values(X)
    margin = phi.sum(axis=1) + float(np.ravel(explainer.expected_value)[0])
    for name, table in _results(frame["user_id"], margin, phi).items():
        (out / name).mkdir()
        table.to_parquet(out / name / "part-00000.parquet", index=False)


def _by_dask(parts: Path, model: Model, out: Path) -> None:
    def explain(frame: pd.DataFrame) -> pd.DataFrame:
        matrix = xgb.DMatrix(_matrix(frame, model), nthread=1)
        phi = model.members[0].member.booster.predict(matrix, pred_contribs=True)
        tables = _results(frame["user_id"], phi.sum(axis=1), phi[:, :-1])
        joined = pd.concat(list(tables.values()), axis=1)
        return joined.loc[:, ~joined.columns.duplicated()].set_index(frame.index)  # one user_id

    with dask.config.set(scheduler="synchronous"):
        frame = dd.read_parquet(parts)
        explained = frame.map_partitions(explain, meta=explain(frame.head(1)).iloc[:0])
        explained.to_parquet(out / "shap", write_index=False)


def _matrix(frame: pd.DataFrame, model: Model) -> pd.DataFrame:
    codes = {
        name: frame[name].map({value: code for code, value in enumerate(values)}).astype("float32")
        for name, values in model.schema.categories.items()
    }
    return frame[list(FEATURES)].assign(**codes)


def _results(
    users: pd.Series, margin: NDArray[np.float32], phi: NDArray[np.float32]
) -> dict[str, pd.DataFrame]:
    top = np.argsort(-np.abs(phi), axis=1)[:, :REASONS]
    named = {f"reason_{i + 1}": np.array(FEATURES)[top[:, i]] for i in range(REASONS)}
    size = {f"contribution_{i + 1}": np.take_along_axis(phi, top, 1)[:, i] for i in range(REASONS)}
    return {
        "scores": pd.DataFrame({"user_id": users.array, "probability": 1 / (1 + np.exp(-margin))}),
        "shap": pd.DataFrame(phi, columns=list(FEATURES)),
        "reasons": pd.DataFrame({"user_id": users.array, **named, **size}),
    }
