"""One client's session with the stand-in for Redshift: most goes on to the server, some is done here."""

import select
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pyarrow as pa
from botocore.exceptions import ClientError

from tests.stand_ins import pgwire
from tests.stand_ins.pgwire import ServerError, Wire, WireClosedError, message
from tests.stand_ins.postgres import USER
from tests.stand_ins.redshift_copy import copy
from tests.stand_ins.redshift_rewrite import rewritten
from tests.stand_ins.redshift_s3 import S3
from tests.stand_ins.redshift_server import Moving
from tests.stand_ins.redshift_sql import RefusalError, is_moved, parse_copy, parse_unload, statements, tokens
from tests.stand_ins.redshift_unload import unload

_KEPT_SETTINGS = ("database", "application_name", "client_encoding", "options")
# What a bound statement that the front carries out itself is to the server.
_NOTHING = "set redshift.moved = 'yes'"


class GoneError(Exception):
    """This connection is over."""


class Host(Protocol):
    """What a session needs of its front."""

    server_port: int
    s3: S3
    logins: Any
    statements: list[str]
    logged_in: list[str]

    def forget(self, connection: "Connection") -> None: ...
    def admits(self, user: str, password: str) -> bool: ...
    def due(self, point: str, sql: str) -> Sequence[str | Callable[[], object]]: ...


class Connection(threading.Thread):
    """One client's session."""

    def __init__(self, front: Host, client: Wire) -> None:
        super().__init__(name="redshift-session", daemon=True)
        self._front = front
        self._client = client
        self._server: Wire | None = None
        self._sql = ""  # the statement that is carried out
        self._status = b"I"
        self._deaf = False  # the client has been cut off
        self._waiting: list[tuple[bytes, bytes]] = []  # extended protocol: what came since the last Sync
        self._prepared: dict[bytes, str] = {}  # UNLOAD and COPY by name of prepared statement
        self._skipped: bytes | None = None  # after an error, until the next Sync: what to answer that with

    def run(self) -> None:
        try:
            if self._start():
                self._serve()
        except (GoneError, WireClosedError, OSError):
            pass  # either side has gone, and with it the session
        finally:
            self._front.forget(self)
            for side in (self._client, self._server):
                if side is not None:
                    side.close()

    def cut(self) -> None:
        self._deaf = True
        self._client.cut()

    def crash(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.cut()

    @property
    def server(self) -> Wire:
        assert self._server is not None
        return self._server

    def _start(self) -> bool:
        code, content = pgwire.read_start_up(self._client)
        while code in (pgwire.SSL_REQUEST, pgwire.GSS_REQUEST):
            self._client.send(b"N")
            code, content = pgwire.read_start_up(self._client)
        server = socket.create_connection(("127.0.0.1", self._front.server_port))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = Wire(server)
        if code == pgwire.CANCEL_REQUEST:
            self._server.send((len(content) + 8).to_bytes(4) + code.to_bytes(4) + content)
            with suppress(WireClosedError):
                self._server.fill()  # the server closes when it has passed it on
            return False
        given = pgwire.settings(content)
        if not self._let_in(given.get("user", "")):
            return False
        kept = {name: given[name] for name in _KEPT_SETTINGS if name in given}
        self._server.send(pgwire.start_up(code, {"user": USER, **kept}))
        return True

    def _let_in(self, user: str) -> bool:
        if self._front.logins is not None:
            self._client.send(message(b"R", (3).to_bytes(4)))  # the password as it is
            _, answer = self._client.receive()
            if not self._front.admits(user, answer.rstrip(b"\0").decode()):
                said = f'password authentication failed for user "{user}"'
                self._client.send(pgwire.error({"S": "FATAL", "V": "FATAL", "C": "28000", "M": said}))
                return False
        self._front.logged_in.append(user)
        return True

    def _serve(self) -> None:
        sides = {self._client.socket: self._client, self.server.socket: self.server}
        while True:
            for ready in select.select(list(sides), [], [])[0]:
                side = sides[ready]
                side.fill()
                if side is self.server:
                    self._pass_on()
                while side is self._client and side.ready and not self._deaf:
                    self._take(*side.receive())
                if self._deaf:
                    return

    def _pass_on(self) -> None:
        """Hand what the server says to the client."""
        passed = []
        while self.server.ready:
            raw = self.server.raw()
            if raw[:1] == b"E":
                raw = _as_redshift_says(raw)
            elif raw[:1] == b"Z":
                self._status = raw[5:6]
                self._step("answer")
            passed.append(raw)
        self._client.send(*passed)

    def _take(self, kind: bytes, content: bytes) -> None:
        if kind == b"Q":
            self._query(content[:-1].decode())
        elif kind == b"X":
            raise GoneError
        elif self._skipped is not None:
            if kind == b"S":
                skipped, self._skipped = self._skipped, None
                self._answer(message(b"Z", skipped))
        elif kind in (b"d", b"c", b"f"):
            self.server.send(message(kind, content))
        else:
            self._waiting.append((kind, content))
            if kind in (b"S", b"H"):
                self._extended()

    def _query(self, sql: str) -> None:
        self._arrived(sql)
        try:
            self._step("statement")
            if self._is_moved(sql):
                failed, word = self._move(sql)
                done = failed or message(b"C", pgwire.text(word))
                self._answer(done, message(b"Z", self._status))
                return
            sent = rewritten(sql)
        except RefusalError as refusal:
            self._answer(self._refusal(refusal), message(b"Z", self._status))
            return
        self.server.send(pgwire.query(sent))
        self._outlive()

    def _arrived(self, sql: str) -> None:
        self._sql = sql
        self._front.statements.append(sql)

    def _outlive(self) -> None:
        """Let a statement whose client has been cut off come to its end."""
        while self._deaf:
            if self.server.receive()[0] == b"Z":
                raise GoneError

    def _is_moved(self, sql: str) -> bool:
        parts = statements(tokens(sql))
        moved = [is_moved(part) for part in parts]
        if any(moved) and len(parts) > 1:
            raise RefusalError("the stand-in carries out UNLOAD and COPY one at a time", code="0A000")
        return any(moved)

    def _step(self, point: str) -> None:
        for action in self._front.due(point, self._sql):
            if action == "cut":
                self.cut()
            elif action == "crash":
                self.crash()
                raise GoneError
            elif callable(action):
                action()

    def _extended(self) -> None:
        """Carry out what a driver that binds parameters has sent up to its Sync."""
        waiting, self._waiting = self._waiting, []
        passed, moved = [], []
        try:
            for kind, content in waiting:
                if kind == b"P":
                    name, sql, rest = pgwire.parts(content, 2)
                    text = sql.decode()
                    self._arrived(text)
                    self._prepared.pop(name, None)
                    if self._is_moved(text):
                        if rest[:2] != b"\0\0":
                            raise RefusalError("UNLOAD and COPY take no bound parameters", code="42P02")
                        self._prepared[name] = text
                        text = _NOTHING
                    content = name + b"\0" + rewritten(text).encode() + b"\0" + rest
                elif kind == b"B":
                    _, name, _ = pgwire.parts(content, 2)
                    self._step("statement")
                    if name in self._prepared:
                        moved.append(self._prepared[name])
                passed.append(message(kind, content))
        except RefusalError as refusal:
            failed = self._refusal(refusal)
        else:
            # Before the driver's own messages: the server takes nothing else between those.
            failed = next(filter(None, (self._move(sql)[0] for sql in moved)), None)
        if failed is None:
            self.server.send(*passed)
            self._outlive()
        elif waiting[-1][0] == b"S":
            self._answer(failed, message(b"Z", self._status))
        else:
            self._answer(failed)
            self._skipped = self._status

    def _move(self, sql: str) -> tuple[bytes | None, str]:
        """Carry out UNLOAD or COPY; return the error to answer with, and else the word for what was done."""
        self._sql = sql
        session = Moving(self.server, self._step)
        try:
            if tokens(sql)[0].value == "unload":
                wanted = parse_unload(sql)
                count, verb = unload(wanted, rewritten(wanted.query), session, self._front.s3), "unload"
            else:
                count, verb = copy(parse_copy(sql), session, self._front.s3), "copy"
            self._status = session.run(f"select set_config('redshift.last_{verb}_count', '{count}', false)")
        except RefusalError as refusal:
            session.abandon()
            return self._refusal(refusal), ""
        except (ClientError, pa.ArrowException, OSError) as error:
            if isinstance(error, WireClosedError):
                raise
            session.abandon()
            return self._refusal(RefusalError(f"S3ServiceException:{error}")), ""
        except ServerError as error:
            self._status = session.status
            return _as_redshift_says(pgwire.error(error.fields)), ""
        self._step("answer")
        self._answer(pgwire.notice(f"{verb.upper()} completed, {count} record(s) {verb}ed successfully."))
        return None, verb.upper()

    def _refusal(self, refusal: RefusalError) -> bytes:
        """Return the error after the server itself has said no, so that its transaction fails as well."""
        raised = " using message = {}, detail = {}, errcode = {}".format(
            *map(_literal, (str(refusal), refusal.detail, refusal.code))
        )
        tag = f"$refusal_{uuid.uuid4().hex}$"
        session = Moving(self.server, self._step)
        try:
            session.run(f"do {tag} begin raise exception {raised}; end {tag}")
        except ServerError as error:
            self._status = session.status
            return pgwire.error(
                {key: value for key, value in error.fields.items() if key in "SVCMDH" and value}
            )
        raise AssertionError("the server took what it was to refuse")

    def _answer(self, *messages: bytes) -> None:
        if self._deaf:
            raise GoneError
        self._client.send(*messages)


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{escaped}'"


def _as_redshift_says(raw: bytes) -> bytes:
    """Word a serialisation failure as Redshift does."""
    fields = pgwire.error_fields(raw[5:])
    if fields.get("C") != "40001":
        return raw
    said = "Serializable isolation violation on a table in Redshift: " + fields.get("M", "")
    return pgwire.error({"S": "ERROR", "V": "ERROR", "C": "XX000", "M": "1023", "D": said})
