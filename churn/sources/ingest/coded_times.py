"""Times that are coded in digits and are no Unix epoch: yyyymmddHHMM, Windows file times, .NET ticks."""

from collections.abc import Mapping

# Digits that code a wall time, by their number. As a Unix epoch, as many digits would be of 1976, of the
# future or of no unit. So digits that mostly are such times are not read as epochs; where they might be
# milliseconds of 1976 they are refused.
AMBIGUOUS_DIGITS = 12
CODED = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 17: "%Y%m%d%H%M%S%g"}
# Numbers of 100 nanoseconds from 1990 to 2050 that do not count from 1970. As Unix nanoseconds they would be
# of 1973, 1974, 1989 or 1990.
TICKS = {
    "Windows file times (from the year 1601)": (1.227e17, 1.418e17),
    ".NET ticks (from the year 1)": (6.276e17, 6.468e17),
}


def coded_sql(text: str, digits: int) -> str:
    """Return SQL for the wall time that so many digits code, null if they code none."""
    return (
        f"CASE WHEN regexp_full_match({text}, '(19|20)\\d{{{digits - 2}}}') "
        f"THEN try_strptime({text}, '{CODED[digits]}') END"
    )


def coded_tests(text: str) -> dict[str, str]:
    """Return SQL conditions that a text codes a wall time, and that it has as many digits, by name."""
    tests = {}
    for digits in CODED:
        tests[f"coded {digits}"] = f"({coded_sql(text, digits)}) IS NOT NULL"
        tests[f"of {digits}"] = f"regexp_full_match({text}, '\\d{{{digits}}}')"
    return tests


def ticks_tests(number: str) -> dict[str, str]:
    """Return SQL conditions that a number counts 100 nanoseconds from another year than 1970, by name."""
    return {
        name: f"coalesce({number} BETWEEN {low!r} AND {high!r}, false)" for name, (low, high) in TICKS.items()
    }


def take_codings(counts: dict[str, int], units: Mapping[str, tuple[float, float]]) -> list[int]:
    """Return the numbers of digits that code wall times here; take these values out of the epochs' counts.

    Args:
        counts: values that meet each test, by its name.
        units: the lowest and highest number of each epoch unit.
    """
    codings = [digits for digits in CODED if counts[f"coded {digits}"] * 2 > counts[f"of {digits}"]]
    for digits in codings:
        for unit, (low, high) in units.items():
            if low <= 10.0 ** (digits - 1) < high:
                counts[unit] -= counts[f"of {digits}"]
    return codings
