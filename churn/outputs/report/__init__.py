"""The HTML report of a weekly run: expected churn, reasons, segments and model quality."""

from churn.outputs.report.data import ReportData
from churn.outputs.report.render import render_report, write_report

__all__ = ["ReportData", "render_report", "write_report"]
