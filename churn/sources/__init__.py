"""Where rows come from: the source contract, a person's own log, a simulated broadcaster.

In: raw tables of a broadcaster, a log file, or a seed. Out: source tables that the SQL reads.
Start with ``contract`` (tables, columns, types), then ``availability`` (what of them is there).
Import ``availability.check_tables``, ``ingest.ingest`` and ``simulator.simulate``.
"""
