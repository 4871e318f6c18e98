"""Scoring: one partition of users, and the fan-out of partitions over a Dask cluster.

In: a model and partitions of feature rows. Out: scores, contributions and reasons, and one manifest row a
partition.
Start with ``scorer.score_partition`` (what a worker does), then ``workers`` (who scores: threads of this
process or a cluster) and ``fanout`` (how partitions reach a cluster's workers).
Workers import this room, so it loads little: no scikit-learn, no DuckDB, no Prefect.
Import ``scorer.score_partition``, ``workers.open_workers``, ``fanout.FanOut`` and
``cluster.client.open_client``.
"""
