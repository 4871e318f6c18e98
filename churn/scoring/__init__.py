"""Scoring: one partition of users, and the fan-out over a Dask cluster. Import-light: workers import it."""
