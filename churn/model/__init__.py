"""The model: training rows, time-aware splits, fitting, metrics with intervals, the artefact on disk.

In: Parquet files of snapshots with labels. Out: a ``Model`` (a folder, no pickle) and its ``Evaluation``.
Start with ``training.train``, then ``splits`` (which rows are held out) and ``metrics``.
Import ``training.train``, ``artifact.Model`` and ``metrics.evaluate``.
"""
