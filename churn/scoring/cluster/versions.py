"""Check that client, scheduler and workers run the same program.

Tasks travel as pickles, and a worker with another XGBoost or kernel would write other bytes. Patch releases
of Python do not matter.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

from churn.core.errors import RunError

PACKAGES = ("churn", "dask", "distributed", "numpy", "xgboost", "numba", "pyarrow")
_ABSENT = "none"
_NAMED = 3  # workers, of each version


def installed_versions() -> dict[str, str]:
    """Return the versions of this process: Python's (minor), and each package's or ``none``."""
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in PACKAGES:
        imported = getattr(sys.modules.get(name), "__version__", None)
        versions[name] = str(imported) if imported else _distribution_version(name)
    return versions


def _distribution_version(package: str) -> str:
    for distribution in (package, f"{package}-cpu"):  # xgboost-cpu is xgboost without GPU code
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return _ABSENT


def check_versions(client: Any) -> None:
    """Compare the versions of a Dask client, its scheduler and all workers that are there now.

    Raises:
        RunError: some differ, or one lacks this program; the message lists them.
    """
    by_process: dict[str, Mapping[str, str] | str] = {"client": installed_versions()}
    try:
        by_process["scheduler"] = client.run_on_scheduler(installed_versions)
    except OSError as error:
        raise RunError(f"the scheduler stopped before it told its versions ({error}): run again") from error
    except Exception as error:  # without this module it raises one of several errors, some as text only
        by_process["scheduler"] = _no_answer(error)
    for address, answer in client.run(installed_versions, on_error="return").items():
        if isinstance(answer, OSError):
            continue  # the worker is gone and scores nothing
        failed = isinstance(answer, Exception)
        by_process[f"worker {address}"] = _no_answer(answer) if failed else answer
    faults = compare(by_process)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise RunError(
            f"client, scheduler and workers are not of the same versions:\n{listed}\n"
            "Run all of them from one image, or install the same lock file everywhere"
        )


def _no_answer(error: Exception) -> str:
    return f"has no version of this program, or an older one ({error})"


def compare(by_process: Mapping[str, Mapping[str, str] | str]) -> list[str]:
    """Return a sentence for each package whose versions differ, and each process without an answer.

    The argument has for each process its versions by package, or why it has none.
    """
    faults = [f"{who} {said}" for who, said in by_process.items() if isinstance(said, str)]
    answers = {who: said for who, said in by_process.items() if not isinstance(said, str)}
    for package in ("python", *PACKAGES):
        holders: dict[str, list[str]] = defaultdict(list)
        for who, versions in answers.items():
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
