"""What a Dask worker imports before its first task: scoring, and nothing that scoring does not use.

XGBoost imports scikit-learn, and with it pandas and parts of SciPy, for an interface that is not used here. A
worker that does without is 100 MB smaller. Import this module in worker processes only.
"""

import sys

# What stands as None in sys.modules is not there to be imported.
sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # documented, but not in the type

import churn.scoring  # noqa: E402, F401  # after the line above, and for the import alone
