import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from churn.config.training import TrainingSettings
from churn.core.errors import CheckError, RunError
from churn.model.encoding import sigmoid
from churn.model.metrics import best_threshold
from churn.model.rows import read_rows
from churn.model.splits import split
from churn.model.training import train

AS_OF = date(2026, 6, 28)
LATEST = AS_OF - timedelta(days=14)
QUICK = TrainingSettings(
    sampling="all", learners=("xgboost",), learning_rate=0.2, max_trees=60, early_stopping_rounds=8
)
CREATED = datetime(2026, 6, 29, tzinfo=UTC)


@cache
def snapshots(dates=8, users=150, seed=0):
    """Every user at every date; activity and nation say who leaves."""
    rng = np.random.default_rng(seed)
    rows = dates * users
    active = rng.gamma(2.0, 1.0, rows)
    nation = rng.choice(["england", "scotland", "wales"], rows)
    margin = 1.0 - 1.2 * active + 1.5 * (nation == "wales")
    days = [LATEST - timedelta(weeks=k) for k in range(dates)]
    return pa.table(
        {
            "user_id": [f"user-{i:04d}" for i in range(users)] * dates,
            "as_of_date": pa.array(np.repeat(np.array(days, dtype="datetime64[D]"), users)),
            "churned": pa.array((rng.random(rows) < sigmoid(margin)).astype(np.int8)),
            "active": pa.array(active, mask=rng.random(rows) < 0.05),
            "noise": pa.array(rng.integers(0, 100, rows), pa.int32()),
            "nation": pa.array(nation.tolist()),
        }
    )


def fit(table, settings=QUICK, **changes):
    given = {"product": "food", "as_of": AS_OF, "code_version": "1", "created_at": CREATED, "threads": 1}
    return train(table, settings=settings, **(given | changes))


def raw(result):
    return bytes(result.model.members[0].member.booster.save_raw("ubj"))


def replaced(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


def shuffled(table, seed=1):
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


@pytest.fixture(scope="module")
def result():
    return fit(snapshots())


def test_the_model_ranks_users_and_its_card_says_what_it_is(result):
    card = result.model.card
    assert result.evaluation.auc.value > 0.7
    assert card.features == ("active", "noise", "nation")
    assert card.categories["nation"][-1] == "wales"
    assert (card.rows, card.trees) == (1200, result.model.members[0].member.booster.num_boosted_rounds())
    assert card.metrics == result.evaluation.to_dict()
    assert card.model_version.startswith("food-20260628-")
    assert card.params["base_score"] == pytest.approx(card.churn_rate)
    assert result.model.card.notes == ()


def test_the_holdout_is_the_latest_date_and_the_dates_before_it_have_their_roles(result):
    roles = {facts.as_of: facts.role for facts in result.model.card.dates}
    assert list(roles) == sorted(roles)
    assert roles[LATEST] == "holdout"
    assert roles[LATEST - timedelta(weeks=1)] == "gap"
    assert list(roles.values()).count("validation") >= 2
    assert roles[min(roles)] == "training"
    holdout = result.holdout
    assert holdout.column_names == ["user_id", "as_of_date", "churned", "predicted_probability"]
    assert set(holdout["as_of_date"].to_pylist()) == {LATEST}
    assert holdout.num_rows == 150


def test_trees_that_reach_their_limit_are_warned_of():
    card = fit(snapshots(), QUICK.model_copy(update={"max_trees": 2})).model.card
    assert card.trees == 2
    assert len(card.notes) == 1
    assert "2 trees, all that max_trees allows" in card.notes[0]
    assert "[products.food.training]" in card.notes[0]


def test_the_threshold_is_the_holdout_s_best(result):
    expected = best_threshold(result.holdout["churned"], result.holdout["predicted_probability"])
    assert result.model.card.threshold == expected


def test_the_same_rows_in_any_order_give_the_same_model(result):
    again = fit(shuffled(snapshots()))
    assert raw(again) == raw(result)
    assert again.model.card == result.model.card
    assert again.holdout.equals(result.holdout)


def test_the_number_of_threads_does_not_change_the_model():
    table = snapshots(dates=8, users=8000)  # enough rows for two threads
    settings = QUICK.model_copy(update={"max_trees": 5})
    assert raw(fit(table, settings, threads=2)) == raw(fit(table, settings, threads=1))


def test_another_seed_gives_another_model(result):
    assert raw(fit(snapshots(), seed=2)) != raw(result)


def test_the_judged_model_knows_nothing_later_than_14_days_before_the_holdout(result):
    table = snapshots()
    gap_or_later = pc.greater(table["as_of_date"], LATEST - timedelta(days=14))
    flipped = pc.if_else(gap_or_later, pc.subtract(1, table["churned"]), table["churned"]).cast(pa.int8())
    misled = fit(replaced(table, "churned", flipped))
    column = "predicted_probability"
    assert misled.holdout[column].equals(result.holdout[column])
    assert misled.model.card.trees == result.model.card.trees
    assert raw(misled) != raw(result)  # the shipped model does learn from them


def test_the_judged_model_learns_from_rows_14_days_before_the_holdout(result):
    table = snapshots()
    known = pc.equal(table["as_of_date"], LATEST - timedelta(days=14))
    flipped = pc.if_else(known, pc.subtract(1, table["churned"]), table["churned"]).cast(pa.int8())
    misled = fit(replaced(table, "churned", flipped))
    assert not misled.holdout["predicted_probability"].equals(result.holdout["predicted_probability"])


def rows_of(table, settings=QUICK):
    return read_rows(table, as_of=AS_OF, settings=settings, stage="training")


@pytest.mark.parametrize("dates", [5, 6, 9, 16, 26])
@pytest.mark.parametrize("holdout_dates", [1, 3])
def test_whatever_judges_is_at_least_14_days_later_than_what_fits(dates, holdout_dates):
    settings = QUICK.model_copy(update={"holdout_dates": holdout_dates})
    rows = rows_of(snapshots(dates=dates), settings)
    plan = split(rows, settings)
    assert plan.judged_on == "later_dates"
    assert not (plan.holdout & plan.development).any()
    assert rows.dates[plan.holdout].min() - rows.dates[plan.development].max() >= np.timedelta64(14, "D")
    for fold in plan.folds:
        assert not (fold.fit & ~plan.development).any()
        assert not (fold.validate & ~plan.development).any()
        assert rows.dates[fold.validate].min() - rows.dates[fold.fit].max() >= np.timedelta64(14, "D")


def test_small_data_gets_more_validation_blocks_than_large():
    rows = rows_of(snapshots(dates=26))
    small = split(rows, QUICK.model_copy(update={"validation_folds": 5}))
    large = split(rows, QUICK.model_copy(update={"validation_rows": 300}))
    assert [int(fold.validate.sum()) for fold in small.folds] == [300] * 5
    assert len(large.folds) == 1
    assert all(2 * fold.fit.sum() >= small.development.sum() for fold in small.folds)


@pytest.mark.parametrize("dates", [1, 2])
def test_with_too_few_dates_other_users_judge(dates):
    found = fit(snapshots(dates=dates, users=600), QUICK.model_copy(update={"max_trees": 200}))
    held = set(found.holdout["user_id"].to_pylist())
    assert found.model.card.judged_on == "other_users"
    assert 60 < len(held) < 180
    assert found.holdout.num_rows == len(held) * dates
    assert len(found.model.card.notes) == 2
    assert "a fifth of the users was held out" in found.model.card.notes[0]
    plan = split(rows_of(snapshots(dates=dates, users=600)), QUICK)
    for fold in plan.folds:
        ids = rows_of(snapshots(dates=dates, users=600)).users
        assert not set(ids[fold.fit]) & set(ids[fold.validate])


@pytest.mark.parametrize("dates", [3, 4])
def test_with_few_dates_later_dates_judge_and_other_users_choose_the_trees(dates):
    found = fit(snapshots(dates=dates, users=300), QUICK.model_copy(update={"max_trees": 200}))
    assert found.model.card.judged_on == "later_dates"
    assert len(found.model.card.notes) == 1
    assert "chosen on other users" in found.model.card.notes[0]
    assert found.evaluation.auc.value > 0.65


def test_only_the_latest_dates_are_used():
    few = fit(snapshots(dates=26), QUICK.model_copy(update={"max_dates": 6}))
    assert len(few.model.card.training_dates) == 6
    assert few.model.card.training_dates[-1] == LATEST


def test_matrices_are_those_that_scoring_will_make():
    table = snapshots()
    rows = rows_of(table)
    half = rows.dates <= np.datetime64(LATEST - timedelta(weeks=4))
    schema = rows.schema(half)
    in_order = table.sort_by([("as_of_date", "ascending"), ("user_id", "ascending")])
    np.testing.assert_array_equal(rows.matrix(schema, ~half), schema.encode(in_order.filter(pa.array(~half))))


def test_the_order_of_categories_does_not_know_the_rows_that_judge():
    table = snapshots()
    rows = rows_of(table)
    early = rows.dates <= np.datetime64(LATEST - timedelta(weeks=4))
    flipped = rows.churned.copy()
    flipped[~early] = 1 - flipped[~early]
    in_order = table.sort_by([("as_of_date", "ascending"), ("user_id", "ascending")])
    misled = rows_of(replaced(in_order, "churned", pa.array(flipped)))
    assert misled.schema(early) == rows.schema(early)


def test_the_fingerprint_sees_contents_and_not_their_order_or_layout():
    table = snapshots(dates=3)
    original = rows_of(table).fingerprint()
    chunked = pa.concat_tables([table.slice(0, 100), table.slice(100)])
    encoded = replaced(table, "nation", table["nation"].dictionary_encode())
    for same in (shuffled(table), chunked, encoded):
        assert rows_of(same).fingerprint() == original
    active = table["active"].to_pylist()
    active[7] = 9.0
    renamed = pc.replace_substring(table["user_id"], "user-0000", "user-x")
    for other in (
        replaced(table, "active", pa.array(active)),
        replaced(table, "user_id", renamed),
        replaced(table, "nation", pc.replace_substring(table["nation"], "wales", "cymru")),
        table.rename_columns(["user_id", "as_of_date", "churned", "active", "noise", "region"]),
    ):
        assert rows_of(other).fingerprint() != original


def test_features_that_say_nothing_are_found():
    table = snapshots(dates=4)
    rows = table.num_rows
    for name, values in {
        "empty": pa.nulls(rows, pa.float32()),
        "zero": pa.array([0] * rows),
        "one_text": pa.array(["x"] * rows),
        "no_text": pa.nulls(rows, pa.string()),
        "same_or_missing": pa.array([1.0] * (rows - 1) + [None]),
    }.items():
        table = table.append_column(name, values)
    assert rows_of(table).saying_nothing() == (["empty", "no_text"], ["zero", "one_text"])


def one_class(table):
    return replaced(table, "churned", pa.array(np.zeros(table.num_rows, dtype=np.int8)))


def with_null(table, name):
    values = table[name].to_pylist()
    values[3] = None
    return replaced(table, name, pa.array(values, table[name].type))


def constant(table):
    return table.drop_columns(["noise", "nation"]).set_column(3, "active", pa.array(np.ones(table.num_rows)))


BROKEN = {
    "no label": (lambda t: t.drop_columns(["churned"]), "lack the column 'churned'"),
    "no features": (lambda t: t.select(["user_id", "as_of_date", "churned"]), "no feature columns"),
    "null user": (lambda t: with_null(t, "user_id"), "1 training rows have no user_id"),
    "null label": (lambda t: with_null(t, "churned"), "1 training rows have no churned"),
    "strange label": (
        lambda t: replaced(t, "churned", pc.multiply(t["churned"], pa.scalar(2, pa.int8()))),
        "churned must be 0 or 1",
    ),
    "repeated": (lambda t: pa.concat_tables([t, t.slice(0, 5)]), "5 training rows repeat"),
    "date feature": (lambda t: t.append_column("since", t["as_of_date"]), "'since' is of type date32"),
    "few rows": (lambda t: t.slice(0, 150), "150 training rows, and at least 200"),
    "one class": (one_class, "0 training rows of users who churned"),
    "rate": (one_class, "churn rate is 0.0000, outside 0.01 to 0.99"),
    "no rows": (lambda t: t.slice(0, 0), "0 training rows"),
    "constant": (constant, "all 150 probabilities are"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_training_snapshots_are_refused(fault):
    breaks, message = BROKEN[fault]
    with pytest.raises(CheckError, match=message):
        fit(breaks(snapshots()))


def test_labels_that_were_not_known_yet_are_refused():
    with pytest.raises(CheckError, match="label is not known on 2026-06-21"):
        fit(snapshots(), as_of=AS_OF - timedelta(weeks=1))


def test_infinite_features_are_named():
    table = snapshots()
    values = np.ones(table.num_rows)
    values[4] = np.inf
    with pytest.raises(RunError, match="'noise' holds 1 infinite"):
        fit(replaced(table, "noise", pa.array(values)))


@pytest.mark.parametrize("wrong", [{"maxdepth": 3}, {"max_depth": 0}, {"label_rate_bounds": (0.9, 0.1)}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TrainingSettings(**wrong)


STOPPED = """
import os, signal, time
from xgboost.core import DataIter
from flows.console import install_signal_handlers
from tests.model.test_training import fit, snapshots

original = DataIter._next_wrapper
sent = []

def stopped(*given):
    if not sent:
        sent.append(os.kill(os.getpid(), signal.SIGINT))
        time.sleep(0.2)
    return original(*given)

DataIter._next_wrapper = stopped
install_signal_handlers()
try:
    fit(snapshots())
except KeyboardInterrupt:
    print("stopped in order")
"""


@pytest.mark.process
def test_ctrl_c_while_xgboost_asks_for_rows_ends_in_order():
    """Raised inside XGBoost's callback, it ended the process: double free or corruption."""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", STOPPED], cwd=root, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "stopped in order\n", "")


def test_progress_counts_the_rounds_of_each_step_and_changes_nothing():
    table = snapshots()
    told = []
    watched = fit(table, on_progress=told.append)
    assert raw(watched) == raw(fit(table))
    trees = watched.model.card.trees
    for step, most in (("fold 1", None), ("judge", trees), ("all rows", trees)):
        sentences = [each for each in told if each.startswith(f"fit xgboost to {step}: round ")]
        if most is None:
            assert f"of at most {QUICK.max_trees:,}, at most " in sentences[0]
        else:
            assert len(sentences) == trees
            assert sentences[-1] == f"fit xgboost to {step}: round {trees:,} of {trees:,}, 0 s left"
