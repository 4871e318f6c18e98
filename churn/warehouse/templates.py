"""From SQL files to statements: templates, dependencies, dialects.

Every statement of any length is a file under ``sql/``, a Jinja template in Redshift's dialect. A step's
dependencies are the ``ref(...)`` calls it makes, so the graph cannot differ from the SQL. Values are
bound parameters (``:as_of``); names pass ``identifier``; an undefined name is an error.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import sqlglot
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from sqlglot import exp
from sqlglot.errors import ParseError

from churn.core.errors import RunError
from churn.core.names import identifier
from churn.warehouse.base import Dialect
from churn.warehouse.quoting import literal, qualified

_HEADER = re.compile(r"\A((?:--[^\n]*\n)+)")
# How Redshift lays out a step's table, by those of these columns that it has: a user's rows lie together, as
# nearly every join is by user, and they are sorted by the dates that ranges are cut from.
DISTRIBUTED_BY = "user_id"
SORTED_BY = ("week_start", "as_of_date")
# Where the steps of a plan lie; `aggregates/` is made by itself, week by week.
STEP_FOLDERS = ("dataset", "intermediate", "features")


@cache
def sql_root() -> Path:
    """Return the folder of SQL files: in the installed package, or in a checkout."""
    packaged = Path(__file__).parents[1] / "_sql"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "sql"


@dataclass(frozen=True)
class Step:
    """One SQL file that makes one table or view.

    Attributes:
        name: the table's name within the run's schema.
        path: the file, relative to ``sql/``.
        kind: ``view`` for source mappings and where the file sets ``materialized`` to it, else ``table``.
        text: the template.
        needs: names of the steps it reads.
    """

    name: str
    path: str
    kind: Literal["view", "table"]
    text: str
    needs: frozenset[str]

    @property
    def header(self) -> str:
        """What the file says it makes, at which grain, from what."""
        found = _HEADER.match(self.text)
        return "\n".join(line[2:].strip() for line in found[1].splitlines()) if found else ""


@dataclass(frozen=True)
class Statement:
    """SQL in one dialect with the values of its bound parameters."""

    sql: str
    parameters: Mapping[str, Any]


@cache
def _environment() -> Environment:
    # The output is SQL, not HTML; values never pass through the template (they are bound).
    return Environment(
        loader=FileSystemLoader(sql_root()),  # templates may import macros
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@lru_cache(maxsize=1024)
def _template(text: str) -> Template:
    """Compile a template, which takes ten times as long as to render it: once each."""
    return _environment().from_string(text)


@cache
def _read(path: str) -> str:
    return (sql_root() / path).read_text("utf-8")


def load_step(path: str, names: Mapping[str, Any]) -> Step:
    """Read one file under ``sql/`` as a step; it needs what it calls ``ref`` with, given ``names``."""
    text = _read(path)
    needs: set[str] = set()

    def ref(name: str) -> str:
        needs.add(identifier(name))
        return name

    module = _template(text).make_module({**names, "ref": ref})
    is_view = path.startswith("sources/") or getattr(module, "materialized", "table") == "view"
    kind: Literal["view", "table"] = "view" if is_view else "table"
    return Step(identifier(Path(path).stem), path, kind, text, frozenset(needs))


def step_path(name: str, source: str) -> str:
    """Return the file, relative to ``sql/``, that makes a step or a view of a source.

    Raises:
        RunError: there is none.
    """
    for folder in (*STEP_FOLDERS, f"sources/{source}"):
        if (sql_root() / folder / f"{name}.sql").is_file():
            return f"{folder}/{name}.sql"
    folders = ", ".join(STEP_FOLDERS)
    raise RunError(f"no SQL file makes {name!r}: looked in {folders} and sources/{source} of {sql_root()}")


def canonical_sql(step: Step, names: Mapping[str, Any]) -> str:
    """Return a step's SQL for a digest: comments and white space do not change it.

    Macros and lists are written out, in Redshift's dialect.
    """
    return _without_comments(_template(step.text).render(**names, ref=identifier))


@lru_cache(512)
def _without_comments(query: str) -> str:
    return _parsed(query).sql(dialect="redshift", comments=False)


def steps_for(source: str, wanted: Iterable[str], names: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the wanted steps and all that they need, in an order that respects the graph.

    Args:
        source: which ``sql/sources/<source>`` maps the raw tables.
        wanted: names of steps.
        names: what the templates may use, which may switch a dependency on or off.

    Raises:
        RunError: a step is needed that has no file.
    """
    found: dict[str, Step] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = load_step(step_path(name, source), names)
        waiting.extend(found[name].needs)
    graph = {name: sorted(found[name].needs) for name in sorted(found)}
    return tuple(found[name] for name in TopologicalSorter(graph).static_order())


def render(
    text: str, names: Mapping[str, Any], parameters: Mapping[str, Any], schema: str, dialect: Dialect
) -> Statement:
    """Render a template into one statement.

    Args:
        text: template in Redshift's dialect.
        names: what the template may use besides ``ref``: lists of validated names, flags, numbers.
        parameters: values that the statement may bind; only those it uses are returned.
        schema: the run's schema, which ``ref('x')`` is qualified with.
        dialect: dialect of the result.
    """
    layout = {"redshift": dialect == "redshift"}  # whether a table is given Redshift's keys
    return _bound(_translated(_filled(text, layout | dict(names), schema), dialect), parameters)


def _filled(text: str, names: Mapping[str, Any], schema: str) -> str:
    schema = identifier(schema)
    return _template(text).render(**names, ref=lambda name: f"{schema}.{identifier(name)}")


def _parsed(query: str) -> exp.Expr:
    try:
        return sqlglot.parse_one(query, read="redshift")
    except ParseError as error:  # a name that is a word of SQL, such as a schema called `select`
        raise RunError(f"a statement is not SQL: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class _Translated:
    """A statement in a dialect, the parameters that it binds, and the columns of a query."""

    sql: str
    used: tuple[str, ...]
    columns: tuple[str, ...] | None


@lru_cache(512)
def _translated(query: str, dialect: Dialect) -> _Translated:
    """Translate a statement once: those of publishing and of the kept weeks come again and again."""
    tree = _parsed(query)
    used = tuple(sorted({node.name for node in tree.find_all(exp.Placeholder)}))
    columns = tuple(tree.named_selects) if isinstance(tree, exp.Query) else None
    return _Translated(_written(tree, dialect), used, columns)


def _bound(made: _Translated, parameters: Mapping[str, Any]) -> Statement:
    missing = sorted(set(made.used) - parameters.keys())
    if missing:
        raise RunError(f"the statement binds unknown parameters: {', '.join(missing)}")
    return Statement(made.sql, {name: parameters[name] for name in made.used})


def _written(tree: exp.Expr, dialect: Dialect) -> str:
    """Return a tree as SQL; Redshift's without the backslashes that ``statements`` does not take."""
    if dialect == "redshift":
        tree = tree.transform(
            lambda node: exp.Var(this=literal(node.this)) if _needs_escapes(node) else node, copy=False
        )
    return tree.sql(dialect=dialect, pretty=True, comments=False, copy=False)  # nobody reads the tree again


def _needs_escapes(node: Any) -> bool:
    return (
        isinstance(node, exp.Literal) and node.is_string and not re.fullmatch(r"[^'\\\x00-\x1f]*", node.this)
    )


def create(
    step: Step,
    names: Mapping[str, Any],
    parameters: Mapping[str, Any],
    schema: str,
    dialect: Dialect,
    *,
    into: str | None = None,
) -> Statement:
    """Render the statement that makes a step's table or view, in Redshift with the table's layout.

    Args:
        into: the schema that it is made in, if that is not the one that ``ref`` names.
    """
    columns, body = _query(step, names, parameters, schema, dialect)
    if step.kind == "view" and body.parameters:  # which a view cannot bind
        body = Statement(_written(_with_values(step, names, parameters, schema), dialect), {})
    return Statement(_create(step, into or schema, columns, body.sql, dialect), body.parameters)


def insert(
    step: Step,
    names: Mapping[str, Any],
    parameters: Mapping[str, Any],
    schema: str,
    table: str,
    dialect: Dialect,
) -> Statement:
    """Render the statement that adds what a step's query finds to a table that has its columns."""
    columns, body = _query(step, names, parameters, schema, dialect)
    listed = ", ".join(identifier(name) for name in columns)
    return Statement(f"insert into {qualified(table)} ({listed})\n{body.sql}", body.parameters)


def create_empty(
    step: Step,
    names: Mapping[str, Any],
    parameters: Mapping[str, Any],
    schema: str,
    table: str,
    dialect: Dialect,
) -> Statement:
    """Render the statement that makes a table with a step's columns and no rows."""
    columns, body = _query(step, names, parameters, schema, dialect)
    layout = f"\n{_layout(columns)}" if dialect == "redshift" else ""
    made = f"create table {qualified(table)}{layout} as"
    return Statement(f"{made}\nselect * from (\n{body.sql}\n) as shape where 1 = 0", body.parameters)


def create_table(table: str, columns: Mapping[str, str], dialect: Dialect) -> str:
    """Return the statement that makes a table, if it is not there, of columns with Redshift's types."""
    listed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
    made = sqlglot.parse_one(f"create table if not exists {qualified(table)} ({listed})", read="redshift")
    layout = f"\n{_layout(tuple(columns))}" if dialect == "redshift" else ""
    return made.sql(dialect=dialect) + layout


def render_for_humans(
    step: Step, names: Mapping[str, Any], parameters: Mapping[str, Any], schema: str, dialect: Dialect
) -> str:
    """Return a step's statement with its values written in as literals, to be read or pasted by a person."""
    columns, _ = _query(step, names, parameters, schema, dialect)
    filled = _with_values(step, names, parameters, schema)
    body = filled.sql(dialect=dialect, pretty=True, comments=False)
    header = "".join(f"-- {line}\n" for line in step.header.splitlines())
    return f"{header}{_create(step, schema, columns, body, dialect)};\n"


def _with_values(
    step: Step, names: Mapping[str, Any], parameters: Mapping[str, Any], schema: str
) -> exp.Expr:
    """Return a step's query with its values in it as literals."""
    filled: exp.Expr = _parsed(_filled(step.text, names, schema)).transform(
        lambda node: _literal(parameters[node.name]) if isinstance(node, exp.Placeholder) else node
    )
    return filled


def _query(
    step: Step, names: Mapping[str, Any], parameters: Mapping[str, Any], schema: str, dialect: Dialect
) -> tuple[Sequence[str], Statement]:
    """Return the columns and the text of a step's query."""
    made = _translated(_filled(step.text, names, schema), dialect)
    if made.columns is None:
        raise RunError(f"{step.path} is no query: write one `select`, of which a {step.kind} is made")
    return made.columns, _bound(made, parameters)


def _create(step: Step, schema: str, columns: Sequence[str], body: str, dialect: Dialect) -> str:
    made = f"create {step.kind} {identifier(schema)}.{step.name}"
    if dialect != "redshift":
        return f"{made} as\n{body}"
    if step.kind == "view":
        # Bound late, a view can read external tables, and keeps nobody from replacing a table that it reads.
        return f"{made} as\n{body}\nwith no schema binding"
    return f"{made}\n{_layout(columns)} as\n{body}"


def _layout(columns: Sequence[str]) -> str:
    """Return how Redshift lays out a table that has these columns; untold, it guesses from the plan."""
    distributed = f"distkey({DISTRIBUTED_BY})" if DISTRIBUTED_BY in columns else "diststyle auto"
    sorted_by = ", ".join(name for name in SORTED_BY if name in columns)
    return f"{distributed} sortkey({sorted_by})" if sorted_by else distributed


def _literal(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return exp.Literal.string(value.isoformat())
    return exp.convert(value)
