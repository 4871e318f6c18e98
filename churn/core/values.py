"""How values are kept: as exact decimals, so that their sums do not depend on the order of rows.

A decimal has 18 digits, since wider ones take twice the time to write and add up. ``value_decimals`` of them
come after the point: 4 unless a log needs more for its small values, or fewer for its large sums. The sum of
a user's week must leave three digits spare. Then the sums of 13 weeks of up to 76 products fit too.
"""

DIGITS, _SPARE = 18, 3
DEFAULT_DECIMALS, MOST_DECIMALS = 4, 12
_HIGHEST_EXPONENT = 10  # no value reaches 10^10, whatever the decimals


def highest_sum(decimals: int) -> int:
    """Return what the values of a user's week with a product must stay below.

    Example:
        >>> highest_sum(4)
        100000000000
    """
    return int(10 ** (DIGITS - _SPARE - decimals))


def value_names(decimals: int) -> dict[str, str]:
    """Return what SQL templates call the types and limits of values.

    ``value_type`` holds values and their sums over an observation window, ``lifetime_value_type`` sums over
    any time. A value must stay below ``highest_value``, and the sum of a user's week below ``highest_sum``.
    """
    return {
        "value_type": f"decimal({DIGITS}, {decimals})",
        "lifetime_value_type": f"decimal(38, {decimals})",
        "highest_value": f"1e{min(_HIGHEST_EXPONENT, DIGITS - _SPARE - decimals)}",
        "highest_sum": str(highest_sum(decimals)),
    }
