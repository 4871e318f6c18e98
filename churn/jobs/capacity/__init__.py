"""What a run of a given size will take: rates measured here, arithmetic, and list prices.

Nothing is imported here: workers import ``churn.jobs.capacity.probe``, and the command line
``churn.jobs.capacity.prices``.
"""
