"""The embedded warehouse: DuckDB on local files."""
