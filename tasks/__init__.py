"""Prefect tasks: thin adapters around ``churn``."""
