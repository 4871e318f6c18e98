"""Tasks for fan-out tests: what workers run, in a module that they can import quickly."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from churn.core.errors import CheckError


@dataclass(frozen=True)
class Task:
    """Leave a mark in a folder, and do something more or less harmful."""

    index: int
    folder: str
    deed: str = ""
    seconds: float = 0.0

    @property
    def name(self):
        return f"part-{self.index:05d}"


@dataclass(frozen=True)
class Row:
    index: int
    rows: int
    pid: int


def perform(task):
    """Do what the task says; each attempt leaves one more line in its file."""
    with (Path(task.folder) / task.name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(task.seconds)
    if task.deed == "poison" or (task.deed == "die once" and attempts(task) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.deed == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if task.deed == "fail":
        raise CheckError("scoring part-00004", ["the column is empty", "so is the other"])
    return Row(task.index, 10 * task.index, os.getpid())


def attempts(task):
    """How often a task was begun."""
    path = Path(task.folder) / task.name
    return len(path.read_text().splitlines()) if path.exists() else 0
