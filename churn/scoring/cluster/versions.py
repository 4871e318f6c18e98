"""Whether client, scheduler and workers run the same program.

Tasks travel between them as pickles, and figures must not depend on who computed them: a worker with another
XGBoost or another kernel would write other bytes. What differs in a patch release of Python does not matter.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from churn.core.errors import RunError

# What is compared, and the names under which it may be installed; what was imported counts more.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "churn": ("churn",),
    "dask": ("dask",),
    "distributed": ("distributed",),
    "numpy": ("numpy",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "numba": ("numba",),
    "pyarrow": ("pyarrow",),
}
_ABSENT = "none"
_NAMED = 3  # workers, of each version


def installed_versions() -> dict[str, str]:
    """Return the versions of this process: Python's (minor), and each package's or ``none``."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name, distributions in PACKAGES.items():
        imported = getattr(sys.modules.get(name), "__version__", None)
        found[name] = str(imported) if imported else _of_distribution(distributions)
    return found


def _of_distribution(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return _ABSENT


def check_versions(client: Any) -> None:
    """Compare the versions of client, scheduler and all workers that are there now.

    Args:
        client: a connected Dask client.

    Raises:
        RunError: some differ, or one lacks this program; it says who has what.
    """
    by_process: dict[str, Mapping[str, str] | str] = {"client": installed_versions()}
    try:
        by_process["scheduler"] = client.run_on_scheduler(installed_versions)
    except OSError as error:
        raise RunError(f"the scheduler went away as it was asked for its versions ({error})") from error
    except Exception as error:  # whatever it says who has no such module: Dask passes on some as text only
        by_process["scheduler"] = _stranger(error)
    for address, answer in client.run(installed_versions, on_error="return").items():
        if isinstance(answer, OSError):
            continue  # one that went away as it was asked scores nothing
        strange = isinstance(answer, Exception)
        by_process[f"worker {address}"] = _stranger(answer) if strange else answer
    faults = compare(by_process)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise RunError(
            f"client, scheduler and workers are not of the same versions:\n{listed}\n"
            "Run all of them from one image, or install the same lock file everywhere"
        )


def _stranger(error: Exception) -> str:
    return f"cannot say its versions, as this program is not there or older ({error})"


def compare(by_process: Mapping[str, Mapping[str, str] | str]) -> list[str]:
    """Return a sentence for each package whose versions differ, and for each process that cannot say.

    Args:
        by_process: versions by package of each process, or why it cannot say.
    """
    faults = [f"{who} {said}" for who, said in by_process.items() if isinstance(said, str)]
    told = {who: said for who, said in by_process.items() if not isinstance(said, str)}
    for package in ("python", *PACKAGES):
        holders: dict[str, list[str]] = defaultdict(list)
        for who, versions in told.items():
            holders[versions.get(package, _ABSENT)].append(who)
        if len(holders) > 1:
            parts = [f"{version} ({_listed(who)})" for version, who in holders.items()]
            faults.append(f"{package}: {', '.join(parts)}")
    return faults


def _listed(names: list[str]) -> str:
    others = [name for name in names if not name.startswith("worker ")]
    workers = names[len(others) :]
    more = [f"and {len(workers) - _NAMED} more workers"] if len(workers) > _NAMED else []
    return ", ".join([*others, *workers[:_NAMED], *more])
