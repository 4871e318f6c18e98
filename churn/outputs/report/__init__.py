"""The HTML report of a weekly run: what is expected, why, for whom, and how far it can be trusted."""

from churn.outputs.report.data import ReportData
from churn.outputs.report.render import render_report, write_report

__all__ = ["ReportData", "render_report", "write_report"]
