"""User ids that name nobody, and ids that have lost digits on their way.

Trackers write a placeholder where they know nobody; all such events would become one person. An id that has
been a floating-point number has lost digits or changed its spelling: two people become one, or one two.
"""

from churn.sources.ingest.engine import literal

# Words for "nobody", whatever their case, with spaces or brackets around them.
_WORDS = (
    "null",
    "none",
    "nil",
    "nan",
    "na",
    "n/a",
    "#n/a",
    "undefined",
    "not set",
    "not_set",
    "unknown",
    "anonymous",
    "anon",
    "guest",
    "-",
    "-1",
)
# Digests of an empty text: MD5, SHA-1, SHA-256.
_EMPTY_DIGESTS = (
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
)
_LONGEST_WORD = 20  # characters, with brackets and spaces
_ZEROS = r"\{?0{8}-?(0{4}-?){3}0{12}\}?|0{8,}"
_ONES = r"\{?[fF]{8}-?([fF]{4}-?){3}[fF]{12}\}?"

SCIENTIFIC = r"[+-]?(\d+\.\d*[eE][+-]?\d+|\d+[eE]\+\d+)"
POINT_ZERO = r"[+-]?\d+\.0*"
POINT_DIGITS = r"[+-]?\d+\.\d*[1-9]\d*"
LONG_NUMBER = r"[+-]?\d{16,}"
ROUNDED_NUMBER = r"[+-]?\d{13,}000"


def placeholder_sql(text: str) -> str:
    """Return SQL for what kind of placeholder an id is; null if it is one person's.

    Args:
        text: SQL for the id as text.
    """
    trimmed = f"trim({text})"
    bracketed = (f"{first}{word}{last}" for word in _WORDS for first, last in ("()", "[]", "<>", "{}"))
    words = ", ".join(map(literal, [*_WORDS, *bracketed]))
    digests = ", ".join(map(literal, _EMPTY_DIGESTS))
    # Cheap tests come first: most ids need no other.
    return (
        f"CASE WHEN {text} IS NULL OR {trimmed} = '' THEN 'empty' "
        f"WHEN length({text}) <= {_LONGEST_WORD} AND lower({trimmed}) IN ({words}) "
        f"THEN chr(39) || {trimmed} || chr(39) "
        f"WHEN {trimmed}[1] IN ('0', '{{') AND regexp_full_match({trimmed}, {literal(_ZEROS)}) "
        "THEN 'all zeros' "
        f"WHEN lower({trimmed}[1]) IN ('f', '{{') AND regexp_full_match({trimmed}, {literal(_ONES)}) "
        "THEN 'a UUID of f' "
        f"WHEN length({trimmed}) IN (32, 40, 64) AND lower({trimmed}) IN ({digests}) "
        "THEN 'the digest of an empty text' END"
    )


def matches_sql(text: str, pattern: str) -> str:
    """Return an SQL condition that an id, but for spaces around it, matches a pattern of numbers."""
    return (
        f"CASE WHEN {text}[1] <= '9' THEN regexp_full_match(trim({text}), {literal(pattern)}) ELSE false END"
    )
