"""Where SQL runs: one protocol, with DuckDB and Redshift behind it.

In: SQL templates in Redshift's dialect and bound values. Out: rows, Parquet files, tables.
Start with ``base`` (the protocol), then ``templates`` (how a file of sql/ becomes a statement).
Import ``base.Warehouse``, ``open.open_warehouse``, ``templates.render``. Nothing outside asks which engine
it is.
This face stays empty: workers import ``warehouse.base`` and must not load DuckDB.
"""
