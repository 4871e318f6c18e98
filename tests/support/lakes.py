"""A lake's place on a disk or on S3, looked at and damaged past the program, so that one test holds for both."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs

from churn.lake.lake import Lake, Manifest, Run
from tests.support.fixtures_aws import Bucket

AS_OF = date(2026, 6, 28)
WEEK = date(2026, 7, 6)
STARTED = datetime(2026, 6, 29, 18, 0, tzinfo=UTC)
PLACES = ("disk", "s3")


class Place(Protocol):
    """Where a lake lies."""

    root: str

    def names(self) -> list[str]:
        """Every file below the root, sorted."""

    def read(self, name: str) -> bytes:
        """A file's bytes."""

    def write(self, name: str, content: bytes) -> None:
        """Put a file there."""

    def remove(self, name: str) -> None:
        """Remove a file."""


class DiskPlace:
    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def names(self) -> list[str]:
        found = [path for path in Path(self.root).rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def read(self, name: str) -> bytes:
        return Path(self.root, name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        path = Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name: str) -> None:
        path = Path(self.root, name)
        path.unlink()
        while path.parent != Path(self.root) and not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()


class S3Place:
    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.root = f"{bucket.url}/lake"

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket.name, "Key": f"{self.bucket.prefix}/lake/{name}"}

    def names(self) -> list[str]:
        return sorted(name.removeprefix("lake/") for name in (*self.bucket.keys(),))

    def read(self, name: str) -> bytes:
        content: bytes = self.bucket.server.client.get_object(**self._key(name))["Body"].read()
        return content

    def write(self, name: str, content: bytes) -> None:
        self.bucket.server.client.put_object(**self._key(name), Body=content)

    def remove(self, name: str) -> None:
        self.bucket.server.client.delete_object(**self._key(name))


def visible(place: Place) -> list[str]:
    """What belongs to a committed run, and the pointers: all that readers look at."""
    names = [name for name in place.names() if name.startswith("runs/")]
    committed = {os.path.dirname(name) for name in names if name.endswith("/manifest.json")}
    return [name for name in names if name.count("/") == 2 or "/".join(name.split("/")[:4]) in committed]


def pointed(place: Place, product: str = "food") -> str:
    return str(json.loads(place.read(f"runs/product={product}/current.json"))["run_id"])


def manifest(run_id: str, product: str = "food", as_of: date = AS_OF, **changes: Any) -> Manifest:
    values = {
        "run_id": run_id,
        "product": product,
        "as_of": as_of,
        "target_week_start": as_of + timedelta(days=8),
        "started_at": STARTED,
        "model_version": "1",
        "code_version": "0.1.0",
        "rows": {"scores": 3},
    }
    return Manifest.model_validate(values | changes)


def put(address: str, content: bytes) -> None:
    """Write a file as the program does: by its path or address."""
    fs, path = url_to_fs(address)
    fs.pipe_file(path, content)


def commit(lake: Lake, run_id: str, product: str = "food", as_of: date = AS_OF, **changes: Any) -> Run:
    with lake.start_run(product, as_of + timedelta(days=8), run_id) as folder:
        fs, path = url_to_fs(folder.path("scores", "part-00000.parquet"))
        pq.write_table(pa.table({"user_id": ["a", "b", "c"]}), path, filesystem=fs)
        return folder.commit(manifest(run_id, product, as_of, **changes))


def erase(place: Place, run: Run) -> None:
    """Remove a run as somebody would by hand."""
    if isinstance(place, DiskPlace):
        shutil.rmtree(run.base)
        return
    base = run.path().removeprefix(f"{place.root}/")
    for name in place.names():
        if name.startswith(f"{base}/"):
            place.remove(name)


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start a process that writes to a lake for real, so that it can be killed or starved."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def go_at_once(processes: "Sequence[subprocess.Popen[str]]") -> None:
    """Wait until each process says that it is ready, and only then let them go on."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def disk_and_s3(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a lake may lie, one test each; wrap it as a fixture with ``params=PLACES``."""
    if request.param == "disk":
        return DiskPlace(tmp_path / "lake")
    return S3Place(request.getfixturevalue("bucket"))


def own_settings() -> Iterator[None]:
    """Let how S3 is spoken to end with the test; wrap it as a fixture."""
    before = dict(fsspec.config.conf)
    yield
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
