"""The stack: its weights, and when it is shipped."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.model.encoding import sigmoid
from churn.model.stack import compare, losses, stack_weights
from tests.model.test_training import QUICK, fit, snapshots

BOTH = QUICK.model_copy(update={"learners": ("xgboost", "logistic")})


def outcomes(rows, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, rows)
    return truth, (rng.random(rows) < sigmoid(truth)).astype(np.int8), rng


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(2, 300),
    members=st.integers(1, 5),
    scale=st.sampled_from([0.0, 0.1, 3.0, 300.0]),
)
def test_weights_are_at_least_0_and_1_together(seed, rows, members, scale):
    truth, churned, rng = outcomes(rows, seed)
    margins = scale * (truth[:, None] + rng.normal(0, 1, (rows, members)))
    weights = stack_weights(margins, churned)
    assert weights.shape == (members,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_with_many_rows_weights_are_those_of_the_best_mean():
    """Two noisy views of the truth with independent noise: weights go by one over the noise's variance."""
    truth, churned, rng = outcomes(200_000)
    margins = np.column_stack(
        [truth + rng.normal(0, 0.5, len(truth)), truth + rng.normal(0, 1.0, len(truth))]
    )
    weights = stack_weights(margins, churned)
    grid = np.linspace(0, 1, 101)
    best = grid[np.argmin([losses(margins @ [w, 1 - w], churned).mean() for w in grid])]
    assert weights[0] == pytest.approx(best, abs=0.02)


def test_a_useless_member_gets_no_weight_and_few_rows_give_equal_weights():
    truth, churned, rng = outcomes(50_000)
    margins = np.column_stack([truth, rng.normal(0, 1.5, len(truth))])
    np.testing.assert_allclose(stack_weights(margins, churned), [1, 0], atol=0.02)
    np.testing.assert_allclose(stack_weights(margins[:2], churned[:2]), [0.5, 0.5], atol=0.1)


def test_log_losses_are_those_of_the_definition():
    truth, churned, _ = outcomes(100)
    p = sigmoid(truth)
    np.testing.assert_allclose(losses(truth, churned), -np.log(np.where(churned == 1, p, 1 - p)))


@pytest.mark.parametrize(
    ("shift", "rule", "shipped"),
    [
        (-0.05, "unless_worse", True),
        (-0.05, "if_better", True),
        (-0.05, "never", False),
        (0.0, "unless_worse", True),
        (0.0, "if_better", False),
        (0.05, "unless_worse", False),
        (0.05, "if_better", False),
    ],
)
def test_it_is_shipped_by_its_interval(shift, rule, shipped):
    rng = np.random.default_rng(1)
    single = rng.gamma(1, 0.4, 3000)
    stack = single + shift + rng.normal(0, 0.1, 3000) - rng.normal(0, 0.1, 3000).mean()
    found = compare(stack, single, np.arange(3000) // 3, rule, seed=1)
    assert found.shipped is shipped
    assert found.difference.low < found.difference.value < found.difference.high
    assert found.rows == 3000


def test_a_shipped_stack_is_the_weighted_mean_of_its_members():
    found = fit(snapshots(), BOTH)
    model, card = found.model, found.model.card
    assert card.stack.shipped
    assert model.learner == "stack"
    assert [member.name for member in model.members] == ["xgboost", "logistic"]
    X = model.schema.encode(snapshots())
    expected = sum(member.weight * member.member.margin(X) for member in model.members)
    np.testing.assert_allclose(model.margin(X), expected)
    assert sum(member.weight for member in model.members) == pytest.approx(1)
    assert {learner.name: learner.weight for learner in card.learners} == {
        member.name: member.weight for member in model.members
    }
    assert set(card.params) >= {"xgboost.max_depth", "logistic.C"}


def test_the_stack_never_knows_the_holdout():
    """Flipping the labels of the holdout changes neither weights nor sizes."""
    table = snapshots()
    holdout = np.array(table["as_of_date"]) == np.datetime64(max(table["as_of_date"].to_pylist()))
    churned = np.array(table["churned"])
    flipped = np.where(holdout, 1 - churned, churned).astype(np.int8)
    one = fit(table, BOTH)
    other = fit(table.set_column(2, "churned", [flipped]), BOTH.model_copy(update={"stack": "unless_worse"}))
    sizes = [[learner.size for learner in found.model.card.learners] for found in (one, other)]
    assert sizes[0] == sizes[1]
    folds = [[learner.fold_log_loss for learner in found.model.card.learners] for found in (one, other)]
    assert folds[0] == folds[1]


def test_one_learner_is_no_stack():
    card = fit(snapshots()).model.card
    assert card.stack is None
    assert [learner.weight for learner in card.learners] == [1.0]


def test_a_learner_that_cannot_be_fitted_is_left_out_and_named():
    """The others go on."""
    wild = {"wild": {"kind": "network", "params": {"learning_rate": 1e30}}}
    settings = type(QUICK).model_validate(
        QUICK.model_dump() | {"learners": ("xgboost", "wild"), "learner": wild}
    )
    card = fit(snapshots(), settings).model.card
    assert [learner.name for learner in card.learners] == ["xgboost", "wild"]
    assert "diverged" in card.learners[1].failure
    assert card.learners[1].weight == 0
    assert any("The learner wild was left out" in note for note in card.notes)
    assert card.stack is None


def test_a_learner_of_some_groups_reads_only_their_features():
    groups = {"active": "activity", "noise": "noise", "nation": "profile"}
    settings = type(QUICK).model_validate(
        QUICK.model_dump()
        | {
            "learners": ("xgboost", "habits"),
            "learner": {"habits": {"kind": "logistic", "groups": ("activity", "noise")}},
        }
    )
    found = fit(snapshots(), settings, groups=groups)
    (member,) = (each for each in found.model.members if each.name == "habits")
    assert member.columns == (0, 1)
    X = found.model.schema.encode(snapshots())
    changed = X.copy()
    changed[:, 2] = 0
    np.testing.assert_array_equal(
        member.member.margin(member.matrix(X)), member.member.margin(member.matrix(changed))
    )


def test_a_group_that_no_feature_has_is_named():
    settings = type(QUICK).model_validate(
        QUICK.model_dump()
        | {"learners": ("xgboost", "odd"), "learner": {"odd": {"kind": "logistic", "groups": ("odd",)}}}
    )
    card = fit(snapshots(), settings, groups={"active": "activity"}).model.card
    assert "no feature is of the groups odd; there are: activity" in card.learners[1].failure
