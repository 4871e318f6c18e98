"""Fits and partitions as tasks, and the fan-out of tasks over a Dask cluster.

In: training files; or a model and partitions of feature rows. Out: fitted learners; or scores, contributions
and reasons; and one manifest row a task.
Start with ``scorer.score_partition`` and ``fits.run_training_task`` (what a worker does), then ``workers``
(who does it: threads of this process or a cluster) and ``fanout`` (how tasks reach a cluster's workers).
Workers import this room, so it loads little: no scikit-learn, no DuckDB, no Prefect.
Import ``scorer.score_partition``, ``workers.open_workers``, ``fanout.FanOut`` and
``cluster.client.open_client``.
"""
