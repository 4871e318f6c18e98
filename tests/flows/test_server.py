"""Prefect's temporary server: its database, its key, its end, and what is said where it does not come up."""

import base64
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from flows.server import database
from tests.support.data_folders import AS_OF, weekly_events, write_table

ROOT = Path(__file__).parents[2]

# Starts a server, says where it is and which key it takes, and asks it something when it gets a line.
_PROGRAM = """
import json, logging, sys, threading
from flows.console import install_signal_handlers, show_progress, silence_libraries
from flows.server import start
silence_libraries(); show_progress(); install_signal_handlers()
start.start_server()
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
api = get_current_settings().api
print(json.dumps([str(api.url), api.auth_string.get_secret_value(), start._server._process.pid]), flush=True)
answers = []
def ask():
    with get_client(sync_client=True) as client:
        answers.append(client.hello().status_code)
for line in sys.stdin:
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    print(answers[-1], flush=True)
"""


# --- the database ---


@pytest.mark.process
def test_the_stored_schema_is_what_the_migrations_of_prefect_make() -> None:
    """If this fails after an upgrade of Prefect: `python -m flows.server.database` writes it anew."""
    # Prefect adds constraints in any order.
    made, stored = (
        sorted(line.strip(", ") for line in text.splitlines())
        for text in (database.migrated_schema(), database.SCHEMA.read_text("utf-8"))
    )
    assert made == stored


def test_a_new_database_is_up_to_date_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert database.prepare_database(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as made:
        assert database.dump(made) == "\n".join(database.SCHEMA.read_text("utf-8").splitlines()[2:])
        made.execute("insert into flow (name, id) values ('kept', 'a')")
        made.commit()
    assert database.prepare_database(path)
    with closing(sqlite3.connect(path)) as kept:
        assert kept.execute("select name from flow").fetchall() == [("kept",)]


def test_a_later_prefect_migrates_from_the_stored_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "version", lambda _: "3.99.0")
    assert not database.prepare_database(tmp_path / "prefect.db")
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as made:
        assert made.execute("select count(*) from alembic_version").fetchone() == (1,)


def test_an_earlier_prefect_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = tmp_path / "schema.sql"
    heading, rest = database.SCHEMA.read_text("utf-8").split("\n", 1)
    schema.write_text(f"{heading.replace('at revision ', 'at revision f')}\n{rest}", "utf-8")
    monkeypatch.setattr(database, "SCHEMA", schema)
    assert not database.prepare_database(tmp_path / "prefect.db")
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as made:
        assert made.execute("select count(*) from sqlite_master").fetchone() == (0,)


def test_a_database_that_prefect_has_not_yet_migrated_is_left_to_it(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as old:
        old.executescript(
            "create table alembic_version (version_num text); insert into alembic_version values ('x')"
        )
    assert not database.prepare_database(tmp_path / "prefect.db")


# --- the process ---


class Client:
    """A program that has started the server."""

    def __init__(self, home: Path) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            env=outside | {"PREFECT_HOME": str(home)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url, self.key, self.server = json.loads(self.line())

    def line(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line

    def asks(self) -> str:
        """What the server answers it."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line().strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "prefect"


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[Client]:
    running = Client(home)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def ask(client: Client, key: str | None) -> int:
    token = None if key is None else base64.b64encode(key.encode()).decode()
    headers = {} if token is None else {"Authorization": f"Basic {token}"}
    asked = {"limit": 1}
    return httpx.post(f"{client.url}/flow_runs/filter", json=asked, headers=headers).status_code


@pytest.mark.process
def test_only_those_with_the_key_are_answered(client: Client) -> None:
    assert ask(client, None) == httpx.codes.UNAUTHORIZED
    assert ask(client, "guess") == httpx.codes.UNAUTHORIZED
    assert ask(client, client.key) == httpx.codes.OK
    assert client.asks() == "200"  # also from a thread, which has no context of its own


@pytest.mark.process
def test_events_are_taken_with_the_key_only(client: Client) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidHandshake
    from websockets.sync.client import connect

    address = client.url.replace("http", "ws") + "/events/in"
    with pytest.raises((ConnectionClosed, InvalidHandshake)), connect(address) as bare:
        bare.recv(timeout=30)
    with connect(address, subprotocols=["prefect"]) as guessing:
        guessing.send(json.dumps({"type": "auth", "token": "guess"}))
        with pytest.raises(ConnectionClosed):
            guessing.recv(timeout=30)


@pytest.mark.process
def test_the_key_is_in_no_command_line_no_environment_and_no_file(client: Client, home: Path) -> None:
    for process in (psutil.Process(client.process.pid), psutil.Process(client.server)):
        assert client.key not in " ".join(process.cmdline())
        assert client.key not in " ".join(process.environ().values())
    assert [
        path for path in home.rglob("*") if path.is_file() and client.key.encode() in path.read_bytes()
    ] == []
    assert [path.name for path in home.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.process
def test_signals_for_the_whole_group_do_not_end_it(client: Client) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(client.server, number)
    time.sleep(0.2)
    assert client.asks() == "200"


@pytest.mark.process
def test_a_server_that_is_killed_is_started_again_and_requests_wait_for_it(client: Client) -> None:
    os.kill(client.server, signal.SIGKILL)
    assert client.asks() == "200"
    (again,) = psutil.Process(client.process.pid).children()
    assert again.pid != client.server
    assert client.process.stderr is not None
    assert client.process.stderr.readline() == (
        "  warning: Prefect's temporary server ended (signal 9, Killed), and is started again\n"
    )
    client.server = again.pid


@pytest.mark.process
def test_it_ends_with_the_process_that_started_it_even_if_that_is_killed(client: Client) -> None:
    server = psutil.Process(client.server)
    client.process.kill()
    assert server.wait(timeout=30) is None or not server.is_running()


# --- where it does not come up ---


def run_churn(tmp_path: Path, **environment: str) -> tuple[int, str]:
    data = tmp_path / "data"
    write_table(data, "events.activity", weekly_events(["a"], 3, AS_OF))
    (data / "churn.toml").write_text('source = "events"\n[products.tv]\ntitle = "TV"\n', "utf-8")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "flows.cli", "run", "--data", data, "--out", tmp_path / "out"),
            *("--product", "tv", "--as-of", f"{AS_OF}"),
        ],
        env=outside | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def broken(tmp_path: Path, kind: str) -> dict[str, str]:
    """A home of Prefect that cannot be used."""
    home = tmp_path / "prefect"
    if kind == "no such home":
        return {"HOME": str(tmp_path / "no/such/home")}
    if kind == "a file":
        home.write_text("not a folder")
    elif kind == "no database":
        home.mkdir()
        (home / "prefect.db").write_text("not a database, but longer than the heading of one " * 10)
    elif kind == "a folder":
        (home / "prefect.db").mkdir(parents=True)
    elif kind == "another revision":
        home.mkdir()
        with closing(sqlite3.connect(home / "prefect.db")) as old:
            old.executescript(
                "create table alembic_version (version_num text); insert into alembic_version values ('x')"
            )
    return {"PREFECT_HOME": str(home)}


@pytest.mark.process
@pytest.mark.parametrize("kind", ["no such home", "a file", "no database", "a folder", "another revision"])
def test_a_home_that_cannot_be_used_is_told_in_one_sentence(tmp_path: Path, kind: str) -> None:
    variables = broken(tmp_path, kind)
    code, told = run_churn(tmp_path, **variables)
    assert code == 1
    *lines, sentence = told.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == []
    assert sentence.startswith("churn: Prefect's temporary server ")
    assert "set PREFECT_HOME to a folder" in sentence
    assert "PREFECT_API_URL" in sentence
    assert next(iter(variables.values())) in sentence


@pytest.mark.process
def test_a_server_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    code, told = run_churn(
        tmp_path, PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="1"
    )
    assert code == 1
    assert told.splitlines()[-1].startswith(
        "churn: Prefect's temporary server did not start within 1 s: give it longer with "
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or set PREFECT_API_URL"
    )
