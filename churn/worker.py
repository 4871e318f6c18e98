"""What a Dask worker imports before its first task: scoring, and nothing that scoring does not use.

The compiled loops are loaded here too: once for all workers that are forked from one server, and while
the warehouse is still busy, not within the first task.

XGBoost imports scikit-learn, and with it pandas and parts of SciPy, for an interface that is not used here. A
worker that does without is 100 MB smaller. Import this module in worker processes only.
"""

import sys

# What stands as None in sys.modules is not there to be imported.
sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # documented, but not in the type

import churn.scoring.scorer  # noqa: E402, F401  # after the line above, and for the import alone
from churn.explain.kernel import kernel  # noqa: E402  # after the line above
from churn.explain.loops import accumulate, top_k  # noqa: E402  # after the line above

for loops in (kernel, top_k, accumulate):
    loops.ready()
