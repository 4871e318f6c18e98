"""Values inside nested columns: ``properties.distinct_id``, ``event_params[key=page].value.string_value``.

A path starts with a column. ``.name`` goes into an object (a JSON object, a Parquet struct or map), ``[3]``
into an array, and ``[key=page]`` takes the first object of an array whose ``key`` is ``page``. A column whose
own name looks like a path is found first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from churn.core.errors import UsageError
from churn.sources.ingest.columns import is_text
from churn.sources.ingest.engine import identifier, literal

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<place>\d+)\]|\[(?P<field>[^=\[\]]+)=(?P<value>[^\]]*)\]")
_COLUMN = re.compile(r"[^.\[]+")


@dataclass(frozen=True)
class Path:
    """A column, and the way into its values.

    Attributes:
        column: the log's column.
        steps: the way, each step as text; empty for the column itself.
    """

    column: str
    steps: tuple[str, ...] = ()

    def sql(self, kind: str) -> str:
        """Return SQL for the value: the column itself, or text from inside it.

        Args:
            kind: the column's DuckDB type.
        """
        name = identifier(self.column)
        if not self.steps:
            return name
        value = name if is_text(kind) else f"CAST(to_json({name}) AS VARCHAR)"
        pointer = ""
        for step in self.steps:
            match = _STEP.fullmatch(step)
            if match is None:
                raise AssertionError(step)
            if match["field"] is None:
                pointer += "/" + (match["name"] or match["place"]).replace("~", "~0").replace("/", "~1")
                continue
            found = f"json_extract_string(x, {literal('/' + match['field'])}) = {literal(match['value'])}"
            value = (
                f"CAST(list_filter({_elements(_inside(value, pointer))}, lambda x: {found})[1] AS VARCHAR)"
            )
            pointer = ""
        return _inside(value, pointer)


def _inside(value: str, pointer: str) -> str:
    if not pointer:
        return value
    return f"CASE WHEN json_valid({value}) THEN json_extract_string({value}, {literal(pointer)}) END"


def _elements(value: str) -> str:
    """Return SQL for the elements of a JSON array; some writers wrap them: {list: [{element: ...}]}."""
    return (
        f"CASE WHEN json_valid({value}) THEN CASE json_type({value}) "
        f"WHEN 'OBJECT' THEN json_extract({value}, '$.list[*].element') "
        f"WHEN 'ARRAY' THEN CAST({value} AS JSON[]) END END"
    )


def read_path(text: str, columns: Mapping[str, str] | None = None) -> Path:
    """Return the path that a text stands for.

    Args:
        text: a column, or a column and the way into it.
        columns: the log's columns, if they are known: a column of that very name is meant first.

    Raises:
        UsageError: the text is no path.

    Example:
        >>> read_path("event_params[key=page].value.string_value").steps
        ('[key=page]', '.value', '.string_value')
    """
    if columns is not None and text in columns:
        return Path(text)
    column = _COLUMN.match(text)
    steps: list[str] = []
    position = column.end() if column else 0
    while column and position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            break
        steps.append(match.group())
        position = match.end()
    if not column or position < len(text):
        raise UsageError(
            f"{text!r} is no column and no path into one: write column.name, column[0] or "
            "column[key=name].value"
        )
    return Path(column.group(), tuple(steps))
