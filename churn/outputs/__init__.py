"""Publish results: the HTML report, the warehouse tables, MLflow.

In: a run's files and figures. Out: ``charts/report.html``, rows of ``churn.scores``, one MLflow run.
Start with ``report.build``, ``tables`` and ``tracking``; ``migrations`` creates and extends the tables.
Import ``report.write_report``, ``tables.publish_scores`` and ``tracking.log_run``.
"""
