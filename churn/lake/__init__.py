"""Where runs live: a folder a run, on a disk or on S3.

In: files that a run writes into its staging folder. Out: committed runs, whole or not at all.
Start with ``lake`` (``Lake``, ``RunFolder``), then ``staging`` (what a disk and S3 do differently).
Import ``lake.Lake``, ``run.Run`` and ``open.open_lake``.
"""
