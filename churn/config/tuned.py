"""What ``churn tune`` has found: a file for each product below the data folder."""

import tomllib
from pathlib import Path
from typing import Any

from churn.core.errors import ConfigError

TUNED_FOLDER = "tuned"


def tuned_file(data: Path, product: str) -> Path:
    """Return the file of a product."""
    return data / TUNED_FOLDER / f"{product}.toml"


def read_tuned(data: Path, product: str) -> dict[str, Any]:
    """Return the learners that were tuned for a product, by name, as read from TOML.

    Raises:
        ConfigError: the file is not TOML, or cannot be read.
    """
    path = tuned_file(data, product)
    try:
        return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; tune again, or remove it") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
