"""A stand-in for Redshift: PostgreSQL behind a front that speaks its protocol and does what it lacks.

Clients connect to the front as to Redshift, with any driver and from any process. It carries out UNLOAD and COPY
on their own connection (so inside their transaction), refuses what Redshift refuses, words a few things as
Redshift does, and lets a test cut connections at chosen moments. Everything else is PostgreSQL's.

A client that goes away during UNLOAD or COPY does not stop it, as with Redshift.
"""

import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.stand_ins.pgwire import Wire
from tests.stand_ins.redshift_s3 import S3
from tests.stand_ins.redshift_session import Connection

Point = Literal[
    "statement", "answer", "unload:started", "unload:files", "unload:manifest", "copy:started", "copy:loaded"
]
# cut: the client's connection ends, and the statement goes on; crash: the server's session ends with it.
Action = Literal["cut", "crash"] | Callable[[], object]


@dataclass
class Fault:
    """Something that happens once, or a few times, when statements come to a point.

    Attributes:
        point: where. ``statement``: before it reaches the server; ``answer``: done, and not yet answered.
        action: ``cut``, ``crash``, or what to call there (it may raise ``RefusalError``).
        match: only statements in which this pattern is found, in any case.
        skip: how many that match are let through first.
        times: how often, after that.
    """

    point: Point
    action: Action
    match: str = ""
    skip: int = 0
    times: int = 1


@dataclass
class Front:
    """The front of one server, on a port of its own.

    Attributes:
        server_port: PostgreSQL's port.
        s3: how UNLOAD and COPY reach S3.
        logins: passwords by user; without, everybody may come in.
        statements: what clients sent, in order.
        logged_in: users who came in, in order.
        faults: see ``Fault``; tests add to it.
    """

    server_port: int
    s3: S3
    logins: Mapping[str, str] | Callable[[str, str], bool] | None = None
    statements: list[str] = field(default_factory=list)
    logged_in: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="redshift-front", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, Wire(client))
            with self._lock:
                self._open.add(connection)
            connection.start()

    def forget(self, connection: "Connection") -> None:
        with self._lock:
            self._open.discard(connection)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._open)

    def cut_all(self) -> None:
        """End every client's connection now; what runs goes on, as far as it can without its client."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.cut()

    def admits(self, user: str, password: str) -> bool:
        if callable(self.logins):
            return self.logins(user, password)
        return self.logins is not None and self.logins.get(user) == password

    def due(self, point: str, sql: str) -> list[Action]:
        """Return what is to happen now; it is counted as having happened."""
        due: list[Action] = []
        if not sql:  # logging in
            return due
        with self._lock:
            for fault in self.faults:
                if fault.point == point and fault.times and re.search(fault.match, sql, re.IGNORECASE):
                    if fault.skip:
                        fault.skip -= 1
                    else:
                        fault.times -= 1
                        due.append(fault.action)
        return due

    def close(self) -> None:
        """End the port and every connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=10)
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.crash()
        for connection in connections:
            connection.join(timeout=10)
