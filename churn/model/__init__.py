"""The model: training rows, time-aware splits, fitting, metrics with intervals, the artefact on disk.

In: Parquet files of snapshots with labels. Out: a ``Model`` (a folder, no pickle) and its ``Evaluation``.
Start with ``training`` (the order of the steps), then ``fits`` (one learner on one part of the rows),
``judging`` and ``stack`` (what is shipped), ``splits`` (which rows are held out) and ``learners``.
Import ``training.train``, ``artifact.Model`` and ``metrics.evaluate``.
"""
