"""Names of runs, and the model of ``manifest.json``."""

import re
from datetime import date
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, NonNegativeInt, model_validator

from churn.core.calendar import LEAD_WEEKS, TARGET_WEEKS, Windows
from churn.core.errors import UsageError
from churn.lake.paths import path_inside

PRODUCT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class FileStamp(BaseModel):
    """A committed file's size in bytes and the SHA-256 of its bytes (hexadecimal)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: NonNegativeInt
    sha256: str


class Erasure(BaseModel):
    """When users were erased from a committed run, and how many; no ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    erased_at: AwareDatetime
    users: NonNegativeInt


class Manifest(BaseModel):
    """A run's description of itself; the commit fills in ``files``, ``committed_at`` and ``status``.

    Attributes:
        title: the product's name for people.
        target_week_start: Monday of the first target week.
        lead_weeks: weeks between the as-of date and the target.
        target_weeks: weeks of the target.
        rows: rows of each dataset, such as ``{"scores": 20000}``.
        metrics: the model's metrics; non-finite values become text (``"NaN"``) in the strict JSON.
        seconds: wall time of each stage.
        warnings: sentences for the reader of the report.
        settings: the run's settings, without secrets and user data.
        files: the stamp of every file, by its path inside the run's folder.
        erased: erasures since the commit.
        erasing: files that an unfinished erasure rewrites: their stamps are not valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    run_id: str
    product: str
    title: str = ""
    as_of: date
    target_week_start: date
    lead_weeks: int = LEAD_WEEKS
    target_weeks: int = TARGET_WEEKS
    started_at: AwareDatetime
    committed_at: AwareDatetime | None = None
    status: Literal["staged", "committed"] = "staged"
    model_version: str
    code_version: str
    rows: dict[str, NonNegativeInt] = {}
    metrics: dict[str, float] = {}
    seconds: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    settings: dict[str, JsonValue] = {}
    files: dict[str, FileStamp] = {}
    erased: tuple[Erasure, ...] = ()
    erasing: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _files_are_inside(self) -> Self:
        try:
            for name in (*self.files, *self.erasing):
                path_inside("", (name,))
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _weeks_agree(self) -> Self:
        expected = Windows(self.as_of, self.lead_weeks).target_week_start
        if self.target_week_start != expected:
            raise ValueError(
                f"the target of {self.as_of} starts on {expected}, not on {self.target_week_start}"
            )
        return self


def check_names(product: str, run_id: str = "0") -> None:
    """Check that a product and run id are safe as folder names.

    Raises:
        UsageError: the name is not 1 to 63 of the allowed characters.
    """
    rule = "cannot name a folder: use 1 to 63 of a-z,"
    if not PRODUCT_NAME.fullmatch(product):
        raise UsageError(f"product {product!r} {rule} 0-9, '_' and '-', a letter or digit first")
    if not RUN_ID.fullmatch(run_id):
        raise UsageError(f"run id {run_id!r} {rule} 0-9 and '-', a letter or digit first")
