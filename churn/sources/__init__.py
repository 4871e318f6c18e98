"""Source tables: their contract, ingesting your own log, simulating a broadcaster.

In: raw tables of a broadcaster, a log file, or a seed. Out: source tables that the SQL reads.
Start with ``contract`` (tables, columns, types), then ``availability`` (which of them can be read).
Import ``availability.check_tables``, ``ingest.ingest`` and ``simulator.simulate``.
"""
