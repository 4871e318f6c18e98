"""How a product's model is fitted and judged.

A module of its own, so that reading settings does not import XGBoost.
"""

import re
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Where `max_dates` is left out (docs/benchmarks.md).
USUAL_DATES, MOST_DATES = 26, 104

ParamValue = bool | int | float | str
LearnerKind = Literal["xgboost", "lightgbm", "logistic", "pca_logistic", "segments", "network"]
StackRule = Literal["unless_worse", "if_better", "never"]
KINDS: tuple[LearnerKind, ...] = get_args(LearnerKind)

_LEARNER_NAME = "[a-z][a-z0-9_]{0,39}"


class LearnerSettings(BaseModel):
    """A learner of one's own: a kind, on some of the features, with some parameters.

    Attributes:
        kind: what it is.
        groups: feature groups that it reads, as docs/features.md names them; none = all.
        params: its parameters, in place of the defaults; their names are those of the library.
        tuned: when and how ``churn tune`` found them; empty if it did not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: LearnerKind
    groups: tuple[str, ...] = ()
    params: dict[str, ParamValue] = {}
    tuned: str = ""


class TrainingSettings(BaseModel):
    """Settings of training. The defaults come from measurements on real weekly tasks (docs/benchmarks.md).

    Attributes:
        sampling: ``cohort`` takes each user at one past as-of date, chosen by a hash of the id; ``all`` takes
            every eligible user at every past as-of date, for small products.
        max_dates: most past as-of dates to train on; the latest ones. None: 26; with ``all``, more of them,
            up to 104, until there are enough rows.
        holdout_dates: latest as-of dates, held out to judge the model before it is refitted on all dates.
        validation_dates: as-of dates in one block of rows that choose the number of trees.
        validation_rows: if one block has fewer rows, earlier blocks are added (forward chaining) until there
            are this many; with few rows the best number of trees is mostly chance.
        validation_folds: most blocks.
        learners: names of the learners to fit: kinds, or names in ``learner``. With several, they are
            stacked where that is better.
        learner: learners of one's own by name.
        stack: when the stack is shipped and not the single best learner: ``unless_worse`` than that by more
            than chance on later rows (on real logs the best rule), only ``if_better`` by more than chance, or
            ``never``.
        max_bin: bins that the values of a feature are divided into.
        max_depth: greatest depth of a tree.
        min_child_weight: sum of second derivatives that a leaf needs.
        subsample: share of rows that a tree sees.
        colsample_bytree: share of features that a tree sees.
        reg_lambda: L2 penalty on leaf values.
        learning_rate: shrinkage of each tree.
        max_trees: most trees.
        early_stopping_rounds: fitting stops after this many trees without a better validation log loss.
        minimum_rows: training fails with fewer rows.
        minimum_class_rows: training fails with fewer rows of either class.
        label_rate_bounds: training fails unless the churn rate is strictly between these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampling: Literal["cohort", "all"] = "cohort"
    max_dates: int | None = Field(default=None, ge=1)
    holdout_dates: int = Field(default=1, ge=1)
    validation_dates: int = Field(default=2, ge=1)
    validation_rows: int = Field(default=6_000, ge=1)
    validation_folds: int = Field(default=2, ge=1)
    learners: tuple[str, ...] = Field(default=("xgboost", "logistic"), min_length=1)
    learner: dict[str, LearnerSettings] = {}
    stack: StackRule = "unless_worse"
    max_bin: int = Field(default=64, ge=2, le=65_535)
    max_depth: int = Field(default=4, ge=1, le=12)
    min_child_weight: float = Field(default=20.0, ge=0)
    subsample: float = Field(default=0.7, gt=0, le=1)
    colsample_bytree: float = Field(default=0.5, gt=0, le=1)
    reg_lambda: float = Field(default=5.0, ge=0)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    max_trees: int = Field(default=1_000, ge=1)
    early_stopping_rounds: int = Field(default=25, ge=1)
    minimum_rows: int = Field(default=200, ge=1)
    minimum_class_rows: int = Field(default=20, ge=1)
    label_rate_bounds: tuple[float, float] = (0.01, 0.99)

    @property
    def most_dates(self) -> int:
        """Most past as-of dates that any run of these settings trains on."""
        return self.max_dates or (MOST_DATES if self.sampling == "all" else USUAL_DATES)

    def learner_settings(self, name: str) -> LearnerSettings:
        """Return the settings of a learner that ``learners`` names."""
        if name in self.learner:
            return self.learner[name]
        (kind,) = (kind for kind in KINDS if kind == name)
        return LearnerSettings(kind=kind)

    @model_validator(mode="after")
    def _learners_known(self) -> Self:
        for name in self.learner:
            if not re.fullmatch(_LEARNER_NAME, name):
                raise ValueError(
                    f"a learner cannot be called {name!r}: use up to 40 small letters, digits and _, with a "
                    "letter first"
                )
        unknown = [name for name in self.learners if name not in self.learner and name not in KINDS]
        if unknown:
            raise ValueError(
                f"learners: {', '.join(unknown)} is not known: choose from {', '.join(KINDS)}, or describe "
                "it in a table [products.NAME.training.learner.LEARNER]"
            )
        if len(set(self.learners)) < len(self.learners):
            raise ValueError("learners: a name occurs twice")
        return self

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        low, high = self.label_rate_bounds
        if not 0 <= low < high <= 1:
            raise ValueError(
                f"label_rate_bounds must be two rates in rising order within 0..1, not {low}, {high}"
            )
        return self
