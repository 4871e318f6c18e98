"""A feature, and what a catalogue of them is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from churn.features.phrases import Phrases

DOUBLE, INTEGER, TEXT = "double precision", "integer", "varchar(250)"


class Range(NamedTuple):
    """Values that a feature can have; a bound of None is open.

    Attributes:
        low: the least one.
        high: the greatest one.
    """

    low: float | None = None
    high: float | None = None


ANY, COUNT, SHARE, FLAG = Range(), Range(0), Range(0, 1), Range(0, 1)


@dataclass(frozen=True)
class Feature:
    """One column of a snapshot.

    Attributes:
        name: the column.
        group: feature group, as the report names it.
        step: the SQL step that makes it.
        type: its SQL type in the feature set.
        unit: what it is measured in.
        meaning: one line in words, fit to follow the value: "active days in the last observed week".
        phrases: what is said of its value when it is a user's reason.
        range: the values that it can have, if it is a number.
        seed_step: which of the twelve steps of the pipeline before this one it answers to; None: none.
    """

    name: str
    group: str
    step: str
    type: str
    unit: str
    meaning: str
    phrases: Phrases
    range: Range = ANY
    seed_step: int | None = None


@dataclass(frozen=True)
class Catalogue:
    """The features of one product on one body of data.

    Attributes:
        features: in the order of the feature set's columns.
        left_out: feature group -> why it could not be built.
    """

    features: tuple[Feature, ...]
    left_out: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def steps(self) -> tuple[str, ...]:
        """The SQL steps that the features come from, in order of first use."""
        return tuple(dict.fromkeys(feature.step for feature in self.features))


def maker(
    group: str, step: str, said: Mapping[str, Phrases], seed_step: int | None = None
) -> Callable[..., Feature]:
    """Return what makes the features of one group from name, type, unit, meaning and range (0 or more)."""

    def feature(name: str, type_: str, unit: str, meaning: str, within: Range = COUNT) -> Feature:
        return Feature(name, group, step, type_, unit, meaning, said[name], within, seed_step)

    return feature
