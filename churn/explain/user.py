"""One user's score and reasons, in words."""

import json

import pyarrow.compute as pc
import pyarrow.dataset as ds
from fsspec.core import url_to_fs

from churn.errors import UsageError
from churn.explain.outputs import read_reasons
from churn.explain.reasons import in_words
from churn.features import Feature


def explain_user(run_folder: str, user: str) -> list[str]:
    """Return lines that say how likely a user is to stay away, and why.

    Args:
        run_folder: a committed run's folder, a path or an fsspec URL.
        user: the user id.

    Raises:
        UsageError: the user was not scored in that run.
        RunError: the run has no reasons.
    """
    fs, path = url_to_fs(run_folder)
    scores = ds.dataset(f"{path}/scores", filesystem=fs, format="parquet")
    found = scores.to_table(filter=pc.field("user_id") == user).to_pylist()
    if not found:
        raise UsageError(
            f"user {user[:80]!r} was not scored: no such id, or not active in the last observed week, not "
            f"over the product's minimum in 13 weeks, or without a usable account. The run is {run_folder}"
        )
    score = found[0]
    with fs.open(f"{path}/logs/features.json", "rt", encoding="utf-8") as file:
        catalogue = {entry["name"]: Feature(**entry) for entry in json.load(file)}
    reasons = sorted(read_reasons(run_folder, [user]).to_pylist(), key=lambda reason: reason["rank"])
    return [
        f"{user}: {score['predicted_probability']:.1%} likely to stay away from {score['product']} in the "
        f"week of {score['target_week_start_date']} (as of {score['as_of']}, run {score['run_id']})",
        *(f"  {number}. {line}" for number, line in enumerate(in_words(reasons, catalogue), start=1)),
    ]
