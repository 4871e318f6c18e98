"""A Dask worker imports this before its first task: scoring, and nothing that scoring does not use.

It also loads the compiled loops. Workers forked from one server share them, and no task waits for them.

XGBoost imports scikit-learn, pandas and parts of SciPy for an interface that is not used here. A worker that
only scores is 100 MB smaller without them; learners that need scikit-learn import it when they are fitted.
Import this module in worker processes only.
"""

import sys

# A None entry in sys.modules makes `import sklearn` fail.
_hidden = "sklearn" not in sys.modules
if _hidden:
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # documented, but not in the type

import churn.scoring.scorer  # noqa: E402, F401  # after the line above, and for the import alone
from churn.explain.kernel import kernel  # noqa: E402  # after the line above
from churn.explain.lines import add_lines  # noqa: E402  # after the line above
from churn.explain.loops import accumulate, top_k  # noqa: E402  # after the line above

if _hidden:
    del sys.modules["sklearn"]
for loops in (kernel, top_k, accumulate, add_lines):
    loops.ready()
