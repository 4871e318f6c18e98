"""Errors in settings as sentences: which key, where it was set, what is allowed.

Values are not shown, only names: a value may be a password in the wrong place.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_ARGUMENTS = {"data", "out"}  # command-line options, not settings
_SIMILARITY = 0.7  # of equal names: 1.0
_EXPECTED = {
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "list": "must be a list",
    "model": "must be a table",
    "dict": "must be a table",
    "mapping": "must be a table",
    "missing": "is required",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def explain_errors(
    error: ValidationError, model: type[BaseModel], *, prefix: str, sources: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield one sentence for each wrong setting.

    Args:
        error: pydantic's error.
        model: the settings' class.
        prefix: how environment variables of settings begin.
        sources: settings by source, such as ``{"CHURN_*": {"seed": "x"}}``, the strongest source first. A
            sentence names the source, for the environment the variable.
    """
    for fault in error.errors(include_url=False, include_input=False):
        keys = [str(part) for part in fault["loc"] if part != "[key]"]
        place = ".".join(keys) or "settings"
        origin = where(keys, prefix, sources)
        variable = _as_variable(keys, model, prefix) if origin == f" ({_variable(keys, prefix)})" else ""
        sentence = f"is not a setting; did you mean {variable}?" if variable else _wrong(fault, keys, model)
        yield f"{place}{origin}: {sentence}"


def _variable(keys: Sequence[str], prefix: str) -> str:
    return f"{prefix}{'__'.join(keys).upper()}"


def _as_variable(keys: Sequence[str], model: type[BaseModel], prefix: str) -> str:
    """Return the variable meant by one with too few underscores, such as CHURN_CLUSTER_WORKERS; or ""."""
    if _field(model, keys) is not None:
        return ""
    name = "_".join(keys)
    matches = [path for path in _paths(model) if len(path) > 1 and "_".join(path) == name]
    return _variable(matches[0], prefix) if len(matches) == 1 else ""


def where(keys: Sequence[str], prefix: str, sources: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the source of a key in brackets; an empty text for one of the file, or a missing one."""
    for name, values in sources.items():
        level: Any = values
        for depth, key in enumerate(keys, start=1):
            if not isinstance(level, Mapping) or key not in level:
                break
            level = level[key]
            if not isinstance(level, Mapping) or depth == len(keys):
                variable = _variable(keys[:depth], prefix)
                return f" ({variable if name == f'{prefix}*' else name})"
    return ""


def _wrong(fault: Mapping[str, Any], keys: Sequence[str], model: type[BaseModel]) -> str:
    kind, context = str(fault["type"]), fault.get("ctx", {})
    field = _field(model, keys)
    if kind == "extra_forbidden":
        return f"is not a setting{_nearest(keys, model)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"must be {_range(field) or _range_of(context)}"
    if kind == "string_pattern_mismatch":
        return f"must look like {_example(field)}" if _example(field) else "has not the right form"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_too_long":
        return f"must have {context['max_length']} characters at most"
    expected = _EXPECTED.get(kind.partition("_")[0])
    if expected is None:
        return str(fault["msg"])
    bounds = _range(field)
    if kind.startswith(("int", "float")) and bounds:
        return f"{expected}, {bounds}"
    return f"{expected} [{'.'.join(keys)}]" if expected.endswith("table") else expected


def _field(model: type[BaseModel], keys: Sequence[str]) -> FieldInfo | None:
    """Return the field with these keys, or None."""
    at: Any = model
    field: FieldInfo | None = None
    for key in keys:
        if isinstance(at, type) and issubclass(at, BaseModel):
            field = at.model_fields.get(key)
            at = _required(field.annotation) if field else None
        elif get_origin(at) is not None and len(get_args(at)) == 2:  # Mapping[name, model]
            field, at = None, get_args(at)[1]
        else:
            return None
    return field


def _model_at(model: type[BaseModel], keys: Sequence[str]) -> type[BaseModel] | None:
    field = _field(model, keys)
    at: Any = _required(field.annotation) if field else None
    if field is None and keys:  # one table of a mapping, such as products.iplayer
        parent = _field(model, keys[:-1])
        at = get_args(parent.annotation)[1] if parent and len(get_args(parent.annotation)) == 2 else None
    elif not keys:
        at = model
    return at if isinstance(at, type) and issubclass(at, BaseModel) else None


def _nearest(keys: Sequence[str], model: type[BaseModel]) -> str:
    """Suggest the key that may have been meant, or else list the keys of its table."""
    *table, key = keys
    parent = _model_at(model, table)
    if parent is None:
        return ""
    known = [name for name in parent.model_fields if parent is not model or name not in _ARGUMENTS]
    similar = get_close_matches(key, known, 1, _SIMILARITY)
    if similar:
        return f"; did you mean {'.'.join([*table, *similar])}?"
    elsewhere = [".".join(path) for path in _paths(model) if path[-1] == key]
    if len(elsewhere) == 1:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(known)}"


def _paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (name,)
        below = _required(field.annotation)
        if isinstance(below, type) and issubclass(below, BaseModel):
            yield from ((name, *path) for path in _paths(below))


def _required(annotation: Any) -> Any:
    """Return a type without its ``| None``."""
    types = [type_ for type_ in get_args(annotation) if type_ is not type(None)]
    return types[0] if isinstance(annotation, UnionType) and len(types) == 1 else annotation


def _range(field: FieldInfo | None) -> str:
    """Return the bounds of a number, as ``at least 1 and at most 20``."""
    bounds = {
        name: getattr(bound, name)
        for bound in (field.metadata if field else [])
        for name in _BOUNDS
        if hasattr(bound, name)
    }
    return _range_of(bounds)


def _range_of(bounds: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{word} {bounds[name]:,g}" if abs(bounds[name]) < 1e6 else f"{word} {bounds[name]:,}"
        for name, word in _BOUNDS.items()
        if bounds.get(name) is not None
    )


def _example(field: FieldInfo | None) -> str:
    """Return the examples of a field, as ``"auto" or "2GB"``."""
    return " or ".join(f'"{text}"' for text in (field.examples or [] if field is not None else []))
