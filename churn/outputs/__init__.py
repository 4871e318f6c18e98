"""Where results go: the HTML report, the published warehouse tables, MLflow.

In: a run's files and figures. Out: ``charts/report.html``, rows of ``churn.scores``, one MLflow run.
Start with ``report.build``, ``tables`` and ``tracking``; ``migrations`` changes published tables.
Import ``report.write_report``, ``tables.publish_scores`` and ``tracking.log_run``.
"""
