"""Who will stop coming, why, and what that adds up to: the domain library.

The names in ``__all__`` are what a notebook uses; docs/python.md shows each. ``import churn`` loads nothing
else: a name's module is imported at the first use of the name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from churn.config.load import load_settings
    from churn.config.settings import Settings
    from churn.core.errors import ChurnError
    from churn.explain.user import explain_user
    from churn.jobs.backtest import backtest
    from churn.jobs.log import run_log
    from churn.jobs.tune import tune
    from churn.jobs.weekly.job import run
    from churn.lake.lake import Lake
    from churn.lake.open import open_lake
    from churn.lake.run import Run
    from churn.model.artifact import Model
    from churn.sources.ingest import ingest
    from churn.sources.simulator import simulate

__all__ = [
    "ChurnError",
    "Lake",
    "Model",
    "Run",
    "Settings",
    "backtest",
    "explain_user",
    "ingest",
    "load_settings",
    "open_lake",
    "run",
    "run_log",
    "simulate",
    "tune",
]

_MODULES = {
    "ChurnError": "churn.core.errors",
    "Lake": "churn.lake.lake",
    "Model": "churn.model.artifact",
    "Run": "churn.lake.run",
    "Settings": "churn.config.settings",
    "backtest": "churn.jobs.backtest",
    "explain_user": "churn.explain.user",
    "ingest": "churn.sources.ingest",
    "load_settings": "churn.config.load",
    "open_lake": "churn.lake.open",
    "run": "churn.jobs.weekly.job",
    "run_log": "churn.jobs.log",
    "simulate": "churn.sources.simulator",
    "tune": "churn.jobs.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'churn' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
