"""What runs on a Prefect server show there: their name, and for deployments a line a stage."""

import logging
from datetime import date

from prefect.runtime import deployment, flow_run

from churn.core.calendar import last_complete_as_of

PART_TAG = "churn-part"  # of a run that another one started, which tells of its failure


def flow_run_name() -> str:
    """Return the name of the flow run; a scheduled one is given no date and takes last Sunday's."""
    given = flow_run.parameters
    return f"{given.get('product', 'all')}-{given.get('as_of') or last_complete_as_of(date.today())}"


def log_stages() -> None:
    """Let a deployment's run log a line a stage; the command line has its own way to show them."""
    if deployment.id is not None:
        logging.getLogger("churn.core.timing").setLevel(logging.INFO)
