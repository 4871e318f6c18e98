"""Render report data as one self-contained HTML file."""

import logging
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from churn.core.errors import RunError
from churn.core.files import replace_file
from churn.outputs.report import charts, format, wording
from churn.outputs.report.data import ReportData

logger = logging.getLogger(__name__)

TEMPLATE = "report.html.jinja"


def render_report(data: ReportData) -> str:
    """Return the report as an HTML page with inline styles and charts, without scripts or links to load."""
    return _environment().get_template(TEMPLATE).render(d=data, words=wording, charts=charts)


def write_report(data: ReportData, path: Path | str) -> None:
    """Render the report and replace the file at ``path`` in one step.

    Example:
        >>> data = ReportData.model_validate_json(Path("charts/report.json").read_text("utf-8"))
        >>> write_report(data, "report.html")

    Missing parent folders are created.

    Raises:
        RunError: the file cannot be written (no space, no permission); an existing file stays as it was.
    """
    target = Path(path).absolute()
    html = render_report(data).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(str(target), html)
    except OSError as error:
        raise RunError(
            f"the report cannot be written to {target}: {error.strerror or error}; "
            "make room or choose another folder, then write it again"
        ) from error
    logger.info("report of %s written to %s (%d bytes)", data.product, target, len(html))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {
        name: getattr(format, name)
        for name in (
            "count", "day", "days", "decimal", "lift", "moment", "percent", "people", "plural", "seconds",
            "sentence", "short_day", "signed", "times",
        )
    }  # fmt: skip
    environment.filters.update(filters)
    environment.globals["day_range"] = format.day_range
    return environment
