"""The process of Prefect's temporary server. ``start.py`` starts it; it ends when its parent does.

It gets its settings, the key among them, over a socket from its parent. So the key is in no command line, no
file and no environment that another process could read. It writes to that socket once it serves. When the
other end of the socket closes, because the parent closed it or died, it stops.

Signals for the whole process group do not end it: the parent still has to report how the flow run ended.
"""

import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

READY = b"\n"
_LONGEST_STOP_SECONDS = 10.0


def main(control: socket.socket, listening: socket.socket) -> None:
    """Serve Prefect's API until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with control.makefile("rb") as orders:
        os.environ.update(json.loads(orders.readline()))
    gc.disable()  # imports make many objects, and hardly any garbage
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                control.sendall(READY)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    app = create_app(ephemeral=True)
    gc.freeze()
    gc.enable()
    # One open connection must not delay the end: by then the parent has sent all it had to say.
    server = Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
    threading.Thread(target=_end_with_parent, args=[control, server], daemon=True).start()
    server.run(sockets=[listening])
    sys.exit(0 if server.started else 1)


def _end_with_parent(control: socket.socket, server: Any) -> None:
    while control.recv(1):
        pass
    server.should_exit = True
    time.sleep(_LONGEST_STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(*(socket.socket(fileno=int(number)) for number in sys.argv[1:3]))
