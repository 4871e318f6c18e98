"""Open an export of a named format as a log with the contract's columns."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from churn.core.errors import SourceError, UsageError
from churn.sources.ingest.columns import CONTRACT, REQUIRED, check_names, is_text, type_fault
from churn.sources.ingest.engine import FAULT, identifier, literal
from churn.sources.ingest.find import find_files, open_kind
from churn.sources.ingest.formats import FORMATS, Format
from churn.sources.ingest.ids import placeholder_sql
from churn.sources.ingest.json_lines import LinesLog
from churn.sources.ingest.lines import first_line, text_files
from churn.sources.ingest.log import Log, Part
from churn.sources.ingest.paths import read_path
from churn.sources.ingest.views import Computed, View

IDENTITIES = ("either", "user", "device")
_EVENT, _USER, _ANONYMOUS = "churn event", "churn user", "churn anonymous"
_IDS = ("user_id", _USER, _ANONYMOUS)
_TEXTS = (*_IDS, _EVENT, "category", "item_id", "device", "product")
_MOST_LISTED = 12


def open_format(
    source: str,
    name: str,
    *,
    columns: Mapping[str, str],
    events: Sequence[str] = (),
    identity: str = "either",
) -> View:
    """Open an export.

    Args:
        source: a file, a folder or a glob.
        name: name of the format, a key of FORMATS.
        columns: contract column to a column of the export or a path into one, in place of the format's; an
            empty string leaves the contract column out.
        events: names of the events that count; empty: all but the format's ``not_activity``.
        identity: who counts: ``user`` (events with a user id), ``device`` (the id of the device or anonymous
            visitor), ``either`` (the user id, or where there is none the other).

    Raises:
        UsageError: an unknown format, column or identity.
        SourceError: the files cannot be read, or do not look like the format.
    """
    if name not in FORMATS:
        similar = difflib.get_close_matches(name.lower(), FORMATS, n=1)
        hint = f" (did you mean {similar[0]}?)" if similar else ""
        raise UsageError(f"unknown format {name!r}{hint}; known: {', '.join(FORMATS)}")
    if identity not in IDENTITIES:
        raise UsageError(f"unknown identity {identity!r}; known: {', '.join(IDENTITIES)}")
    check_names(columns)
    form = FORMATS[name]
    base = _open_files(source, form)
    given = {column: (path,) if path else () for column, path in columns.items()}
    paths = {"user_id": _people(form, identity), "occurred_at": form.time, **form.fields, **given}
    _check_fit(source, form, base, paths, given)
    present = {column: _present(base, tried) for column, tried in paths.items() if _present(base, tried)}
    computed = {column: _first(base, tried, column) for column, tried in present.items()}
    internal = {_EVENT: form.event, _USER: given.get("user_id", form.user), _ANONYMOUS: form.anonymous}
    for column, tried in internal.items():
        computed[column] = _first(base, _present(base, tried), column)
    return View(
        source,
        base.kind,
        base.parts,
        {column: computed[column].kind for column in CONTRACT if column in present},
        base.scan,
        base=base,
        computed=computed,
        always=tuple(internal),
        kept=f"user_id IS NOT NULL AND {_activity(form, events)}",
        shown={column: ", else ".join(tried) for column, tried in present.items()},
        source_timezone="UTC" if form.utc else "",
    )


def _people(form: Format, identity: str) -> tuple[str, ...]:
    return {"user": form.user, "device": form.anonymous, "either": (*form.user, *form.anonymous)}[identity]


def _activity(form: Format, events: Sequence[str]) -> str:
    """Return an SQL condition that is true for events that count."""
    names = ", ".join(map(literal, sorted(events or form.not_activity)))
    condition = f"{identifier(_EVENT)} {'IN' if events else 'NOT IN'} ({names})"
    return condition if events else f"coalesce({condition}, true)"


def _present(base: Log, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that lead into columns of the log."""
    return tuple(path for path in paths if read_path(path, base.columns).column in base.columns)


def _check_fit(
    source: str, form: Format, base: Log, paths: Mapping[str, tuple[str, ...]], given: Mapping[str, Any]
) -> None:
    """Raise a SourceError unless the log has a user id, a time, and every column that was named."""
    faults = []
    for column, tried in paths.items():
        present = _present(base, tried)
        if not present and (column in REQUIRED or given.get(column)):
            faults.append(f"no {column}: none of the columns {', '.join(tried)}" if tried else f"no {column}")
        for path in present:
            kind = base.columns.get(path)
            fault = type_fault(column, path, kind) if kind else ""
            faults += [fault] * bool(fault)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        known = list(base.columns)
        raise SourceError(
            f"{source} does not look like an export of {form.title}:\n{listed}\n"
            f"It has the columns: {', '.join(known[:60])}{', ...' * (len(known) > 60)}"
        )


def _first(base: Log, paths: Sequence[str], column: str) -> Computed:
    """Return the first of several columns that holds something in a row."""
    found = [read_path(path, base.columns) for path in paths]
    if not found:
        return Computed("CAST(NULL AS VARCHAR)", "VARCHAR", ())
    kinds = {base.columns[path.column] if not path.steps else "VARCHAR" for path in found}
    needs = tuple(path.column for path in found)
    values = [path.sql(base.columns[path.column]) for path in found]
    if len(kinds) == 1 and not is_text(*kinds) and column not in _TEXTS:
        return Computed(f"coalesce({', '.join(values)})", kinds.pop(), needs)
    texts = [f"CAST({value} AS VARCHAR)" for value in values]
    filled = [
        f"({placeholder_sql(text)}) IS NULL" if column in _IDS else f"trim({text}) <> ''" for text in texts
    ]
    texts = [f"CASE WHEN {full} THEN {text} END" for full, text in zip(filled, texts, strict=True)]
    return Computed(f"coalesce({', '.join(texts)})", "VARCHAR", needs)


def export_notes(con: Any, view: View, events: Sequence[str]) -> list[tuple[str, int]]:
    """Return what is left out of a localised export and what stands in for user ids, each with its events.

    Raises:
        SourceError: no event is left, or an event that was named does not occur.
    """
    event, fault = identifier(_EVENT), identifier(FAULT)
    counted = con.execute(
        f"SELECT {event}, user_id IS NULL, coalesce({view.kept}, false), count(*) "
        f"FROM {view.unfiltered} WHERE {fault} IS NULL GROUP BY ALL ORDER BY 4 DESC, 1"
    ).fetchall()
    known = [name for name, *_ in counted if name is not None]
    for name in events:
        if name not in known:
            similar = dict.fromkeys(difflib.get_close_matches(name, known, n=3) or known[:10])
            listed = ", ".join(map(repr, similar))
            raise SourceError(f"{view.label} holds no event {name!r}; it holds {listed}, ...")
    if counted and not any(kept for _, _, kept, _ in counted):
        raise SourceError(
            f"{view.label} holds no event that counts: each is left out by --event or --identity, or is no "
            "activity of a person"
        )
    nobody = sum(count for _, no_id, _, count in counted if no_id)
    notes = [("left out, no user id", nobody)] * bool(nobody)
    others = [(name, count) for name, no_id, kept, count in counted if not kept and not no_id]
    notes += [(f"left out, event {name}", count) for name, count in others[:_MOST_LISTED]]
    rest = sum(count for _, count in others[_MOST_LISTED:])
    notes += [("left out, other events", rest)] * bool(rest)
    (anonymous,) = con.execute(
        f"SELECT count(*) FROM {view.scan} "
        f"WHERE {identifier(_USER)} IS NULL AND user_id = {identifier(_ANONYMOUS)}"
    ).fetchone()
    return notes + [("id of a device or anonymous visitor taken as user id", anonymous)] * bool(anonymous)


def export_files(source: str) -> list[Path]:
    """Return the files of an export, whatever their names, but for lists of files."""
    return [path for path in find_files(source, ("",)) if not path.name.endswith("manifest.json")]


def _open_files(source: str, form: Format) -> Log:
    filled = [path for path in export_files(source) if path.stat().st_size]
    if not filled:
        raise SourceError(f"{source} holds no rows: every file is empty")
    kinds = {_sniff(path, form) for path in filled}
    if len(kinds) > 1:
        raise SourceError(
            f"{source} holds files of several kinds ({', '.join(sorted(kinds))}): give one kind"
        )
    kind = kinds.pop()
    if kind == "tsv":
        files = tuple(file for path in filled for file in text_files(path))
        parts = tuple(Part(file.label, "") for file in files)
        columns = dict.fromkeys(form.header, "VARCHAR")
        return LinesLog(source, "tsv", parts, columns, "", files=files, header=form.header)
    return open_kind(kind, source, filled)


def _sniff(path: Path, form: Format) -> str:
    """Return the kind of a file by what it holds: exports often have no telling name."""
    try:
        with path.open("rb") as raw:
            if raw.read(4) == b"PAR1":
                return "parquet"
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    line = first_line(text_files(path)[0])
    if line.startswith((b"{", b"[")):
        return "json"
    cells = line.decode("utf-8", "replace").split("\t")
    return "tsv" if form.header and len(cells) > 1 and not set(form.header[:2]) <= set(cells) else "csv"
