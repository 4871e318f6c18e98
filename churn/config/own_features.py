"""Features of one's own: an SQL file and entries for its columns, in the data folder's ``features/``."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from churn.core.errors import UsageError
from churn.core.names import identifier

FOLDER = "features"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OwnFeature(_Frozen):
    """One column of an SQL file in the data folder.

    Attributes:
        meaning: one line that can follow the value: "complaints in 13 weeks".
        type: what the column holds.
        unit: what a number is measured in, in the plural; ``share`` (0 to 1) and ``flag`` (0 or 1) are none.
        least: the least value; none = no bound. Rows outside the bounds are refused.
        most: the greatest value.
        says: how a reason states the value, with ``{value}``: "complained {value:times}". Without it a reason
            states the meaning and the value.
        zero: how it states 0.
        missing: how it states a missing value.
    """

    meaning: str = Field(min_length=1)
    type: Literal["number", "whole number", "text"] = "number"
    unit: str = "units"
    least: float | None = None
    most: float | None = None
    says: str = ""
    zero: str = ""
    missing: str = ""

    @field_validator("says", "zero", "missing")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        fields = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
        if not fields <= {"value", "only"}:
            raise ValueError(f"{text!r} may have {{value}} and {{only}}; write other braces twice")
        return text


class OwnFeatures(_Frozen):
    """An SQL file of the data folder, with what its columns mean.

    Attributes:
        name: the file's name without ``.sql``; it names the group in reports.
        sql: the file's text, a template as those in ``sql/features/``: one row a user and as-of date.
        columns: the columns beside ``user_id`` and ``as_of_date``.
        products: the products that have these features; none = all.
    """

    name: str
    sql: str
    columns: Mapping[str, OwnFeature] = Field(min_length=1)
    products: tuple[str, ...] = ()

    @property
    def step(self) -> str:
        """Name of the SQL step."""
        return f"own_{self.name}"


def read_own_features(data: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the features in a data folder as they were read, and one sentence for each fault.

    Each ``features/NAME.sql`` needs a ``features/NAME.toml``, and the reverse.
    """
    folder = data / FOLDER
    names = sorted({path.stem for path in folder.glob("*") if path.suffix in (".sql", ".toml")})
    features, faults = [], []
    for name in names:
        sql, toml = folder / f"{name}.sql", folder / f"{name}.toml"
        try:
            identifier(f"own_{name}")
            entry = tomllib.loads(toml.read_text("utf-8"))
            features.append({**entry, "name": name, "sql": sql.read_text("utf-8")})
        except FileNotFoundError as error:
            faults.append(
                f"{error.filename} does not exist: each {FOLDER}/NAME.sql needs a {FOLDER}/NAME.toml that "
                "says what its columns mean"
            )
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            faults.append(f"{toml} or its SQL file cannot be read: {error}")
        except UsageError as error:
            faults.append(f"{sql}: {error}")
    return features, faults
