"""One module a job, called by flows and commands.

In: settings and a command's arguments. Out: what the command promises: a run, figures, an erasure.
Start with ``weekly.job``, the order of the weekly run's stages; ``weekly.stages`` does their work.
Others: ``backtest``, ``erase``, ``doctor`` (``churn check``), ``prune``, ``capacity`` (``churn plan``).
This face stays empty: workers import ``jobs.capacity.probe``.
"""
