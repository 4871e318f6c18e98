"""Settings read from defaults, churn.toml, a profile, the environment and the command line."""

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from churn.config.messages import explain_errors, where
from churn.config.own_features import read_own_features
from churn.config.settings import CONFIG_FILE, DEFAULT_PROFILE, Settings
from churn.config.tuned import read_tuned
from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE
from churn.core.errors import ConfigError

ENVIRONMENT_PREFIX = "CHURN_"


@cache
def builtin_products() -> dict[str, dict[str, Any]]:
    """Return the product definitions that come with the package, as read from TOML."""
    folder = files("churn.config") / "products"
    return {
        entry.name.removesuffix(".toml"): tomllib.loads(entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def load_settings(
    data: str | Path, out: str | Path, overrides: Mapping[str, Any] | None = None, *, optional: bool = False
) -> Settings:
    """Return the settings of a data folder.

    Example:
        >>> settings = churn.load_settings("demo/data", "demo/out", {"seed": 2})
        >>> settings.product("iplayer").title

    Args:
        data: folder with ``churn.toml`` and ``tables/``.
        out: folder that runs write into.
        overrides: settings that win over file and environment.
        optional: whether to use the built-in products if the data folder does not exist.

    Raises:
        ConfigError: the folder or file is missing, is not TOML, or has wrong or unknown keys (all listed).
    """
    data, out = Path(data), Path(out)
    path = data / CONFIG_FILE
    missing = not path.is_file()
    if missing and not optional:
        raise ConfigError(
            f"{path} does not exist: name a data folder made by `churn simulate` or `churn ingest` "
            "with --data"
        )
    try:
        file = {} if missing else tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    environment = _environment()
    over = _merge(environment, dict(overrides or {}))
    sources: dict[str, Mapping[str, Any]] = {
        "given by hand": dict(overrides or {}),
        f"{ENVIRONMENT_PREFIX}*": environment,
    }
    from_file, faults = _with_profile(file, over, where(["profile"], ENVIRONMENT_PREFIX, sources))
    merged = _merge(from_file, over)
    products = merged.get("products", {})
    if merged.get("source", "bbc") == "bbc" and isinstance(products, Mapping):
        products = merged["products"] = _merge(builtin_products(), products)
    own_features, wrong = read_own_features(data)
    faults += wrong
    for name in products if own_features else ():
        chosen = [group for group in own_features if name in group.get("products", [name])]
        merged["products"] = _merge(merged["products"], {name: {"own_features": chosen}})
    for name in products if isinstance(products, Mapping) else ():
        if tuned := read_tuned(data, str(name)):
            under = {name: {"training": {"learner": tuned}}}
            merged["products"] = _merge(under, merged["products"])
    faults += [f"{key}: set it with --{key}, not as a setting" for key in ("data", "out") if key in merged]
    try:
        settings = Settings(**{**merged, "data": data, "out": out})
    except ValidationError as error:
        named = f"[profiles.{merged.get('profile', DEFAULT_PROFILE)}]"
        sources[named] = _profile_table(file, merged)
        faults += explain_errors(error, Settings, prefix=ENVIRONMENT_PREFIX, sources=sources)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        name = str(merged.get("profile", DEFAULT_PROFILE))[:80]
        others = [] if name == DEFAULT_PROFILE else [f"profile {name}"]
        others += [f"{ENVIRONMENT_PREFIX}* variables"] if environment else []
        suffix = f" (with {' and '.join(others)})" if others else ""
        raise ConfigError(f"{path}{suffix} is wrong:\n{listed}")
    return settings


def _with_profile(
    file: Mapping[str, Any], over: Mapping[str, Any], origin: str
) -> tuple[dict[str, Any], list[str]]:
    """Return a file's settings merged with its chosen profile, and what is wrong with the profiles.

    ``over`` may choose the profile, else the file does. ``origin`` names the source of that choice.
    """
    rest = dict(file)
    profiles = rest.pop("profiles", {})
    if not (isinstance(profiles, Mapping) and all(isinstance(table, Mapping) for table in profiles.values())):
        return rest, ["profiles: must be tables, such as [profiles.aws]"]
    name = over.get("profile", rest.get("profile", DEFAULT_PROFILE))
    known = sorted({DEFAULT_PROFILE, *profiles})
    if name not in known:
        return rest, [f"profile{origin}: {str(name)[:80]!r} is unknown; the file has: {', '.join(known)}"]
    table = profiles.get(name, {})
    nested = sorted({"profile", "profiles"} & table.keys())
    return _merge(rest, table), [f"profiles.{name}.{key}: a profile cannot hold this" for key in nested]


def _profile_table(file: Mapping[str, Any], merged: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table of the chosen profile; an empty one if the file has none."""
    profiles = file.get("profiles")
    table = profiles.get(merged.get("profile", DEFAULT_PROFILE)) if isinstance(profiles, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def _environment() -> dict[str, Any]:
    """Return the settings in environment variables: CHURN_CLUSTER__WORKERS is ``cluster.workers``."""
    settings: dict[str, Any] = {}
    for name, value in sorted(os.environ.items()):  # CHURN_CLUSTER comes before CHURN_CLUSTER__WORKERS
        if name.startswith(ENVIRONMENT_PREFIX) and name not in (USER_VARIABLE, PASSWORD_VARIABLE):
            *parents, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            level = settings
            for parent in parents:
                level = level.setdefault(parent, {})
                if not isinstance(level, dict):
                    raise ConfigError(
                        f"{name} sets a part of {parent!r}, and another variable sets all of it: unset one"
                    )
            level[key] = value
    return settings


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged
