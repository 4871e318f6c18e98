"""Choose with how many decimals a log's values are kept: enough for small values, not too many for sums."""

from dataclasses import dataclass
from typing import Any

from churn.core.values import DEFAULT_DECIMALS, DIGITS, MOST_DECIMALS, highest_sum

_LOSS = 1e-3  # of a value: rounding must change it by less
# Noise is this small beside the median value, and this rare; then it counts as 0.
_NOISE, _NOISE_SHARE = 1e-12, 0.01


@dataclass(frozen=True)
class Decimals:
    """How a log's values are kept.

    Attributes:
        places: decimals.
        lost: SQL condition of rows whose value would become 0; empty if there are none.
        fault: what is wrong with the values; empty if nothing is. ``{count}`` stands for the lost rows.
        noise: rows with what a subtraction of floats leaves, such as 4e-16 dollars; they count as 0.
    """

    places: int
    lost: str = ""
    fault: str = ""
    noise: int = 0


def choose_decimals(con: Any, scan: str, number: str, week_of_user: str) -> Decimals:
    """Return how a log's values are kept.

    Four decimals, unless rounding to them changes a value by a thousandth or more; then as many as are
    needed. The noise of floats is not counted. Large sums limit them: the sum of a user's week stays below
    ``highest_sum``. Values that would become 0 beside such sums are a fault.

    Args:
        con: a DuckDB connection.
        scan: SQL that scans the log.
        number: SQL for the value, a DOUBLE of 0 or more, or null.
        week_of_user: SQL for user, product and week, separated by commas; the user comes first.
    """
    total, lossy = con.execute(
        f"SELECT coalesce(sum({number}), 0), count(*) FILTER ({_lossy(number, DEFAULT_DECIMALS)}) FROM {scan}"
    ).fetchone()
    if total < highest_sum(DEFAULT_DECIMALS) and not lossy:
        return Decimals(DEFAULT_DECIMALS)
    limit, positive = con.execute(
        f"SELECT {_NOISE!r} * approx_quantile(v, 0.5), count(*) "
        f"FROM (SELECT {number} AS v FROM {scan}) WHERE v > 0"
    ).fetchone()
    (noise,) = con.execute(
        f"SELECT count(*) FROM {scan} WHERE {number} > 0 AND {number} < {limit!r}"
    ).fetchone()
    if noise <= _NOISE_SHARE * positive:
        number = f"CASE WHEN {number} >= {limit!r} THEN {number} ELSE 0 END"
    else:
        noise = 0
    sums = f"SELECT u, sum(v) AS s FROM (SELECT {number} AS v, {week_of_user} FROM {scan}) AS t(v, u, p, w) "
    (largest,) = con.execute(f"SELECT max(s) FROM ({sums} GROUP BY u, p, w)").fetchone()
    fitting = [places for places in range(MOST_DECIMALS + 1) if largest < highest_sum(places)]
    if not fitting:
        (users,) = con.execute(
            f"SELECT count(DISTINCT u) FROM ({sums} GROUP BY u, p, w HAVING s >= {highest_sum(0)})"
        ).fetchone()
        return Decimals(
            0,
            fault=f"{users:,} users have values that add up to {highest_sum(0):.0e} or more in a week, which "
            "no run takes: remove their rows, or use a larger unit",
        )
    losses = con.execute(
        f"SELECT {', '.join(f'count(*) FILTER ({_lossy(number, places)})' for places in fitting)} FROM {scan}"
    ).fetchone()
    exact = [places for places, count in zip(fitting, losses, strict=True) if not count]
    if exact:
        enough = [places for places in exact if places >= DEFAULT_DECIMALS]
        return Decimals(min(enough) if enough else max(exact), noise=noise)
    most = max(fitting)
    lost = f"{number} > 0 AND {number} < {0.5 * 10.0**-most!r}"
    (vanishing,) = con.execute(f"SELECT count(*) FROM {scan} WHERE {lost}").fetchone()
    if not vanishing:
        return Decimals(most, noise=noise)
    return Decimals(
        most,
        lost,
        f"{{count}} have a value above 0 that would count as 0: a user's week adds up to {largest:.3g}, and "
        f"{DIGITS} digits hold no smaller values beside it than {10.0**-most:g}. Use a smaller unit for all, "
        "write 0, or remove the outliers",
    )


def _lossy(number: str, places: int) -> str:
    """Return an SQL condition that rounding changes a value by a thousandth or more."""
    unit = 10.0**places
    return f"{number} > 0 AND abs(round({number} * {unit!r}) / {unit!r} - {number}) >= {_LOSS!r} * {number}"
