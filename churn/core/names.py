"""Names that are safe as SQL identifiers and path segments."""

import re
import unicodedata
from zlib import crc32

from churn.core.errors import UsageError

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")
_LONGEST_IDENTIFIER = 63  # PostgreSQL's limit; Redshift allows 127
_LONGEST_PRODUCT = 32  # schemas of runs and back-tests add up to 28 characters to a product's name
# Letters that Unicode does not divide into a letter of a to z and an accent.
_LATIN_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i"}
)


def identifier(name: str) -> str:
    """Return ``name`` if it is safe as an SQL identifier and as a path segment.

    Raises:
        UsageError: ``name`` does not match ``^[a-z_][a-z0-9_]*$`` or is longer than 63 characters.
    """
    if not IDENTIFIER.match(name) or len(name) > _LONGEST_IDENTIFIER:
        raise UsageError(
            f"{name[:80]!r} cannot be used as a name in SQL and paths: use lower-case letters, digits and "
            f"underscores, a letter or underscore first, {_LONGEST_IDENTIFIER} characters at most"
        )
    return name


def slug(value: str) -> str:
    """Return an identifier made from any text: ``Religion & Ethics`` becomes ``religion_ethics``.

    Accents and signs are dropped: ``Médiathèque ☕`` becomes ``mediatheque``. If other letters or digits are
    lost, or nothing can stay, a checksum of the lower case is added: ``Кино`` becomes ``_9380692f``.
    """
    decomposed = unicodedata.normalize("NFKD", value.lower().translate(_LATIN_LETTERS))
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    text = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")
    ending = ""
    if not text or any(char.isalnum() and not char.isascii() for char in letters):
        ending = f"_{crc32(value.lower().encode(errors='backslashreplace')):08x}"
    text = text[: _LONGEST_PRODUCT - len(ending) - 1].rstrip("_") + ending if ending else text
    return (f"_{text}" if text[0].isdigit() else text)[:_LONGEST_PRODUCT].rstrip("_")
