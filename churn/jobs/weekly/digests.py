"""Digests of the settings that a run's scores depend on; they tell whether settings have changed since."""

import hashlib
import json
from collections.abc import Mapping

from churn.config.settings import Settings

SETTINGS = "settings.json"  # the digests by setting, below a run's logs
_SHORT = 16  # hexadecimal digits of a setting's digest
# Settings that change how and where a run is computed, but not its scores.
_NO_MATTER = {
    "data",
    "out",
    "profile",
    "products",
    "cluster",
    "store",
    "prefect",
    "sql_memory",
    "mlflow_tracking_uri",
}


def settings_digest(settings: Settings, product: str) -> str:
    """Return a SHA-256 over the settings that a product's scores depend on."""
    return sha256(_settings(settings, product))


def settings_digests(settings: Settings, product: str) -> dict[str, str]:
    """Return a short SHA-256 of each setting that scores depend on, by name: ``explain.reasons``."""
    return {name: sha256(value)[:_SHORT] for name, value in _settings(settings, product).items()}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names that differ between two results of ``settings_digests``."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _settings(settings: Settings, product: str) -> dict[str, object]:
    """Return the settings that a product's scores depend on, each by its name in ``churn.toml``."""
    return _flat(settings.model_dump(mode="json", exclude=_NO_MATTER)) | _flat(
        settings.product(product).model_dump(mode="json"), f"products.{product}."
    )


def _flat(table: Mapping[str, object], above: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return flat


def sha256(value: object) -> str:
    """Return the SHA-256 of a value's JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
