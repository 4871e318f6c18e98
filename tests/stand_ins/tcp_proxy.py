"""A loopback proxy for any TCP connection, which can be cut, slowed and shut."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 16


@dataclass
class TcpProxy:
    """A proxy before one port of 127.0.0.1.

    Attributes:
        target: the port that it leads to.
        refusing: whether new connections are ended at once.
        delay_s: how long each piece of an answer waits.
        silent: whether nothing is passed on, as where a firewall has forgotten a connection.
        bytes_left: how many bytes of answers are passed on before every connection is cut; ``None``: no end.
        accepted: how many connections there have been.
    """

    target: int
    refusing: bool = False
    delay_s: float = 0.0
    silent: bool = False
    bytes_left: int | None = None
    accepted: int = 0
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="tcp-proxy", daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.append(pair)
            ends = threading.Barrier(2)
            for source, sink, counted in ((client, server, False), (server, client, True)):
                thread = threading.Thread(
                    target=self._carry, args=(source, sink, counted, pair, ends), daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _carry(
        self,
        source: socket.socket,
        sink: socket.socket,
        counted: bool,
        pair: tuple[socket.socket, socket.socket],
        ends: threading.Barrier,
    ) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if counted and self.delay_s:
                    time.sleep(self.delay_s)
                if self.silent:
                    continue
                whole = self._counted(len(chunk)) if counted else len(chunk)
                sink.sendall(chunk[:whole])
                if whole < len(chunk):
                    self.cut_all()
        _shut(*pair)
        if ends.wait(timeout=60) == 0:  # one of both gives them back
            with self._lock:
                self._pairs.remove(pair)
            for side in pair:
                side.close()

    def _counted(self, size: int) -> int:
        with self._lock:
            if self.bytes_left is None:
                return size
            passed = min(size, self.bytes_left)
            self.bytes_left -= passed
            if passed < size:
                self.bytes_left = None
            return passed

    def cut_all(self) -> int:
        """End every connection now; return how many there were."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _shut(*pair)
        return len(pairs)

    def close(self) -> None:
        """End the port and every connection."""
        _shut(self._socket)
        self._socket.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(timeout=10)


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def tcp_proxy(target: int) -> Iterator[TcpProxy]:
    """Yield a proxy before a port of this machine."""
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
