"""From Redshift's SQL to PostgreSQL's, token by token; and a no to what PostgreSQL knows and Redshift does not."""

from collections.abc import Iterator, Sequence

from tests.support.redshift_sql import RefusalError, Token, statements, syntax_error, tokens

# Words in a row that Redshift has no statement for.
_UNKNOWN: Sequence[tuple[str, ...]] = (
    ("on", "conflict"), ("distinct", "on"), ("for", "update"), ("add", "column", "if"), ("filter", "("),
    ("create", "index"), ("create", "unique", "index"), ("create", "type"), ("create", "domain"),
)  # fmt: skip
_UNKNOWN_STARTS = frozenset({"savepoint", "release", "listen", "notify", "do", "cluster", "reindex"})
_UNKNOWN_WORDS = frozenset(
    {"returning", "lateral", "pg_advisory_lock", "pg_advisory_xact_lock", "pg_try_advisory_lock",
     "pg_try_advisory_xact_lock", "string_agg", "jsonb", "uuid"}
)  # fmt: skip
_SETTINGS = frozenset(
    {"query_group", "wlm_query_slot_count", "enable_result_cache_for_session", "analyze_threshold_percent",
     "enable_case_sensitive_identifier", "describe_field_name_in_uppercase", "mv_enable_aqmv_for_session"}
)  # fmt: skip
_PART_FUNCTIONS = frozenset({"dateadd", "datediff", "date_add", "date_diff"})


def rewritten(sql: str) -> str:
    """Return the same statements as PostgreSQL takes them.

    Raises:
        RefusalError: a statement is not one of Redshift's.
    """
    edits = [edit for part in statements(tokens(sql)) for edit in _edits(part)]
    for start, end, text in sorted(edits, reverse=True):
        sql = sql[:start] + text + sql[end:]
    return sql


Edit = tuple[int, int, str]


def _edits(part: Sequence[Token]) -> Iterator[Edit]:
    words = [token.value if token.kind in ("word", "mark") else "" for token in part]
    _refuse(words)
    for i, token in enumerate(part):
        if token.kind != "word" or (i and words[i - 1] == "."):
            continue
        if token.value in _PART_FUNCTIONS and words[i + 1 : i + 2] == ["("] and part[i + 2].kind == "word":
            part_of_date = part[i + 2]
            yield part_of_date.start, part_of_date.end, f"'{part_of_date.value}'"
        elif token.value == "sysdate":
            yield token.start, token.end, "sysdate()"
        elif token.value == "max" and words[i - 2 : i] == ["varchar", "("]:
            yield token.start, token.end, "65535"
        elif token.value in ("super", "geometry", "hllsketch") and words[i - 1 : i] == ["::"]:
            raise RefusalError(f"the stand-in has no type {token.value}", code="0A000")
    if words[0] in ("set", "reset", "show"):
        at = 2 if words[1:2] in (["session"], ["local"]) else 1
        if words[at : at + 1] and words[at] in _SETTINGS:
            yield part[at].start, part[at].start, "redshift."
    elif words[0] in ("create", "alter") and "table" in words[:3]:
        yield from _table_attributes(part, words)


def _refuse(words: Sequence[str]) -> None:
    if words[0] in _UNKNOWN_STARTS or words[:2] == ["rollback", "to"]:
        raise syntax_error(words[0])
    if words[0] == "lock" and "in" in words:
        raise syntax_error("in")  # Redshift knows one mode
    if words[:2] == ["alter", "table"] and words.count("add") > 1:
        raise RefusalError("ALTER TABLE ADD COLUMN does not support adding multiple columns", code="0A000")
    for word in words:
        if word in _UNKNOWN_WORDS:
            raise syntax_error(word)
    for unknown in _UNKNOWN:
        for i in range(len(words) - len(unknown) + 1):
            if tuple(words[i : i + len(unknown)]) == unknown:
                raise syntax_error(" ".join(unknown))


def _table_attributes(part: Sequence[Token], words: Sequence[str]) -> Iterator[Edit]:
    """Leave out how Redshift lays a table's rows out."""
    i = 0
    while i < len(words):
        word = words[i]
        if word in ("as", "select"):
            return
        end = i
        backup = word == "backup" and words[i + 1 : i + 2] in (["yes"], ["no"])
        if word in ("diststyle", "encode") or backup:
            end = i + 2
        elif word in ("distkey", "sortkey", "compound", "interleaved"):
            end = i + (2 if word in ("compound", "interleaved") else 1)
            if words[end : end + 1] == ["("]:
                end = words.index(")", end) + 1
            elif words[end : end + 1] == ["auto"]:
                end += 1
        if end > i:
            yield part[i].start, part[min(end, len(part)) - 1].end, ""
        i = max(end, i + 1)
