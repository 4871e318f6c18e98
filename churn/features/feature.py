"""One feature, and the catalogue of a product's features."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from churn.features.phrases import NO_PHRASES, Phrases

DOUBLE, INTEGER, TEXT = "double precision", "integer", "varchar(250)"


class Range(NamedTuple):
    """The values that a feature can have; None is no bound.

    Attributes:
        low: the least value.
        high: the greatest value.
    """

    low: float | None = None
    high: float | None = None


ANY, COUNT, SHARE, FLAG = Range(), Range(0), Range(0, 1), Range(0, 1)


@dataclass(frozen=True)
class Feature:
    """One column of the feature set.

    Attributes:
        name: the column.
        group: the feature group, as the report names it.
        step: the SQL step that makes it.
        type: its SQL type: ``DOUBLE``, ``INTEGER`` or ``TEXT``.
        unit: what it is measured in, plural: "days"; "flag", "share", "ratio", "change" and "category" have
            no unit.
        meaning: one line that can follow the value: "active days in the last observed week".
        phrases: how a reason states the value. Without phrases it states the meaning and the value.
        range: the values that it can have, if it is a number. Rows outside it are refused.
        seed_step: the step (1 to 12) of the earlier pipeline that had this feature; None: it had none.
    """

    name: str
    group: str
    step: str
    type: str
    unit: str
    meaning: str
    phrases: Phrases = NO_PHRASES
    range: Range = ANY
    seed_step: int | None = None

    def with_phrases(self, phrases: Phrases) -> "Feature":
        """Return the feature with phrases."""
        return replace(self, phrases=phrases)


@dataclass(frozen=True)
class Catalogue:
    """The features of one product with the data that it has.

    Attributes:
        features: in the order of the feature set's columns.
        left_out: why a feature group could not be built, by group.
    """

    features: tuple[Feature, ...]
    left_out: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def steps(self) -> tuple[str, ...]:
        """The SQL steps that make the features, in order of first use."""
        return tuple(dict.fromkeys(feature.step for feature in self.features))


def maker(group: str, step: str, seed_step: int | None = None) -> Callable[..., Feature]:
    """Return a function that makes the features of one group; the range is 0 or more by default."""

    def feature(name: str, type_: str, unit: str, meaning: str, within: Range = COUNT) -> Feature:
        return Feature(name, group, step, type_, unit, meaning, NO_PHRASES, within, seed_step)

    return feature
