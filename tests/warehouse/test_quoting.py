r"""Values in statements: whatever they say, Redshift and PostgreSQL read back that value and nothing else."""

import math
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import psycopg2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from churn.core.errors import RunError, UsageError
from churn.warehouse.quoting import bind, label_of, literal
from churn.warehouse.redshift.unload_copy import copy_statement, s3_url, unload_statement
from churn.warehouse.templates import render
from tests.stand_ins.postgres import USER, Server
from tests.stand_ins.redshift_sql import parse_copy, parse_unload, tokens

ROLE = "arn:aws:iam::123456789012:role/some-path/churn"
HOSTILE = "'; drop table x; -- \\' /* \" %(a)s %s :a $1 $$ ');unload"
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NASTY = st.text(st.sampled_from("'\\\"%();:-/*$s a\n\tE"), max_size=12)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(),
    TEXTS,
    NASTY,
)


@pytest.fixture(scope="module", params=["on", "off"])
def server(request: pytest.FixtureRequest, postgres: Server) -> Iterator[Any]:
    """PostgreSQL that takes backslashes as they are, and as Redshift does: as escapes."""
    options = f"-c standard_conforming_strings={request.param} -c escape_string_warning=off"
    with closing(
        psycopg2.connect(
            host="127.0.0.1",
            port=postgres.port,
            user=USER,
            dbname="postgres",
            options=options,
            sslmode="prefer",
        )
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("set extra_float_digits to 2")
            yield cursor


@given(value=VALUES)
@example(value=HOSTILE)
@example(value="\\")
@example(value="'")
@example(value=-1)
@example(value=1e300)
@example(value=datetime(1, 1, 1))
def test_a_bound_value_arrives_as_it_is_and_as_it_was_meant(server: Any, value: Any) -> None:
    sql = bind(
        "select %(value)s, 'it''s %(value)s', 5 -%(value_2)s -- %(value)s", {"value": value, "value_2": -1}
    )
    server.execute(sql)
    found = server.fetchone()
    assert found == (value, "it's %(value)s", 6)
    assert type(found[0]) is type(value)


@pytest.mark.parametrize("text", [TEXTS, NASTY])
def test_a_bound_text_is_one_token_or_texts_joined(text: st.SearchStrategy[str]) -> None:
    @given(value=text)
    @example(value=HOSTILE)
    def check(value: str) -> None:
        found = tokens(f"select {literal(value)} from t")
        kinds = {token.kind for token in found[1:-3]} - {"mark"}
        assert kinds <= {"text", "word", "number"}
        assert {token.value for token in found[1:-3] if token.kind == "word"} <= {"chr"}
        assert [t.value for t in found[-3:-1]] == ["from", "t"]
        parts = "".join("\\" if t.value == "92" else t.value for t in found if t.kind in ("text", "number"))
        assert parts == value

    check()


@given(value=NASTY, other=NASTY)
@example(value=HOSTILE, other=HOSTILE)
def test_the_query_within_unload_is_the_query(value: str, other: str) -> None:
    text = "select a, 'it''s' as b from {{ ref('t') }} where x = :value and y like '%z' and z <> :other and a % 3 = 1"
    query = render(text, {}, {"value": value, "other": other}, "run", "redshift")
    bound = bind(query.sql, query.parameters)
    sql = unload_statement(bound, "s3://bucket/run=1/part_", ROLE, max_file_size_mb=100)
    wanted = parse_unload(sql)
    assert wanted.query == bound
    assert (wanted.bucket, wanted.prefix) == ("bucket", "run=1/part_")
    assert wanted.manifest
    assert wanted.verbose
    assert wanted.parallel
    assert not wanted.allow_overwrite
    assert not wanted.clean_path
    assert wanted.max_bytes == 100 * 1024 * 1024


@given(value=st.one_of(TEXTS, NASTY))
@settings(max_examples=50)
def test_the_query_within_unload_means_the_same_to_the_server(server: Any, value: str) -> None:
    # A literal in a literal: what UNLOAD hands on is what the server reads in its outer quotes.
    sql = unload_statement(bind("select %(v)s", {"v": value}), "s3://bucket/x", "default", max_file_size_mb=5)
    outer = sql[len("UNLOAD (") : sql.index(")\nTO 's3://")]
    server.execute(f"select {outer}")
    (inner,) = server.fetchone()
    server.execute(inner)
    assert server.fetchone() == (value,)


def test_unload_says_all_that_it_should() -> None:
    sql = unload_statement(
        "select 1 as a",
        "s3://bucket/run=1/x_",
        ROLE,
        max_file_size_mb=256,
        kms_key="1234-abcd",
    )
    assert sql.splitlines() == [
        "UNLOAD ('select 1 as a')",
        "TO 's3://bucket/run=1/x_'",
        f"IAM_ROLE '{ROLE}'",
        "FORMAT AS PARQUET",
        "MANIFEST VERBOSE",
        "KMS_KEY_ID '1234-abcd' ENCRYPTED",
        "PARALLEL ON",
        "MAXFILESIZE AS 256 MB",
    ]
    assert "IAM_ROLE default\n" in unload_statement(
        "select 1", "s3://bucket/x", "default", max_file_size_mb=5
    )


def test_copy_says_all_that_it_should() -> None:
    sql = copy_statement("churn.scores", ["user_id", "margin"], "s3://bucket/run=1/m.json", ROLE)
    assert sql.splitlines() == [
        "COPY churn.scores (user_id, margin)",
        "FROM 's3://bucket/run=1/m.json'",
        f"IAM_ROLE '{ROLE}'",
        "FORMAT AS PARQUET",
        "MANIFEST",
    ]
    wanted = parse_copy(sql)
    assert wanted.table.replace('"', "") == "churn.scores"
    assert (wanted.columns, wanted.manifest) == (("user_id", "margin"), True)


@pytest.mark.parametrize(
    "query",
    [
        "select 1; drop table x",
        "select 1;",
        "select 'open",
        'select "open',
        "select 1 /* open",
        "select 1 */ 2",
        "select 'a\\'; drop table x'",
        "select E'\\x27'",
        "select '\0'",
        "select /* /* nested */ */ 1",
        "select %(missing)s",
        "select 1\0",
    ],
)
def test_sql_that_is_not_one_plain_statement_is_refused(query: str) -> None:
    with pytest.raises(RunError):
        bind(query)
    with pytest.raises(RunError):
        unload_statement(query, "s3://bucket/x", ROLE, max_file_size_mb=5)


def test_texts_names_and_comments_are_left_alone() -> None:
    sql = """select '%(a)s; --', "%(a)s;", %(a)s /* ; %(a)s */ -- it's; %(a)s"""
    assert bind(sql, {"a": 1}) == """select '%(a)s; --', "%(a)s;", 1 /* ; %(a)s */ -- it's; %(a)s"""


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**63,
        -(2**63) - 1,
        "a\0b",
        "\ud800",
        b"bytes",
        ["list"],
        {"a": 1},
        object(),
        1j,
    ],
)
def test_what_no_literal_can_say_is_refused(value: Any) -> None:
    with pytest.raises(RunError):
        literal(value)


def test_times_with_a_zone_are_taken_to_utc() -> None:
    noon = datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert literal(noon) == literal(noon.astimezone(UTC)) == "TIMESTAMP '2024-07-01 10:00:00'"
    assert literal(date(2024, 7, 1)) == "DATE '2024-07-01'"


@pytest.mark.parametrize(
    "url",
    [
        "", "/local/path", "file:///x", "s3://", "s3://bucket", "S3://bucket/x", "s3://Bucket/x", "s3://b/x", "s3://bucket/x y",
        "s3://bucket/x'", "s3://bucket/x\\", "s3://bucket/../x", "s3://bucket/a/../x", "s3://bucket/a/..", "s3://bucket/.",
        "s3://bucket/x\n", "s3://bucket/ü", "s3://bucket//x", "s3://user:pw@bucket/x", "s3://bucket/x;", "s3://bucket/%27",
    ],
)  # fmt: skip
def test_a_url_that_cannot_stand_in_a_statement_is_refused(url: str) -> None:
    with pytest.raises(RunError, match="cannot be used"):
        s3_url(url)
    with pytest.raises(RunError, match="cannot be used"):
        unload_statement("select 1", url, ROLE, max_file_size_mb=5)
    with pytest.raises(RunError, match="cannot be used"):
        copy_statement("s.t", ["a"], url, ROLE)


@given(st.text(max_size=40))
def test_no_url_closes_its_quotes(path: str) -> None:
    try:
        url = s3_url(f"s3://bucket/{path}")
    except RunError:
        return
    assert re.fullmatch(r"s3://bucket/[A-Za-z0-9_=+@.:/-]*", url)
    assert ".." not in url.split("/")


def test_the_lakes_own_urls_are_taken() -> None:
    url = (
        "s3://some.bucket-1/lake/runs/product=food/week_start=2024-07-08/run=20240701t000000z_ab12/features/"
    )
    assert s3_url(url) == url


@pytest.mark.parametrize(
    "role",
    [
        "",
        "Default",
        "arn:aws:iam::1:role/x",
        f"{ROLE}'",
        f"{ROLE} x",
        f"{ROLE}\n",
        "aws_access_key_id=AKIA",
        f"{ROLE},",
    ],
)
def test_a_role_that_is_none_is_refused_and_not_shown(role: str) -> None:
    with pytest.raises(RunError, match="iam_role must be") as caught:
        unload_statement("select 1", "s3://bucket/x", role, max_file_size_mb=5)
    assert "AKIA" not in str(caught.value)
    with pytest.raises(RunError, match="iam_role must be"):
        copy_statement("s.t", ["a"], "s3://bucket/x", role)


@pytest.mark.parametrize("name", ["a b", "a;", 'a"', "A", "", "a'--", "a.b"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        copy_statement("s.t", [name], "s3://bucket/x", ROLE)
    with pytest.raises(UsageError):
        copy_statement(f"s.{name}", ["a"], "s3://bucket/x", ROLE)


@pytest.mark.parametrize("size", [4, 0, -5, 6_201])
def test_files_that_redshift_does_not_write_are_refused(size: int) -> None:
    with pytest.raises(RunError, match="5 to 6200 MB"):
        unload_statement("select 1", "s3://bucket/x", ROLE, max_file_size_mb=size)


def test_a_kms_key_that_is_none_is_refused() -> None:
    with pytest.raises(RunError, match="KMS key"):
        unload_statement("select 1", "s3://bucket/x", ROLE, max_file_size_mb=5, kms_key="x' ALLOWOVERWRITE")


@given(st.text())
def test_a_label_is_harmless(sql: str) -> None:
    assert re.fullmatch(r"[a-z0-9_.,()*=:/ -]{0,120}", label_of(sql))
