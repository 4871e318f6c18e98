"""A Dask worker imports this before its first task: scoring, and nothing that scoring does not use.

It also loads the compiled loops. Workers forked from one server share them, and no task waits for them.

XGBoost imports scikit-learn, pandas and parts of SciPy for an interface that scoring does not use. A worker
without them is 100 MB smaller. Import this module in worker processes only.
"""

import sys

# A None entry in sys.modules makes `import sklearn` fail.
sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # documented, but not in the type

import churn.scoring.scorer  # noqa: E402, F401  # after the line above, and for the import alone
from churn.explain.kernel import kernel  # noqa: E402  # after the line above
from churn.explain.loops import accumulate, top_k  # noqa: E402  # after the line above

for loops in (kernel, top_k, accumulate):
    loops.ready()
