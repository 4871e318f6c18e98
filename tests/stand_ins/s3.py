"""A real S3 API for tests: moto's server over HTTP on a loopback port, and a proxy before it that injects faults."""

import http.client
import logging
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import boto3
import botocore
import s3fs
from botocore.config import Config
from botocore.loaders import JSONFileLoader
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"
BUCKET = "churn-test"
# Not secret, and not real: moto takes any.
KEY, SECRET = "test-key", "test-secret"


@dataclass
class S3Server:
    """A running server.

    Attributes:
        endpoint: its URL.
    """

    endpoint: str

    @cached_property
    def client(self) -> Any:
        """A boto3 client that goes to the server itself, whatever the environment says."""
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=KEY,
            aws_secret_access_key=SECRET, config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip

    @cached_property
    def filesystem(self) -> s3fs.S3FileSystem:
        """The same for s3fs; nothing is cached."""
        return s3fs.S3FileSystem(
            key=KEY, secret=SECRET, endpoint_url=self.endpoint, client_kwargs={"region_name": REGION},
            skip_instance_cache=True, use_listings_cache=False,
        )  # fmt: skip

    def make_bucket(self) -> None:
        """Make the bucket, if it is not there."""
        with suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def keys(self, prefix: str = "", bucket: str = BUCKET) -> list[str]:
        """Return the keys under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Yield a server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
    _read_descriptions_once()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        s3 = S3Server(f"http://{host}:{port}")
        s3.make_bucket()
        yield s3
        s3.client.close()
    finally:
        server.stop()


def _read_descriptions_once() -> None:
    """Let botocore read its files of services and endpoints once, not anew for each test's own session."""
    if not hasattr(JSONFileLoader.load_file, "cache_info"):
        found = cache(JSONFileLoader().load_file)
        JSONFileLoader.load_file = lambda _, path: found(path)
        JSONFileLoader.load_file.cache_info = found.cache_info


def environment(endpoint: str) -> Mapping[str, str]:
    """Variables by which every AWS client finds the server; of use to other processes too."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_CA_BUNDLE": _one_authority().name,
    }


@cache
def _one_authority() -> IO[str]:
    """Return a file with one certificate, as nobody here is called over TLS; each client loads all of its file."""
    usual = Path(botocore.__file__).with_name("cacert.pem").read_text("utf-8")
    first, end, _ = usual.partition("-----END CERTIFICATE-----\n")
    bundle = tempfile.NamedTemporaryFile("w", prefix="churn-authority-", suffix=".pem")  # noqa: SIM115 - until we end
    bundle.write(first + end)
    bundle.flush()
    return bundle


# 500 and 503: the request is not carried out. timeout: nothing is answered for a while, then the connection
# ends. reset: it ends at once. lost: the request is carried out, and its answer lost. truncated: half an
# answer's body comes.
FAULTS = ("500", "503", "timeout", "reset", "lost", "truncated")
_XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{said}</Message></Error>'
_ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
}
# Headers that concern one connection, not the request.
_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length", "expect"})


@dataclass
class Faults:
    """Which requests fail, and how: the same ones again for the same seed and order of requests.

    Attributes:
        seed: of the dice.
        rate: how likely each request is to fail.
        budget: how many fail at most.
        kinds: see ``FAULTS``.
        only: requests that may fail, by method and path.
        timeout_s: how long a ``timeout`` lasts.
        injected: how often each kind happened.
    """

    seed: int = 0
    rate: float = 0.2
    budget: int = 50
    kinds: Sequence[str] = FAULTS
    only: Callable[[str, str], bool] = lambda method, path: True
    timeout_s: float = 1.0
    injected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._lock = threading.Lock()

    def draw(self, method: str, path: str) -> str | None:
        """Return what happens to a request, or nothing."""
        with self._lock:
            if self.budget <= 0 or not self.only(method, path) or self._dice.random() >= self.rate:
                return None
            kind = self._dice.choice(list(self.kinds))
            self.budget -= 1
            self.injected[kind] += 1
            return kind


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, target: str, faults: Faults) -> None:
        self.target = target
        self.faults = faults
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet: clients that go away are no fault here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.open.add(self.connection)
        self._upstream = http.client.HTTPConnection(self.server.target, timeout=60)

    def finish(self) -> None:
        self._upstream.close()
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _pass(self) -> None:
        body = self._body()
        kind = self.server.faults.draw(self.command, self.path)
        if kind in _ANSWERS:
            status, code, said = _ANSWERS[kind]
            self._answer(
                status, {"Content-Type": "application/xml"}, _XML.format(code=code, said=said).encode()
            )
            return
        if kind == "timeout":
            time.sleep(self.server.faults.timeout_s)
        if kind in ("timeout", "reset"):
            self._hang_up()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        self._upstream.request(
            self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))}
        )
        response = self._upstream.getresponse()
        content = response.read()
        if kind == "lost":
            self._hang_up()
            return
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
        length = int(response.headers.get("Content-Length", len(content)))
        self._answer(response.status, kept, content, length, cut=kind == "truncated")

    def _answer(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        length: int | None = None,
        cut: bool = False,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass


@contextmanager
def faulting(s3: S3Server, faults: Faults) -> Iterator[str]:
    """Yield the endpoint of a proxy before the server, through which requests may fail."""
    proxy = _Proxy(s3.endpoint.removeprefix("http://"), faults)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(timeout=10)
        for connection in list(proxy.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
