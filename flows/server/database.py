"""The database of Prefect's temporary server: made from a stored schema, where Prefect would migrate.

Prefect makes a new SQLite database by its whole history of migrations, some hundred of them. ``schema.sql``
is what they come to; ``python -m flows.server.database`` writes it anew. A later version of Prefect goes on
from there with its own migrations.
"""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

SCHEMA = Path(__file__).with_name("schema.sql")
_HEADING = "-- The SQLite database of Prefect {version} at revision {revision}, as its migrations make it."
_TIMEOUT_SECONDS = 60.0


def prepare_database(path: Path) -> bool:
    """Make Prefect's database if there is none; return whether no migration is left to do.

    Args:
        path: the SQLite file; its folder exists.

    Raises:
        sqlite3.Error: the file cannot be read or written, or is no database.
        OSError: the same.
    """
    made_with, revision = _stored()
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path, timeout=_TIMEOUT_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # another process may do the same; it also tells a read-only file
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            if not _knows(revision):
                return False
            for statement in _statements(SCHEMA.read_text("utf-8")):
                database.execute(statement)
        has_version = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
        found = (
            database.execute(has_version).fetchone()[0]
            and database.execute("SELECT version_num FROM alembic_version").fetchone()
        )
        database.execute("COMMIT")
    return bool(found) and found[0] == revision and version("prefect") == made_with


def _stored() -> tuple[str, str]:
    """Return the version of Prefect and the revision that the stored schema was made with."""
    with SCHEMA.open(encoding="utf-8") as lines:
        heading = re.escape(_HEADING).replace(r"\{version\}", "(.+)").replace(r"\{revision\}", "(.+)")
        found = re.fullmatch(heading, next(lines).rstrip("\n"))
    assert found is not None, f"{SCHEMA} does not begin with {_HEADING}"
    return found[1], found[2]


def _knows(revision: str) -> bool:
    """Return whether the installed Prefect has the stored schema's migration; an older one has not."""
    from importlib.util import find_spec

    spec = find_spec("prefect")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "server/database/_migrations/versions/sqlite"
    return any(folder.glob(f"*_{revision}_*.py"))


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def dump(database: sqlite3.Connection) -> str:
    """Return the statements that make a database again, without those of the transaction."""
    lines = [line for line in database.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;")]
    return re.sub(r"[ \t]+$", "", "\n".join(lines), flags=re.MULTILINE)


def migrated_schema() -> str:
    """Return the text of ``schema.sql`` as the installed Prefect makes it."""
    with TemporaryDirectory() as home:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        subprocess.run(
            [Path(sys.executable).with_name("prefect"), "server", "database", "upgrade", "--yes"],
            env=outside | {"PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with closing(sqlite3.connect(Path(home) / "prefect.db")) as database:
            (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
            heading = _HEADING.format(version=version("prefect"), revision=revision)
            return f"{heading}\n-- Apache License 2.0, by Prefect Technologies.\n{dump(database)}\n"


if __name__ == "__main__":
    SCHEMA.write_text(migrated_schema(), "utf-8")
