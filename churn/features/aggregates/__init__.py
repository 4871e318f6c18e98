"""Incremental tables in the warehouse: weekly aggregates and lifetime statistics, with their ledgers."""
