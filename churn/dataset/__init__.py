"""One product and as-of date: the SQL plan, eligibility and labels, data checks, the unload to Parquet.

In: settings, a product, an as-of date, a warehouse. Out: Parquet files to train on and to score.
Start with ``build`` (plan, then run its steps). ``plan`` holds the graph of SQL steps, ``labels`` the labels
of scored users.
Import ``build.plan_dataset``, ``build.run_steps``, ``unload.unload`` and ``checks.check_snapshots``.
"""
