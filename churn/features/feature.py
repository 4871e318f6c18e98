"""One feature, and the catalogue of a product's features."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from churn.features.phrases import NO_PHRASES, Phrases, say

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
        phrases: how a reason states the value. Without phrases it states the sign and the value.
        range: the values that it can have, if it is a number. Rows outside it are refused.
        seed_step: the step (1 to 12) of the earlier pipeline that had this feature; None: it had none.
        plain: what a report calls it, where the meaning is a definition. Empty: the meaning.
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
    plain: str = ""

    @property
    def sign(self) -> str:
        """What reports call it: "active days a week lately"."""
        return self.plain or self.meaning

    def reported_as(self, plain: str) -> "Feature":
        """Return the feature with another name in reports."""
        return replace(self, plain=plain)

    def phrased(self, phrases: Phrases) -> "Feature":
        """Return the feature with phrases."""
        return replace(self, phrases=phrases)

    def says(self, *templates: str, **options: Any) -> "Feature":
        """Return the feature with the phrases that ``phrases.say`` makes of the arguments."""
        return self.phrased(say(*templates, **options))


def player_feature(name: str) -> Feature:
    """Return what stands in the catalogue for a learner whose log-odds do not split into features.

    Args:
        name: the player's name: ``learner_`` and the learner's.
    """
    learner = name.removeprefix("learner_").replace("_", " ")
    meaning = f"what the learner {learner} makes of all features"
    return Feature(name, "other learners", "", DOUBLE, "log-odds", meaning, range=ANY)


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


@dataclass(frozen=True)
class Group:
    """Makes the features of one group from their names, units and meanings."""

    name: str
    step: str
    seed_step: int | None = None

    def number(
        self, name: str, unit: str, meaning: str, within: Range = COUNT, type_: str = DOUBLE
    ) -> Feature:
        """Return a feature that is a number; its range is 0 or more by default."""
        return Feature(name, self.name, self.step, type_, unit, meaning, NO_PHRASES, within, self.seed_step)

    def count(self, name: str, unit: str, meaning: str, within: Range = COUNT) -> Feature:
        """Return a feature that is a whole number; its range is 0 or more by default."""
        return self.number(name, unit, meaning, within, INTEGER)

    def share(self, name: str, meaning: str) -> Feature:
        """Return a feature that is a number from 0 to 1."""
        return self.number(name, "share", meaning, SHARE)

    def flag(self, name: str, meaning: str) -> Feature:
        """Return a feature that is 0 or 1."""
        return self.number(name, "flag", meaning, FLAG, INTEGER)

    def text(self, name: str, meaning: str) -> Feature:
        """Return a feature that is a text."""
        return self.number(name, "category", meaning, ANY, TEXT)
