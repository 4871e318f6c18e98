"""From Redshift's SQL to PostgreSQL's, token by token; and a no to what PostgreSQL knows and Redshift does not."""

from collections.abc import Iterator, Sequence

from tests.stand_ins.redshift_layout import Edit, laid_out, late_view
from tests.stand_ins.redshift_sql import RefusalError, Token, statements, syntax_error, tokens

# Words in a row that Redshift has no statement for.
_UNKNOWN: Sequence[tuple[str, ...]] = (
    ("on", "conflict"), ("distinct", "on"), ("for", "update"), ("add", "column", "if"), ("filter", "("),
    ("create", "index"), ("create", "unique", "index"), ("create", "type"), ("create", "domain"),
    ("check", "option"),
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
    elif words[0] == "create" and "table" in words[:4]:
        yield from laid_out(part, words)
    elif words[0] == "create" and "view" in words[:4]:
        yield from late_view(part, words)
    elif words[:2] == ["alter", "table"]:
        for i in range(3, len(words) - 1):
            if words[i] == "encode":
                yield part[i].start, part[i + 1].end, ""


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
