"""What a run of a given size will take: rates measured here, arithmetic, and list prices.

Nothing is imported here: workers import ``churn.plan.probe``, and the command line ``churn.plan.prices``.
"""
