"""The server's side of a session, while the stand-in for Redshift carries out a statement in it."""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress

from tests.stand_ins import pgwire
from tests.stand_ins.pgwire import Column, ServerError, Wire, message
from tests.stand_ins.redshift_sql import RefusalError


class Moving:
    """The server's side of a session while a statement is carried out for it."""

    def __init__(self, server: Wire, at: Callable[[str], None]) -> None:
        self._server = server
        self.at = at
        self.status = b"I"
        self._rows: _Rows | None = None

    def run(self, sql: str) -> bytes:
        """Run one statement; return what its transaction is like afterwards."""
        self._server.send(pgwire.query(sql))
        self._finish()
        return self.status

    def _finish(self) -> list[tuple[bytes, bytes]]:
        """Read to the end of an answer.

        Raises:
            ServerError: the server said no.
        """
        answer: list[tuple[bytes, bytes]] = []
        failed: ServerError | None = None
        while True:
            kind, content = self._server.receive()
            if kind == b"E":
                failed = ServerError(pgwire.error_fields(content))
            elif kind == b"Z":
                self.status = content
                if failed is not None:
                    raise failed
                return answer
            answer.append((kind, content))

    def check(self) -> None:
        self.run("select 1")

    def columns(self, sql: str) -> list[Column]:
        self._server.send(pgwire.describe(sql))
        return [
            column
            for kind, content in self._finish()
            if kind == b"T"
            for column in pgwire.row_description(content)
        ]

    def copy_out(self, sql: str) -> io.RawIOBase:
        self._server.send(pgwire.query(sql))
        self._rows = _Rows(self._server, self._finish)
        return self._rows

    def abandon(self) -> None:
        """Read what is left of a COPY TO STDOUT, so that the server listens again."""
        if self._rows is not None:
            with suppress(ServerError):
                while self._rows.read(1 << 20):
                    pass

    def copy_in(self, sql: str, chunks: Iterator[bytes]) -> int:
        self._server.send(pgwire.query(sql))
        kind, content = self._server.receive()
        if kind == b"E":
            failed = ServerError(pgwire.error_fields(content))
            self._finish()
            raise failed
        try:
            for chunk in chunks:
                self._server.send(message(b"d", chunk))
        except (RefusalError, OSError) as error:
            self._server.send(message(b"f", pgwire.text("the front gives up")))
            with suppress(ServerError):
                self._finish()
            raise error if isinstance(error, RefusalError) else RefusalError(f"S3 failed: {error}") from error
        self._server.send(message(b"c"))
        done = [content for kind, content in self._finish() if kind == b"C"]
        return int(done[0].rstrip(b"\0").split()[-1])


class _Rows(io.RawIOBase):
    """What COPY TO STDOUT gives, as a stream that ends with it or with the server's error."""

    def __init__(self, server: Wire, finish: Callable[[], object]) -> None:
        super().__init__()
        self._server, self._finish = server, finish
        self._left = b""
        self._over = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        gathered = [self._left] if self._left else []
        there = len(self._left)
        while not self._over and (size < 0 or there < size):
            kind, content = self._server.receive()
            if kind == b"d":
                gathered.append(content)
                there += len(content)
            elif kind == b"E":
                self._over = True
                failed = ServerError(pgwire.error_fields(content))
                self._finish()
                raise failed
            elif kind == b"c":
                self._over = True
                self._finish()
        joined = b"".join(gathered)
        self._left = b"" if size < 0 else joined[size:]
        return joined if size < 0 else joined[:size]
