"""Back-tests: train as of a past date with what was known then, and compare with what users did."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from churn import __version__
from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core import notices
from churn.core.errors import IncompleteWeekError, SourceError
from churn.core.files import replace_file
from churn.core.private import private_files
from churn.core.tempdirs import temporary_folder
from churn.dataset.build import plan_dataset, run_steps
from churn.dataset.checks import check_snapshots
from churn.dataset.incomplete import check_can_be_judged
from churn.dataset.labels import plan_labels, read_labels
from churn.dataset.plan import DatasetPlan
from churn.dataset.unload import read_snapshots, unload
from churn.features.completeness import find_incomplete_weeks
from churn.model.metrics import evaluate
from churn.model.training import train
from churn.warehouse.base import Warehouse
from churn.warehouse.open import open_in_memory

logger = logging.getLogger(__name__)

_ROWS_PER_FILE = 1_000_000


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one as-of date of a back-test.

    Attributes:
        plan: the SQL plan that made them.
        training: past snapshots whose label was known on the as-of date.
        scored: the as-of date's eligible users with their later outcome in ``churned``.
    """

    plan: DatasetPlan
    training: pa.Table
    scored: pa.Table


def prepare_snapshots(warehouse: Warehouse, settings: Settings, product: str, as_of: date) -> Snapshots:
    """Return the snapshots of one as-of date with their later outcomes.

    Features, eligibility and training labels read activity up to the as-of date only. Outcomes come from a
    second pass of the label's SQL step, which reads up to the end of the target.

    Raises:
        SourceError: the data end before the target does, or a source is wrong.
        IncompleteWeekError: activity of the last observed week, or of a target week, is missing.
        CheckError: the snapshots failed a check.
    """
    schema = f"backtest_{product}_{as_of:%Y%m%d}"
    plan = plan_dataset(warehouse, settings, product, as_of, schema)
    rows = run_steps(warehouse, plan)
    check_snapshots(warehouse, plan, rows)
    with temporary_folder() as scratch:
        tables = {}
        for purpose in ("train", "score"):
            folder = scratch / purpose
            folder.mkdir()
            tables[purpose] = read_snapshots(unload(warehouse, plan, purpose, folder, _ROWS_PER_FILE))
    outcome_plan = plan_labels(warehouse, settings, plan, f"{schema}_outcomes")
    run_steps(warehouse, outcome_plan)
    labels = read_labels(warehouse, outcome_plan)
    _check_target_is_over(warehouse, plan)
    incomplete = find_incomplete_weeks(
        warehouse, plan.tables.aggregates, plan.product, plan.windows.target_end
    )
    check_can_be_judged(plan.name, plan.windows, incomplete)
    for name in (outcome_plan.schema, plan.schema):
        warehouse.execute(f"drop schema {name} cascade")
    churned = pa.array([labels.get(user) for user in tables["score"]["user_id"].to_pylist()], pa.int8())
    scored = tables["score"].add_column(2, "churned", churned)
    return Snapshots(plan, tables["train"], scored)


def _check_target_is_over(warehouse: Warehouse, plan: DatasetPlan) -> None:
    # The last day of the whole log: one product may have no activity for days.
    table = warehouse.fetch(f"select max(activity_date) as last_date from {plan.schema}.activity")
    last = table["last_date"][0].as_py()
    windows = plan.windows
    if last is None or last < windows.target_end - timedelta(days=1):
        raise SourceError(
            f"the outcome of {windows.as_of} is not known: the target is "
            f"{windows.target_week_start} to {windows.target_end}, and the activity ends on "
            f"{last}. Choose an earlier --as-of"
        )


def snapshots(data: Path, product: str, as_of: date) -> tuple[pa.Table, pa.Table]:
    """Return the training and the scored snapshots of a data folder, computed in memory."""
    settings = load_settings(data, data)
    warehouse = open_in_memory(settings)
    try:
        snapshots = prepare_snapshots(warehouse, settings, product, as_of)
    finally:
        warehouse.close()
    return snapshots.training, snapshots.scored


@private_files()
def backtest(
    settings: Settings, product: str, dates: Sequence[date], predictions: str | Path
) -> dict[str, Any]:
    """Train as of each date with what was known then, score its eligible users, and evaluate the scores.

    Example:
        >>> figures = churn.backtest(settings, "iplayer", [date(2026, 6, 14)], "predictions.parquet")
        >>> figures["all"]["log_loss"]["value"]

    Args:
        settings: the settings, with the data folder.
        product: a product that the settings know.
        dates: past Sundays whose target is over in the data.
        predictions: Parquet file to write: user_id, as_of, target_week_start_date, churned,
            predicted_probability.

    Returns:
        Metrics with 95% intervals by date (``dates``) and of all dates together (``all``, users resampled as
        a whole), ready for JSON; each date's warnings, which are also logged; ``left_out``, why dates were
        not judged, by date; and the path of the predictions.

    Raises:
        UsageError: unknown product, or a date that is not a Sunday.
        SourceError: a target week is not over in the data, or a source is wrong.
        IncompleteWeekError: activity is missing in the weeks of every date. A single such date is left out,
            with a warning.
        CheckError: the snapshots broke a check.
    """
    predictions = Path(predictions)
    warehouse = open_in_memory(settings)
    judged: list[pa.Table] = []
    figures: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    try:
        for as_of in sorted(set(dates)):
            try:
                snapshots = prepare_snapshots(warehouse, settings, product, as_of)
            except IncompleteWeekError as error:
                (left_out[f"{as_of}"],) = notices.warn(product, [f"{as_of} is left out: {error}"])
                continue
            model = train(
                snapshots.training,
                product=product,
                as_of=as_of,
                settings=settings.product(product).training,
                label_delay=snapshots.plan.windows.label_delay,
                seed=settings.seed,
                code_version=__version__,
            ).model
            warnings = [*snapshots.plan.warnings, *notices.warn(product, model.card.notes)]
            probability = model.probability(model.schema.encode(snapshots.scored))
            churned = snapshots.scored["churned"].to_numpy()
            evaluation = evaluate(churned, probability, seed=settings.seed)
            figures.append(
                {
                    "as_of": as_of.isoformat(),
                    "model_version": model.card.model_version,
                    "warnings": warnings,
                    **evaluation.to_dict(),
                }
            )
            logger.info(
                "%s as of %s: %s rows, log loss %.4f",
                product,
                as_of,
                f"{len(churned):,}",
                evaluation.log_loss.value,
            )
            judged.append(_predictions(snapshots, probability))
    finally:
        warehouse.close()
    if not judged:
        raise IncompleteWeekError("\n".join(left_out.values()))
    table = pa.concat_tables(judged)
    predictions.parent.mkdir(parents=True, exist_ok=True)
    file = pa.BufferOutputStream()
    pq.write_table(table, file, compression="zstd")
    replace_file(str(predictions), file.getvalue().to_pybytes())  # not into a file that others may read
    overall = evaluate(
        table["churned"].to_numpy(),
        table["predicted_probability"].to_numpy(),
        clusters=table["user_id"].to_numpy(zero_copy_only=False),
        seed=settings.seed,
    )
    return {
        "product": product,
        "dates": figures,
        "all": overall.to_dict(),
        "left_out": left_out,
        "predictions": str(predictions),
    }


def _predictions(snapshots: Snapshots, probability: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Table:
    rows = snapshots.scored.num_rows
    week = snapshots.plan.windows.target_week_start
    return pa.table(
        {
            "user_id": snapshots.scored["user_id"],
            "as_of": snapshots.scored["as_of_date"],
            "target_week_start_date": pa.repeat(pa.scalar(week, pa.date32()), rows),
            "churned": snapshots.scored["churned"],
            "predicted_probability": pa.array(probability),
        }
    )
