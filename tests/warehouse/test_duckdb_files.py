"""The database file: what is wrong when it cannot be opened, and how it is written anew."""

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

import churn.warehouse.duckdb.rewriting
from churn.core.errors import RunError
from churn.warehouse.base import InUseError
from churn.warehouse.duckdb.client import DuckDBWarehouse
from churn.warehouse.duckdb.opening import open_file
from tests.support.data_folders import AS_OF, event, write_table

ROOT = Path(__file__).parents[2]
CANARY = b"canary-7f3a"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_table(tmp_path / "data", "events.activity", [event("a", AS_OF)])
    return tmp_path / "data"


@pytest.fixture
def file(tmp_path: Path, data: Path) -> Path:
    """A database with a table of users, one of whom was deleted."""
    file = tmp_path / "out" / "warehouse.duckdb"
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        warehouse.execute(
            "set force_compression = 'uncompressed'"
        )  # so that values are in the file as they are
        warehouse.execute("create schema kept")
        warehouse.execute("create table kept.t (n integer primary key, u varchar not null default 'x')")
        warehouse.execute(
            "insert into kept.t select range, case when range % 500 = 7 then 'canary-7f3a-' else 'user-' end || "
            "md5(cast(range as varchar)) from range(5000)"
        )
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        warehouse.execute("delete from kept.t where u like 'canary%'")
    return file


@pytest.fixture
def in_file(file: Path) -> None:
    assert CANARY in file.read_bytes(), "otherwise the tests below show nothing"


def left(file: Path) -> list[str]:
    """The files beside the database that hold a deleted user."""
    return [path.name for path in file.parent.rglob("*") if path.is_file() and CANARY in path.read_bytes()]


# --- written anew ---


@pytest.mark.usefixtures("in_file")
def test_a_file_that_is_written_anew_holds_no_deleted_row_and_all_others(file: Path, data: Path) -> None:
    file.chmod(0o640)
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        warehouse.execute("comment on table kept.t is 'told'")
        warehouse.execute("create view kept.v as select u from kept.t")
        assert 0 < warehouse.rewrite_bytes() <= file.stat().st_size
        warehouse.rewrite()
        assert left(file) == []
        assert warehouse.fetch(
            "select count(*) as n, min(n) as first from kept.v, kept.t where n < 1"
        ).num_rows
        warehouse.execute("insert into kept.t values (5001, 'new')")  # into the new file
        with pytest.raises(RunError, match="Duplicate key"):
            warehouse.execute("insert into kept.t values (5001, 'again')")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in file.parent.iterdir()) == ["warehouse.duckdb"]
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        assert warehouse.fetch("select count(*) as n from kept.t")["n"].to_pylist() == [4991]
        assert warehouse.fetch("select comment from duckdb_tables()")["comment"].to_pylist() == ["told"]
        assert warehouse.columns("events.activity")


def test_a_file_behind_a_link_is_written_anew_where_it_is(file: Path, data: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "w.duckdb"
    link.parent.mkdir()
    link.symlink_to(file)
    with closing(DuckDBWarehouse(link, data)) as warehouse:
        warehouse.rewrite()
    assert link.is_symlink()
    assert left(file) == []
    assert [path.name for path in link.parent.iterdir()] == ["w.duckdb"]


def test_too_little_space_is_told_before_anything_is_written(
    file: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(file)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        with pytest.raises(
            RunError, match=r"may still hold bytes of erased users: that needs \d+ MB of free"
        ):
            warehouse.rewrite()
        assert warehouse.fetch("select count(*) as n from kept.t")["n"].to_pylist() == [4990]


KILLED = """
import os, signal, sys
from pathlib import Path
import churn.warehouse.duckdb.rewriting as rewriting
from churn.warehouse.duckdb.client import DuckDBWarehouse

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

file, data, name = sys.argv[1:]
warehouse = DuckDBWarehouse(Path(file), Path(data))
if name == "after":
    real = os.replace
    os.replace = lambda *paths: (real(*paths), die())
elif name == "replace":
    os.replace = die
else:
    setattr(rewriting, name, die)
warehouse.rewrite()
"""


@pytest.mark.process
@pytest.mark.parametrize("moment", ["_copy", "flush", "replace", "after"])
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(file: Path, data: Path, moment: str) -> None:
    line = [sys.executable, "-c", KILLED, str(file), str(data), moment]
    assert subprocess.run(line, cwd=ROOT, timeout=120, check=False).returncode == -signal.SIGKILL
    logged = file.with_name(f"{file.name}.wal")
    assert not logged.exists() or moment != "after", "it would be read into the new file"
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        assert {path.name for path in file.parent.iterdir()} <= {file.name, logged.name}
        assert warehouse.fetch("select count(*) as n from kept.t")["n"].to_pylist() == [4990]
        warehouse.rewrite()
    assert left(file) == []


def test_an_error_leaves_the_old_file_and_nothing_beside_it(
    file: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(churn.warehouse.duckdb.rewriting, "flush", refused)
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        with pytest.raises(RunError, match="the disk is full"):
            warehouse.rewrite()
        warehouse.execute("insert into kept.t values (5001, 'new')")
    assert sorted(path.name for path in file.parent.iterdir()) == ["warehouse.duckdb"]
    with closing(DuckDBWarehouse(file, data)) as warehouse:
        assert warehouse.fetch("select count(*) as n from kept.t")["n"].to_pylist() == [4991]


# --- cannot be opened ---


DAMAGED = r"is damaged: restore it from a backup, or move it away .*the next run makes it again from lake and source"


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_are_damage_and_not_another_run(file: Path, data: Path, seed: int) -> None:
    content, draw = bytearray(file.read_bytes()), random.Random(seed)
    for _ in range(40):
        content[draw.randrange(len(content) // 10, len(content) * 9 // 10)] ^= 0xFF
    file.write_bytes(content)
    with (
        pytest.raises(
            RunError, match=r"(?i)damaged: restore it from a backup|file that .* reads is damaged"
        ) as told,
        closing(DuckDBWarehouse(file, data)) as warehouse,
    ):
        warehouse.fetch("select count(*) as n, max(u) as u from kept.t")
    assert not isinstance(told.value, InUseError)
    assert "another run" not in str(told.value)


def header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4100] ^= 0xFF
    file.write_bytes(content)


def log_of_rubbish(file: Path) -> None:
    with duckdb.connect(str(file)) as database:
        database.execute("pragma disable_checkpoint_on_shutdown")
        database.execute("insert into kept.t values (6000, 'logged')")
    log = file.with_name(f"{file.name}.wal")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0xFF
    log.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (header, DAMAGED),
        (lambda file: os.truncate(file, 13_000), DAMAGED),
        (log_of_rubbish, DAMAGED),
        (lambda file: os.truncate(file, 0), "it is no DuckDB database: move it away"),
        (lambda file: file.write_bytes(b"x" * 100_000), "it is no DuckDB database: move it away"),
        (
            lambda file: file.write_bytes(b"SQLite format 3\0" + bytes(5000)),
            "it is no DuckDB database: move it",
        ),
        (lambda file: (file.unlink(), file.mkdir()), "it is a folder: move it away"),
    ],
    ids=["header", "cut short", "log", "empty", "rubbish", "sqlite", "folder"],
)
def test_what_is_wrong_with_a_file_is_told(file: Path, data: Path, spoil: object, told: str) -> None:
    assert callable(spoil)
    spoil(file)
    with pytest.raises(RunError, match=told) as error:
        DuckDBWarehouse(file, data)
    assert not isinstance(error.value, InUseError)
    assert str(error.value).startswith(f"{file} cannot be opened: ")
    assert "another run" not in str(error.value)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "IO Error: Trying to read a database file with version number 99, but we can only read version 64.",
            "written by another version of DuckDB than this one",
        ),
        (
            "Serialization Error: Failed to deserialize: the storage version is newer than this",
            "(written by another version of DuckDB|is damaged)",
        ),
        ('IO Error: Cannot open file "/w": Permission denied', "permission denied: check the owner and mode"),
        ('IO Error: Cannot open file "/w": Read-only file system', "free some space or choose another --out"),
        (
            'IO Error: Could not write file "/w": No space left on device',
            "free some space or choose another --out",
        ),
        ("INTERNAL Error: Attempted to access index 3", DAMAGED),
        ("IO Error: something unheard of", "if it is no warehouse of an earlier run"),
    ],
)
def test_messages_that_cannot_be_had_here_are_understood(
    file: Path, monkeypatch: pytest.MonkeyPatch, message: str, told: str
) -> None:
    """This test runs as root, and with one version of DuckDB on a disk of its own."""

    def refused(*_: object, **__: object) -> None:
        raise duckdb.IOException(message)

    monkeypatch.setattr(duckdb, "connect", refused)
    with pytest.raises(RunError, match=told) as error:
        open_file(file, {})
    assert not isinstance(error.value, InUseError)
