"""How Redshift lays out a table's rows, and views that it binds late: read, checked, and left out for PostgreSQL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.stand_ins.redshift_sql import RefusalError, Token, syntax_error

Edit = tuple[int, int, str]
_STYLES = ("auto", "even", "key", "all")
_MOST_INTERLEAVED, _MOST_SORTED = 8, 400
# In these, FROM is followed by no table.
_OWN_FROM = frozenset({"extract", "substring", "trim", "position", "overlay"})


@dataclass
class _Layout:
    """What a statement says of a table's layout."""

    style: str | None = None
    distributed: list[str] = field(default_factory=list)
    sorted_by: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [*self.distributed, *self.sorted_by]

    def check(self) -> None:
        if len(self.distributed) > 1:
            raise RefusalError("a table can have one DISTKEY", code="42601")
        if self.style == "key" and not self.distributed:
            raise RefusalError("DISTSTYLE KEY needs a DISTKEY", code="42601")
        if self.distributed and self.style not in (None, "key"):
            raise RefusalError(f"DISTSTYLE {self.style} takes no DISTKEY", code="42601")
        if len(set(self.sorted_by)) < len(self.sorted_by):
            raise RefusalError("a column is in the SORTKEY twice", code="42701")


def laid_out(part: Sequence[Token], words: Sequence[str]) -> Iterator[Edit]:
    """Leave out how a new table is laid out, and let every key be one of its columns.

    Raises:
        RefusalError: Redshift would not take it; whether a query has a key's column PostgreSQL will say.
    """
    layout, columns = _Layout(), None
    at = words.index("table") + 1
    at += 3 if words[at : at + 3] == ["if", "not", "exists"] else 0
    at += 3 if words[at + 1 : at + 2] == ["."] else 1
    if words[at : at + 1] == ["("]:
        end = _closing(words, at)
        columns, edits = _columns(part, words, at, end, layout)
        yield from edits
        at = end + 1
    while at < len(words) and words[at] != "as":
        end = _attribute(part, words, at, layout, of_query="as" in words[at:])
        yield part[at].start, part[end - 1].end, ""
        at = end
    layout.check()
    if columns is not None:
        for name in layout.keys:
            if name not in columns:
                raise RefusalError(f'column "{name}" of a key is not in the table', code="42703")
    elif layout.keys and at + 1 < len(words):
        # PostgreSQL looks each key up among the query's columns, and finds nothing to do.
        named = " or ".join(f'laid_out."{name}" is null' for name in layout.keys)
        yield part[at + 1].start, part[at + 1].start, "select * from ("
        yield part[-1].end, part[-1].end, f"\n) as laid_out where {named} or true"


def _attribute(
    part: Sequence[Token], words: Sequence[str], at: int, layout: _Layout, *, of_query: bool
) -> int:
    """Read one attribute of a table; return where the next begins."""
    word, then = words[at], words[at + 1] if at + 1 < len(words) else ""
    if word == "backup" and then in ("yes", "no"):
        return at + 2
    if word == "encode" and then == "auto" and not of_query:
        return at + 2
    if word == "diststyle" and then in _STYLES:
        if layout.style is not None:
            raise RefusalError("DISTSTYLE is given twice", code="42601")
        layout.style = then
        return at + 2
    if word == "distkey":
        found, end = _names(part, words, at + 1)
        if len(found) > 1:
            raise syntax_error(",")
        layout.distributed += found
        return end
    if word == "sortkey" and then == "auto" and not of_query:
        return at + 2
    how = word if word in ("compound", "interleaved") else ""
    if word == "sortkey" or (how and then == "sortkey"):
        found, end = _names(part, words, at + (2 if how else 1))
        most = _MOST_INTERLEAVED if how == "interleaved" else _MOST_SORTED
        if layout.sorted_by or len(found) > most:
            raise RefusalError(f"a table has one SORTKEY, of {most} columns at most", code="54011")
        layout.sorted_by += found
        return end
    raise syntax_error(part[at].value)


def _names(part: Sequence[Token], words: Sequence[str], at: int) -> tuple[list[str], int]:
    """Read names of columns in brackets: no expression, and no number here, though Redshift knows those."""
    if words[at : at + 1] != ["("]:
        raise syntax_error(part[min(at, len(part) - 1)].value)
    end = _closing(words, at)
    inside = part[at + 1 : end]
    for i, token in enumerate(inside):
        fits = token.value == "," if i % 2 else token.kind in ("word", "name")
        if not fits:
            raise syntax_error(token.value)
    if len(inside) % 2 == 0:
        raise syntax_error(")")
    return [token.value.lower() for token in inside[::2]], end + 1


def _columns(
    part: Sequence[Token], words: Sequence[str], start: int, end: int, layout: _Layout
) -> tuple[set[str], list[Edit]]:
    """Read the columns of a table, and what is said of the layout among them."""
    columns: set[str] = set()
    edits: list[Edit] = []
    depth, first = 0, True
    name = ""
    i = start + 1
    while i < end:
        word = words[i]
        step = 1
        if first:
            name = part[i].value.lower()
            columns.add(name)
        elif depth == 0 and word == "encode":
            step = 2
            edits.append((part[i].start, part[i + 1].end, ""))
        elif depth == 0 and word in ("distkey", "sortkey"):
            (layout.distributed if word == "distkey" else layout.sorted_by).append(name)
            edits.append((part[i].start, part[i].end, ""))
        depth += {"(": 1, ")": -1}.get(word, 0)
        first = depth == 0 and word == ","
        i += step
    return columns, edits


def _closing(words: Sequence[str], at: int) -> int:
    depth = 0
    for i in range(at, len(words)):
        depth += {"(": 1, ")": -1}.get(words[i], 0)
        if depth == 0:
            return i
    raise syntax_error("end of statement")


def late_view(part: Sequence[Token], words: Sequence[str]) -> Iterator[Edit]:
    """Leave out that a view is bound late.

    Raises:
        RefusalError: such a view names a table without its schema.
    """
    if list(words[-4:]) != ["with", "no", "schema", "binding"]:
        return
    yield part[-4].start, part[-1].end, ""
    own = {words[i] for i in range(len(words) - 2) if list(words[i + 1 : i + 3]) == ["as", "("]}
    openers: list[str] = []
    for i, word in enumerate(words[:-4]):
        if word == "(":
            openers.append(words[i - 1])
        elif word == ")":
            openers.pop()
        elif word in ("from", "join") and not (openers and openers[-1] in _OWN_FROM):
            table = part[i + 1]
            bare = table.kind in ("word", "name") and words[i + 2] not in (".", "(")
            if bare and table.value not in own and words[i - 1] != "distinct":
                raise RefusalError(
                    f'all the relation names inside should be qualified when creating views with no schema binding: "{table.value}"',
                    code="42P01",
                )
