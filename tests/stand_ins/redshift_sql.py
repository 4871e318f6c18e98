"""Redshift's SQL where it is not PostgreSQL's: UNLOAD and COPY as objects, what Redshift lacks, small rewrites.

Statements are read by a tokenizer and a small parser, for what is written here, not for SQL as a whole.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | --[^\n]* | /\*.*?\*/ )
  | (?P<dollar> (?P<tag>\$(?:[A-Za-z_]\w*)?\$) (?P<within>.*?) (?P=tag) )
  | (?P<text> [eE]?' (?: [^'\\]++ | '' | \\. )*+ ' )
  | (?P<name> " (?: [^"]++ | "" )*+ " )
  | (?P<number> \d+ (?:\.\d+)? )
  | (?P<word> [A-Za-z_][A-Za-z0-9_$]* )
  | (?P<mark> :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"''|\\(.)", re.DOTALL)
_SPECIAL = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ROLE = re.compile(r"arn:aws(?:-[a-z]+)*:iam::\d{12}:role/[\w+=,.@/-]+\Z")
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.*)\Z", re.DOTALL)
_MB = 1024 * 1024
_SMALLEST, _LARGEST = 5 * _MB, int(6.2 * 1024 * _MB)


class RefusalError(Exception):
    """What Redshift says to a statement that it does not carry out."""

    def __init__(self, message: str, *, code: str = "XX000", detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail


def syntax_error(near: str) -> RefusalError:
    return RefusalError(f'syntax error at or near "{near}"', code="42601")


@dataclass(frozen=True)
class Token:
    """One token.

    Attributes:
        kind: ``word``, ``text``, ``name``, ``number`` or ``mark``; ``end`` after the last one.
        value: a word in lower case, a text or name without its quotes and escapes, anything else as it stands.
    """

    kind: str
    value: str
    start: int
    end: int


def tokens(sql: str) -> list[Token]:
    """Split SQL into tokens without spaces and comments, closed by one of kind ``end``."""
    found: list[Token] = []
    for match in _TOKEN.finditer(sql):
        kind, raw = match.lastgroup or "", match[0]
        if match["dollar"] is not None:
            kind, value = "text", match["within"]
        elif kind == "text":
            value = _ESCAPE.sub(_unescaped, raw[raw.index("'") + 1 : -1])
        elif kind == "name":
            value = raw[1:-1].replace('""', '"')
        else:
            value = raw.lower() if kind == "word" else raw
        if kind == "mark" and raw in ("'", '"'):
            raise RefusalError(
                f"unterminated quoted string at or near {sql[match.start() :][:40]!r}", code="42601"
            )
        if kind != "space":
            found.append(Token(kind, value, *match.span()))
    return [*found, Token("end", "end of statement", len(sql), len(sql))]


def _unescaped(match: re.Match[str]) -> str:
    return "'" if match[1] is None else _SPECIAL.get(match[1], match[1])


def statements(found: Sequence[Token]) -> list[list[Token]]:
    """Split tokens at semicolons; statements without tokens are left out."""
    parts: list[list[Token]] = [[]]
    for token in found[:-1]:
        if token.kind == "mark" and token.value == ";":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


@dataclass(frozen=True)
class Unload:
    """UNLOAD of a query to Parquet files under a prefix."""

    query: str
    bucket: str
    prefix: str
    manifest: bool = False
    verbose: bool = False
    partition: tuple[str, ...] = ()
    include: bool = False
    parallel: bool = True
    allow_overwrite: bool = False
    clean_path: bool = False
    max_bytes: int = _LARGEST
    encrypted: bool = False


@dataclass(frozen=True)
class Copy:
    """COPY of Parquet files, which a manifest lists or which lie under a prefix, into a table."""

    table: str
    columns: tuple[str, ...]
    bucket: str
    key: str
    manifest: bool = False


@dataclass
class _Parser:
    found: Sequence[Token]
    sql: str
    at: int = 0
    seen: dict[str, object] = field(default_factory=dict)

    @property
    def now(self) -> Token:
        return self.found[self.at]

    def take(self, *words: str) -> bool:
        """Step over these words or marks, if they come next."""
        ahead = self.found[self.at : self.at + len(words)]
        fits = [t.value for t in ahead] == list(words) and all(t.kind in ("word", "mark") for t in ahead)
        self.at += len(words) if fits else 0
        return fits

    def need(self, *words: str) -> None:
        if not self.take(*words):
            raise self.wrong()

    def value(self, *kinds: str) -> str:
        if self.now.kind not in kinds:
            raise self.wrong()
        self.at += 1
        return self.found[self.at - 1].value

    def wrong(self) -> RefusalError:
        return syntax_error(self.sql[self.now.start : self.now.end] or self.now.value)

    def listed(self) -> tuple[str, ...]:
        """Names in brackets."""
        self.need("(")
        names = [self.value("word", "name")]
        while self.take(","):
            names.append(self.value("word", "name"))
        self.need(")")
        return tuple(names)

    def once(self, option: str, value: object = True) -> None:
        if option in self.seen:
            raise RefusalError(
                f"conflicting or redundant options: {option} specified more than once", code="42601"
            )
        self.seen[option] = value

    def options(self, kind: str, known: Mapping[str, Callable[["_Parser"], object]]) -> None:
        """Read options to the end, each at most once."""
        while self.now.kind != "end":
            if self.now.kind != "word":
                raise self.wrong()
            option = self.now.value
            if option in (
                "credentials",
                "access_key_id",
                "secret_access_key",
                "session_token",
                "master_symmetric_key",
            ):
                raise RefusalError(f"{option.upper()}: a key has no place in SQL; name an IAM_ROLE instead")
            if option not in known:
                raise RefusalError(
                    f"{option.upper()} is not supported for {kind}", detail=self.wrong().args[0]
                )
            self.at += 1
            self.once(option, known[option](self))
        if "iam_role" not in self.seen:
            raise RefusalError("Missing authorization: IAM_ROLE must be specified", code="42601")
        if not self.seen.pop("parquet", False) and self.seen.pop("format", None) != "parquet":
            raise RefusalError("the stand-in carries out FORMAT PARQUET only", code="0A000")


def _format(parser: _Parser) -> str:
    parser.take("as")
    return parser.value("word")


def _role(parser: _Parser) -> str:
    if parser.take("default"):
        return "default"
    role = parser.value("text")
    for one in role.split(","):
        if not _ROLE.match(one):
            raise RefusalError(f"Invalid IAM role ARN: {one!r}")
    return role


def _switch(parser: _Parser) -> bool:
    for word, meaning in (("on", True), ("true", True), ("off", False), ("false", False)):
        if parser.take(word):
            return meaning
    return True


def _size(parser: _Parser) -> int:
    parser.take("as")
    amount = float(parser.value("number"))
    unit = 1024 * _MB if parser.take("gb") else _MB
    parser.take("mb")
    return int(amount * unit)


def _text(parser: _Parser) -> str:
    parser.take("as")
    return parser.value("text")


def _flag(parser: _Parser) -> bool:
    return True


def _auto(parser: _Parser) -> bool:
    parser.take("auto")
    return True


def _verbosity(parser: _Parser) -> str:
    return "verbose" if parser.take("verbose") else "plain"


def _partition(parser: _Parser) -> tuple[tuple[str, ...], bool]:
    parser.need("by")
    return parser.listed(), parser.take("include")


_UNLOAD_OPTIONS: Mapping[str, Callable[[_Parser], object]] = {
    "iam_role": _role, "format": _format, "parquet": _flag, "manifest": _verbosity, "partition": _partition,
    "parallel": _switch, "allowoverwrite": _flag, "cleanpath": _flag, "maxfilesize": _size,
    "rowgroupsize": _size, "encrypted": _auto, "kms_key_id": _text, "region": _text,
}  # fmt: skip
_COPY_OPTIONS: Mapping[str, Callable[[_Parser], object]] = {
    "iam_role": _role, "format": _format, "parquet": _flag, "manifest": _flag, "statupdate": _switch,
}  # fmt: skip


def _url(text: str) -> tuple[str, str]:
    found = _URL.match(text)
    if found is None:
        raise RefusalError(f"The S3 path {text!r} is not valid: it is written s3://bucket/prefix")
    return found[1], found[2]


def parse_unload(sql: str) -> Unload:
    """Read an UNLOAD statement.

    Raises:
        RefusalError: Redshift would not take it.
    """
    parser = _Parser(_one(sql), sql)
    parser.need("unload", "(")
    query = parser.value("text")
    parser.need(")", "to")
    bucket, prefix = _url(parser.value("text"))
    parser.options("PARQUET based UNLOAD", _UNLOAD_OPTIONS)
    seen = parser.seen
    if "allowoverwrite" in seen and "cleanpath" in seen:
        raise RefusalError("CLEANPATH and ALLOWOVERWRITE cannot be used together", code="42601")
    size = seen.get("maxfilesize", _LARGEST)
    if not isinstance(size, int) or not _SMALLEST <= size <= _LARGEST:
        raise RefusalError("MAXFILESIZE must be between 5 MB and 6.2 GB", code="22023")
    if "kms_key_id" in seen and "encrypted" not in seen:
        raise RefusalError("KMS_KEY_ID needs ENCRYPTED", code="42601")
    _check_query(query)
    partition, include = seen.get("partition", ((), False))  # type: ignore[misc]
    return Unload(
        query, bucket, prefix,
        manifest="manifest" in seen, verbose=seen.get("manifest") == "verbose", partition=partition,
        include=include, parallel=bool(seen.get("parallel", True)), allow_overwrite="allowoverwrite" in seen,
        clean_path="cleanpath" in seen, max_bytes=size, encrypted="encrypted" in seen,
    )  # fmt: skip


def parse_copy(sql: str) -> Copy:
    """Read a COPY statement.

    Raises:
        RefusalError: Redshift would not take it.
    """
    parser = _Parser(_one(sql), sql)
    parser.need("copy")
    start = parser.now.start
    parser.value("word", "name")
    if parser.take("."):
        parser.value("word", "name")
    table = sql[start : parser.found[parser.at - 1].end]
    columns = parser.listed() if parser.now.value == "(" else ()
    parser.need("from")
    if parser.now.value in ("stdin", "stdout", "program"):
        raise RefusalError(f"COPY FROM {parser.now.value.upper()} is not supported", code="0A000")
    bucket, key = _url(parser.value("text"))
    parser.options("PARQUET based COPY", _COPY_OPTIONS)
    return Copy(table, columns, bucket, key, manifest="manifest" in parser.seen)


def _one(sql: str) -> list[Token]:
    found = tokens(sql)
    if len(statements(found)) != 1:
        raise RefusalError("cannot insert multiple commands into a prepared statement", code="42601")
    while found[-2].value == ";":
        del found[-2]
    return found


def _check_query(query: str) -> None:
    """Check an UNLOAD's query: one SELECT, values written in, no LIMIT of its own."""
    parts = statements(tokens(query))
    if len(parts) != 1 or parts[0][0].value not in ("select", "with", "("):
        raise syntax_error(query[:40])
    if any(a.value == "$" and b.kind == "number" for a, b in zip(parts[0], parts[0][1:], strict=False)):
        raise RefusalError("UNLOAD takes no bound parameters: there is no parameter $1", code="42P02")
    if any(token.value == "limit" and token.kind == "word" for token in _outermost(parts[0])):
        raise RefusalError("Limit clause is not supported", code="0A000")


def _outermost(part: Iterable[Token]) -> Iterable[Token]:
    depth = 0
    for token in part:
        if token.kind == "mark" and token.value in "()":
            depth += 1 if token.value == "(" else -1
        elif depth == 0:
            yield token


def is_moved(part: Sequence[Token]) -> bool:
    """Whether a statement is UNLOAD or COPY."""
    return part[0].kind == "word" and part[0].value in ("unload", "copy")
