"""Scoring that notes what became of each attempt, and how its files are compared with a calm run's."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from churn.scoring.files import SCRATCH
from churn.scoring.partition import PartitionResult, PartitionTask
from churn.scoring.scorer import score_partition


@dataclass(frozen=True)
class Noted:
    """A partition to score, with what tests want of it.

    Attributes:
        task: the partition.
        notes: folder in which each attempt leaves lines.
        seconds: how long an attempt pauses before it scores.
        hunger: bytes that it fills meanwhile.
    """

    task: PartitionTask
    notes: str
    seconds: float = 0.0
    hunger: int = 0

    @property
    def name(self) -> str:
        """The partition's."""
        return self.task.name


def score_and_note(noted: Noted) -> PartitionResult:
    """Score a partition; its file of notes gets a line when it begins, and one when it is ``scored``.

    Where the partition was there already, which is then only read, that line says ``found``.
    """
    file = Path(noted.notes) / noted.name
    _note(file, "begun")
    known = (Path(noted.task.run_folder) / "logs" / "partitions" / f"{noted.name}.json").exists()
    filled = bytearray(noted.hunger)
    filled[::4096] = b"x" * len(filled[::4096])
    time.sleep(noted.seconds)
    row = score_partition(noted.task)
    del filled
    _note(file, "found" if known else "scored")
    return row


def _note(file: Path, what: str) -> None:
    with file.open("a") as lines:
        lines.write(f"{what} {os.getpid()}\n")


def count(notes: Path, what: str) -> dict[str, int]:
    """How many attempts at each partition were ``begun``, or ended as ``scored`` or ``found``."""
    return {
        file.name: sum(line.startswith(what) for line in file.read_text().splitlines())
        for file in sorted(notes.iterdir())
    }


def written(run: Path) -> dict[str, bytes]:
    """Everything below a run's folder that readers see, without the partition rows, which tell the time."""
    return {
        name: path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and not (name := path.relative_to(run).as_posix()).startswith((SCRATCH, "logs/"))
    }


def timeless(row: PartitionResult) -> dict[str, Any]:
    """A partition row without its seconds."""
    return row.model_dump(exclude={"seconds", "cpu"})
