"""Reasons in words: "used on only 1 day last week, usually 4 (raises the risk: x1.6 odds, +0.47)"."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from churn.core.calendar import OBSERVATION_WEEKS
from churn.features.catalogue import INTEGER, Feature
from churn.features.phrases import MONEY, NO_PHRASES

NO_EFFECT = 0.005  # log-odds; smaller contributions are x1.00, and no reason
_FAR_BELOW = 0.75  # a value up to this share of the usual one is told with "only"
_LEAST_WEEKS = 2  # a habit needs at least so many active weeks
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}


def describe_reasons(
    reasons: Iterable[Mapping[str, object]],
    catalogue: Mapping[str, Feature],
    own: Mapping[str, object] | None = None,
    typical: Mapping[str, float] | None = None,
) -> list[str]:
    """Return one sentence per reason.

    Args:
        reasons: rows of a reasons table: feature, value (text or None), contribution.
        catalogue: the features by name; an unknown feature is shown by its name.
        own: the user's feature values, which give the habits that values are compared with.
        typical: median by feature among the scored users, for features without a habit.
    """
    return [
        _line(reason, catalogue.get(str(reason["feature"])), own or {}, typical or {}) for reason in reasons
    ]


def describe_sum(
    bias: float, contributions: Sequence[float], margin: float, features: int
) -> tuple[list[str], list[str]]:
    """Return the lines before and after a user's reasons, so that the printed numbers add up.

    Args:
        bias: the model's bias, log-odds: where every user starts.
        contributions: of the reasons shown.
        margin: the user's log-odds: bias and all contributions.
        features: how many features the model has, those shown included.

    Example:
        >>> describe_sum(-1.0, [0.5], 0.2, 9)
        (['  Everybody starts at 26.9% (-1.00).'],
         ['  The 8 other signs together raise the risk: x2.0 odds, +0.70.', '  In all 55.0% (+0.20).'])
    """
    shown = round(bias, 2), sum(round(value, 2) for value in contributions), round(margin, 2)
    rest = round(shown[2] - shown[0] - shown[1], 2)
    others = features - len(contributions)
    if rest == 0:
        effect = "do not change the risk, +0.00"
    else:
        effect = f"{'raise' if rest > 0 else 'lower'} the risk: {_factor(math.exp(rest))} odds, {rest:+.2f}"
    return (
        [f"  Everybody starts at {_probability(bias):.1%} ({shown[0]:+.2f})."],
        [
            f"  The {others:,} other signs together {effect}.",
            f"  In all {_probability(margin):.1%} ({shown[2]:+.2f}).",
        ],
    )


def _probability(margin: float) -> float:
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


def limit(feature: Feature, value: float) -> str:
    """Return a value in words that can follow "below", such as "4.5 hours" or "37%"."""
    if feature.unit in ("ratio", "change"):
        return f"{100 * value:.3g}%"
    if "{value:crossing}" in feature.phrases.raises:
        return _with_unit(_number(_weeks_ahead(value)), "weeks")
    spec = re.search(r"\{value:(/[^}]*|span)\}", feature.phrases.raises)
    text = format(_Value(value, feature.unit), spec[1] if spec else "")
    if text[0] in "-0123456789":
        return text
    # Words such as "under 1%" cannot follow "below".
    if feature.unit == "share":
        return f"{100 * value:.3g}%"
    return f"{value:.2g} {feature.unit}"


def habit(feature: Feature) -> tuple[str, ...]:
    """Return the features that hold a user's usual value: none, one, or numerator and denominator."""
    return tuple(name for name in feature.phrases.usual.split(" / ") if name)


def _line(
    reason: Mapping[str, object],
    feature: Feature | None,
    own: Mapping[str, object],
    typical: Mapping[str, float],
) -> str:
    contribution = float(str(reason["contribution"]))
    value = _read(reason["value"], feature)
    if feature and feature.phrases != NO_PHRASES:
        phrase = _phrase(feature, value, contribution, _usual(feature, own, typical))
    else:
        name = feature.sign if feature else str(reason["feature"]).replace("_", " ")
        phrase = f"{name}: {'unknown' if value is None else _Value(value, '')}"
    if contribution == 0:
        return f"{phrase} (does not change the risk, +0.00)"
    effect = "raises" if contribution > 0 else "lowers"
    return f"{phrase} ({effect} the risk: {_factor(math.exp(contribution))} odds, {contribution:+.2f})"


def _phrase(feature: Feature, value: float | str | None, contribution: float, usual: float | None) -> str:
    phrases, unit = feature.phrases, feature.unit
    if value is None:
        return phrases.missing.format() or f"{feature.sign}: unknown"
    nothing = value == 0 and bool(phrases.zero)
    template = phrases.zero if nothing else phrases.raises if contribution > 0 else phrases.lowers
    if isinstance(value, str) or usual is None or (nothing and usual == 0):
        return template.format(value=_Value(value, unit), only="")
    phrase = template.format(value=_Value(value, unit), only="only " if _few(value, usual, feature) else "")
    unit_known = not nothing or unit in phrase  # after "1 day", "usually 4" needs no unit
    whole = feature.type == INTEGER
    compared, same = (phrases.tail.format(usual=_Value(x, unit, whole, unit_known)) for x in (usual, value))
    return phrase if compared == same else phrase + compared  # avoids "100%, typically 100%"


def _few(value: float, usual: float, feature: Feature) -> bool:
    least = round(usual - 0.25) if feature.type == INTEGER else usual  # avoids "only 1, usually 1 or 2"
    return value <= _FAR_BELOW * usual and value < least


def _usual(feature: Feature, own: Mapping[str, object], typical: Mapping[str, float]) -> float | None:
    if not feature.phrases.tail:
        return None
    names = habit(feature)
    if not names:
        return _finite(typical.get(feature.name))
    values = [_finite(own.get(name)) for name in names]
    if len(values) == 1:
        return values[0]
    total, weeks = values
    return None if total is None or weeks is None or weeks < _LEAST_WEEKS else total / weeks


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _read(value: object, feature: Feature | None) -> float | str | None:
    """Convert a reason's value from its text to a number or a category."""
    if value is None:
        return None
    text = " ".join(str(value).split())
    if feature and feature.unit == "category":
        return text
    if feature and feature.unit == "flag" and text in ("true", "false"):
        return float(text == "true")
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def _factor(odds: float) -> str:
    return f"x{odds:.2g}" if odds < 0.1 else f"x{odds:.2f}" if odds < 1.1 else f"x{odds:,.1f}"


@dataclass(frozen=True)
class _Value:
    value: float | str
    unit: str  # in the plural
    rough: bool = False  # whether to write 1.5 as "1 or 2", as for usual values
    bare: bool = False  # whether to omit the unit

    def __format__(self, spec: str) -> str:
        """Return the value in words.

        Specs: empty, with its unit; ``number``, without it; ``different``, with this word; ``/X``, divided by
        X; ``ratio``, ``change``, ``times``, ``every``; ``span`` of days; ``trend``, a slope a week;
        ``crossing``, a week counted from the first observed one.
        """
        x = self.value
        if isinstance(x, str):
            return {"true": "yes", "false": "no"}.get(x, x)
        if spec.startswith("/"):
            x, spec = x / float(spec[1:]), ""
        if spec in _SPECS:
            return _SPECS[spec](x)
        if self.unit == "share":
            return _percent(x)
        if self.unit in _SECONDS:
            return _duration(x * _SECONDS[self.unit])
        if self.unit in MONEY and 0.01 <= abs(x) < 1000 and not x.is_integer():
            count = f"{x:.2f}"
        else:
            count = _rough(x) if self.rough else _number(x)
        if spec == "number" or self.bare or self.unit in ("flag", "ratio", "category"):
            return count
        different = "different " if spec == "different" and count != "1" else ""
        return _with_unit(count, f"{different}{self.unit}")


def _number(x: float) -> str:
    """Return two significant digits, or all digits of an integer."""
    if 0 < abs(x) < 0.01:
        return "under 0.01" if x > 0 else "just below 0"
    places = 0 if abs(x) >= 9.95 or x.is_integer() else 1 if abs(x) >= 0.095 else 2
    text = f"{x + 0.0:,.{places}f}"  # + 0.0: minus zero becomes zero
    return text.rstrip("0").rstrip(".") if places else text


def _rough(x: float) -> str:
    low = math.floor(x)
    if low >= 5 or abs(x - low - 0.5) >= 0.25:
        return f"{round(x):,}"
    return f"{low} or {low + 1}" if low >= 1 else _number(x)


def _with_unit(count: str, unit: str) -> str:
    """Return "1 day a week" or "2 days a week"."""
    head, space, rest = unit.strip().partition(" ")
    if count == "1" and head != "series":
        head = re.sub(
            r"(?<=.)(ies)$|(?<=ch|sh|ss)es$|(?<=x)es$|(?<=[^s])s$", lambda s: "y" * bool(s[1]), head
        )
    return f"{count} {head}{space}{rest}".strip()


def _percent(x: float) -> str:
    if 0 < x < 0.01:
        return "under 1%"
    return "over 99%" if 0.99 < x < 1 else f"{x:.0%}"


def _duration(seconds: float) -> str:
    if 0 < seconds < 0.5:
        return "under a second"
    for limit, length, unit in ((59.5, 1, "seconds"), (59.5 * 60, 60, "minutes")):
        if abs(seconds) < limit:
            return _with_unit(f"{round(seconds / length)}", unit)
    return _with_unit(_number(seconds / 3600), "hours")


def _span(days: float) -> str:
    for limit, length, unit in ((21, 1, "days"), (85, 7, "weeks"), (700, 365.25 / 12, "months")):
        if abs(days) < limit:
            return _with_unit(_number(float(round(days / length))), unit)
    return _with_unit(_number(days / 365.25), "years")


def _ratio(x: float) -> str:
    """Return a ratio in words that precede the denominator: "20% below", "3 times"."""
    if x < 0.955:
        return f"{_percent(1 - x)} below"
    return "equal to" if x < 1.045 else f"{_percent(x - 1)} above" if x < 1.995 else f"{_number(x)} times"


def _trend(slope: float) -> str:
    if slope == 0:
        return "neither rising nor falling"
    return f"{'rising' if slope > 0 else 'falling'} by {_number(abs(slope))} a week"


def _weeks_ahead(week: float) -> float:
    return week - (OBSERVATION_WEEKS - 1)  # weeks are counted from 0, so the last observed one is 12


def _crossing(week: float) -> str:
    ahead = _weeks_ahead(week)
    weeks = "more than a year" if abs(ahead) > 52 else _with_unit(f"{round(abs(ahead))}", "weeks")
    if abs(ahead) < 0.5:
        return "reaches zero now"
    return f"reaches zero in {weeks}" if ahead > 0 else f"was at zero {weeks} ago"


_SPECS: Mapping[str, Callable[[float], str]] = {
    "ratio": _ratio,
    "change": lambda x: f"{_percent(abs(x))} {'fewer' if x < 0 else 'more'}",
    "times": lambda x: {"0": "never", "1": "once", "2": "twice"}.get(_number(x), f"{_number(x)} times"),
    "every": lambda days: "every day" if _number(days) == "1" else f"every {_number(days)} days",
    "span": _span,
    "trend": _trend,
    "crossing": _crossing,
}
