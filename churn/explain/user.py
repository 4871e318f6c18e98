"""One user's score and reasons, in words, which add up."""

import json
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from churn.core.errors import NotScoredError, RunError
from churn.explain.sentences import median, read_catalogue
from churn.explain.wording import NO_EFFECT, describe_reasons, describe_sum, habit
from churn.features.catalogue import Feature
from churn.lake.one_user import find_user, positions_of, user_rows
from churn.lake.paths import MANIFEST


def explain_user(run_folder: str, user: str) -> list[str]:
    """Return the lines that `churn explain` prints: a user's probability of churn and how it adds up.

    The lines between: the starting point (the model's bias), the reasons, and the sum of all other features.

    Example:
        >>> churn.explain_user(run.path(), "u00000007")[0]

    Values are compared with the user's own habit. For features without a habit they are compared with the
    median of the users in the same partition, a sample of all users.

    Args:
        run_folder: a committed run's folder, a path or an fsspec URL.
        user: the user id.

    Raises:
        NotScoredError: the user was not scored in that run; a UsageError.
        RunError: a file of the run is missing or damaged.
    """
    if not user.isprintable():  # also refuses shell arguments that are not UTF-8
        raise NotScoredError(f"user {user[:80]!r} was not scored: an id consists of printable characters")
    try:
        return _explain(run_folder, user)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise RunError(
            f"a file of {run_folder} is missing or damaged ({str(error).splitlines()[0]}): restore it from a "
            "backup, or make the run again with `churn run --force`"
        ) from error


def _explain(run_folder: str, user: str) -> list[str]:
    fs, path = url_to_fs(run_folder)
    columns = ["predicted_probability", "target_week_start_date", "as_of", "run_id", "margin"]
    found = find_user(fs, f"{path}/scores", user, columns)
    if found is None:
        raise NotScoredError(
            f"user {user[:80]!r} was not scored: no such id, or not active in the last observed week, not "
            f"over the product's minimum in 13 weeks, or without a usable account. The run is {run_folder}"
        )
    file, score = found
    catalogue = read_catalogue(fs, f"{path}/logs/features.json")
    reasons = sorted(user_rows(fs, f"{path}/reasons/{file}", user), key=lambda reason: reason["rank"])
    features = [catalogue[reason["feature"]] for reason in reasons if reason["feature"] in catalogue]
    own, typical = _read_usual(fs, f"{path}/features/{file}", user, features)
    telling = [reason for reason in reasons if abs(reason["contribution"]) >= NO_EFFECT]
    lines = describe_reasons(telling, catalogue, own, typical)
    manifest = _read_json(fs, f"{path}/{MANIFEST}")
    weeks = manifest.get("target_weeks", 1)
    partition = _read_json(fs, f"{path}/logs/partitions/{PurePosixPath(file).stem}.json")
    start: list[str] = []
    end: list[str] = []
    if "bias" in partition:
        start, end = describe_sum(
            partition["bias"], [reason["contribution"] for reason in telling], score["margin"], len(catalogue)
        )
    return [
        f"{user}: {score['predicted_probability']:.1%} likely to stay away from "
        f"{manifest.get('title') or manifest.get('product', 'the product')} in "
        f"{'the week of' if weeks == 1 else f'the {weeks} weeks from'} "
        f"{score['target_week_start_date']} (as of {score['as_of']}, run {score['run_id']})",
        *start,
        *(f"  {number}. {line}" for number, line in enumerate(lines, start=1)),
        *end,
    ]


def _read_json(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    """Return an object from a file; empty if there is none, as in runs of earlier versions."""
    return dict(json.loads(fs.cat_file(path))) if fs.exists(path) else {}


def _read_usual(
    fs: AbstractFileSystem, path: str, user: str, features: list[Feature]
) -> tuple[dict[str, object], dict[str, float]]:
    """Return the user's own values and the medians of one file's users, as far as ``features`` need them."""
    habits = {name for feature in features for name in habit(feature)}
    others = {feature.name for feature in features if not habit(feature)}
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        columns = [name for name in parquet.schema_arrow.names if name in habits | others | {"user_id"}]
        table = parquet.read(columns=columns)
    rows = [row for position in positions_of(table, user) for row in table.slice(position, 1).to_pylist()]
    medians = {name: median(table[name]) for name in table.column_names if name in others}
    return (rows[0] if rows else {}), {name: value for name, value in medians.items() if value is not None}
