"""PostgreSQL's wire protocol, as much as the front of a stand-in for Redshift needs."""

import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
_CHUNK = 1 << 18
_NUMERIC, _TEXTS = 1700, (1042, 1043)  # types whose modifier tells precision or length


class WireClosedError(ConnectionError):
    """The other side has gone."""


class ServerError(Exception):
    """An ErrorResponse."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields.get("M", ""))
        self.fields = fields


class Wire:
    """One connection, read message by message."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._data = b""
        self._at = 0

    def fill(self) -> None:
        """Wait for more bytes."""
        try:
            chunk = self.socket.recv(_CHUNK)
        except OSError as error:
            raise WireClosedError(str(error)) from error
        if not chunk:
            raise WireClosedError("the connection has been closed")
        self._data = self._data[self._at :] + chunk
        self._at = 0

    def exactly(self, size: int) -> bytes:
        while len(self._data) - self._at < size:
            self.fill()
        self._at += size
        return self._data[self._at - size : self._at]

    @property
    def ready(self) -> bool:
        """Whether a whole message has come."""
        there = len(self._data) - self._at
        return there >= 5 and there > struct.unpack_from("!i", self._data, self._at + 1)[0]

    def raw(self) -> bytes:
        """Return the next message as it came."""
        while not self.ready:
            self.fill()
        size = 1 + struct.unpack_from("!i", self._data, self._at + 1)[0]
        self._at += size
        return self._data[self._at - size : self._at]

    def receive(self) -> tuple[bytes, bytes]:
        """Return the next message's kind and content."""
        raw = self.raw()
        return raw[:1], raw[5:]

    def send(self, *messages: bytes) -> None:
        try:
            self.socket.sendall(b"".join(messages))
        except OSError as error:
            raise WireClosedError(str(error)) from error

    def cut(self) -> None:
        """End it at once, for either side; whoever waits for it here wakes up."""
        with suppress(OSError):  # gone already
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give it back; nobody may wait for it any more."""
        self.cut()
        self.socket.close()


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def query(sql: str) -> bytes:
    return message(b"Q", text(sql))


def start_up(code: int, settings: Mapping[str, str]) -> bytes:
    content = struct.pack("!i", code) + b"".join(text(k) + text(v) for k, v in settings.items()) + b"\0"
    return struct.pack("!i", len(content) + 4) + content


def read_start_up(wire: Wire) -> tuple[int, bytes]:
    """Return the code and content of a start-up packet, which has no kind."""
    size, code = struct.unpack("!ii", wire.exactly(8))
    return code, wire.exactly(size - 8)


def settings(content: bytes) -> dict[str, str]:
    """Read a start-up packet's settings."""
    words = content.split(b"\0")
    pairs = zip(words[::2], words[1::2], strict=False)
    return {name.decode(): value.decode("utf-8", "replace") for name, value in pairs if name}


def error(fields: Mapping[str, str]) -> bytes:
    return message(b"E", b"".join(key.encode() + text(value) for key, value in fields.items()) + b"\0")


def notice(said: str) -> bytes:
    return message(b"N", b"".join(text(field) for field in ("SINFO", "C00000", f"M{said}")) + b"\0")


def error_fields(content: bytes) -> dict[str, str]:
    parts = [part.decode("utf-8", "replace") for part in content.split(b"\0") if part]
    return {part[0]: part[1:] for part in parts}


@dataclass(frozen=True)
class Column:
    """A column of a result.

    Attributes:
        name: its name.
        oid: PostgreSQL's number of its type.
        length: a text's declared length, or ``None``.
        precision: a decimal's declared digits, or ``None``.
        scale: how many of them come after the point.
    """

    name: str
    oid: int
    length: int | None = None
    precision: int | None = None
    scale: int | None = None


def row_description(content: bytes) -> list[Column]:
    """Read the columns of a RowDescription."""
    columns, at = [], 2
    for _ in range(struct.unpack_from("!h", content)[0]):
        end = content.index(b"\0", at)
        name = content[at:end].decode()
        _, _, oid, _, modifier, _ = struct.unpack_from("!ihihih", content, end + 1)
        at = end + 19
        given = modifier - 4
        if oid == _NUMERIC and modifier >= 4:
            columns.append(Column(name, oid, precision=given >> 16, scale=given & 0x7FF))
        else:
            columns.append(Column(name, oid, length=given if oid in _TEXTS and modifier >= 4 else None))
    return columns


def describe(sql: str) -> bytes:
    """Messages that ask which columns a query has, without running it."""
    parse = message(b"P", b"\0" + text(sql) + struct.pack("!h", 0))
    return parse + message(b"D", b"S\0") + message(b"S")


def parts(content: bytes, count: int) -> Sequence[bytes]:
    """Return the first texts of a message, and what follows them."""
    return content.split(b"\0", count)
