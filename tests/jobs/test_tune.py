"""Tuning: trials on folds, a winner that proves itself later, and the file that runs use."""

import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest

from churn.config.load import load_settings
from churn.config.settings import Settings
from churn.core.errors import CheckError, ConfigError, UsageError
from churn.jobs import tune as tuning
from churn.jobs.tune import tune
from churn.jobs.weekly.job import run
from churn.model.artifact import Model
from churn.outputs.trials import history_plot, log_trials
from tests.support.data_folders import AS_OF, write_table
from tests.support.fixtures_weekly import PRODUCTS, leaving_people

DATE = AS_OF - timedelta(weeks=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_table(folder, "events.activity", leaving_people(weeks=24))
    (folder / "churn.toml").write_text(PRODUCTS, "utf-8")
    return folder


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> Settings:
    return load_settings(data, tmp_path / "out")


def test_the_winner_is_written_used_by_runs_and_named_in_the_card(data: Path, settings: Settings) -> None:
    told: list[str] = []
    found = tune(settings, "food", DATE, learner="xgboost", minutes=1, trials=6, tell=told.append)
    assert len(found.trials) == len(found.tried) == len(told) == 6
    assert found.tried[0] == {}
    assert found.best_loss <= found.default_loss
    if found.file is None:  # nothing was better: then nothing is written
        assert not (data / "tuned").exists()
        found = tune(settings, "food", DATE, learner="logistic", minutes=1, trials=12)
    assert found.file == data / "tuned" / "food.toml"
    assert found.difference[0] <= 0
    written = tomllib.loads(found.file.read_text())[found.learner]
    assert written["params"] == found.params
    again = load_settings(data, settings.out)
    learner = again.product("food").training.learner_settings(found.learner)
    assert learner.params == found.params
    params = params_of_a_run(again)
    assert params[f"{found.learner}.tuned"] == learner.tuned
    name, value = next(iter(found.params.items()))
    assert params[f"{found.learner}.{name}"] == value


def params_of_a_run(settings: Settings) -> dict[str, object]:
    """The parameters in the card of a run's model, each with its learner's name."""
    result = run(settings, "food", AS_OF)
    model = Model.load(Path(result.report).parents[1] / "model")
    return {
        key if "." in key else f"{model.learner}.{key}": value for key, value in model.card.params.items()
    }


def test_what_the_file_of_settings_says_wins(data: Path, settings: Settings) -> None:
    (data / "tuned").mkdir()
    (data / "tuned" / "food.toml").write_text('[logistic]\nkind = "logistic"\nparams = { C = 0.5 }\n')
    assert load_settings(data, settings.out).product("food").training.learner["logistic"].params == {"C": 0.5}
    with (data / "churn.toml").open("a") as file:
        file.write("\n[products.food.training.learner.logistic.params]\nC = 0.25\n")
    assert load_settings(data, settings.out).product("food").training.learner["logistic"].params == {
        "C": 0.25
    }


def test_a_damaged_file_is_named(data: Path, settings: Settings) -> None:
    (data / "tuned").mkdir()
    (data / "tuned" / "food.toml").write_text("[logistic\n")
    with pytest.raises(ConfigError, match=r"food.toml is not valid TOML.*tune again, or remove it"):
        load_settings(data, settings.out)


def test_a_winner_that_is_worse_later_is_not_taken(
    data: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holdout decides, which no trial has seen; here the winner's margins are turned round on it."""
    real = tuning._holdout_margins

    def turned(search: Any, prepared: Any, index: int, size: int) -> Any:
        margins = real(search, prepared, index, size)
        return -margins if index else margins

    monkeypatch.setattr(tuning, "_holdout_margins", turned)
    found = tune(settings, "food", DATE, learner="logistic", minutes=1, trials=12)
    assert found.best_loss < found.default_loss
    assert found.difference[0] > 0
    assert found.file is None
    assert found.params == {}
    assert not (data / "tuned").exists()


def test_an_unknown_learner_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="food has no learner 'network'; it has: xgboost, logistic"):
        tune(settings, "food", DATE, learner="network")


def test_a_missing_library_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'churn\[tune\]'"):
        tune(settings, "food", DATE)


def test_trials_stand_in_mlflow_with_a_plot(settings: Settings, tmp_path: Path) -> None:
    found = tune(settings, "food", DATE, learner="logistic", minutes=1, trials=4)
    parent = log_trials(
        settings.tracking_uri,
        str(tmp_path / "mlflow"),
        product="food",
        as_of=DATE,
        learner="logistic",
        trials=found.trials,
        tried=found.tried,
        metrics={"best_log_loss": found.best_loss},
    )
    client = mlflow.MlflowClient(settings.tracking_uri)
    experiment = client.get_experiment_by_name("churn-food")
    runs = client.search_runs([experiment.experiment_id])
    nested = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent]
    assert len(nested) == 4
    assert {each.data.tags["outcome"] for each in nested} <= {"fitted", "given up"}
    assert [item.path for item in client.list_artifacts(parent)] == ["history.svg"]


def test_the_plot_has_a_dot_for_each_trial_that_was_judged() -> None:
    picture = history_plot([0.5, None, 0.4, 0.45])
    assert picture.count("<circle") == 3
    assert "4 trials, and the best so far: 0.40000" in picture
    assert history_plot([0.5]).count("<circle") == 1


def test_a_default_that_cannot_be_fitted_is_named(data: Path, settings: Settings) -> None:
    odd = {"kind": "logistic", "groups": ["nothing"]}
    over = {"products": {"food": {"training": {"learners": ["odd"], "learner": {"odd": odd}}}}}
    with pytest.raises(CheckError, match="default odd cannot be fitted: no feature is of the groups nothing"):
        tune(load_settings(data, settings.out, over), "food", DATE, learner="odd")
