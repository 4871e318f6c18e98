"""Names of flow runs on a Prefect server, and stage lines in the logs of deployments."""

import logging
from datetime import date

from prefect.runtime import deployment, flow_run

from churn.core.calendar import last_complete_as_of

PART_TAG = "churn-part"  # marks a run inside weekly-all, which reports its failure


def flow_run_name() -> str:
    """Return the flow run's name, product and date; without a date it is last Sunday's."""
    parameters = flow_run.parameters
    as_of = parameters.get("as_of") or last_complete_as_of(date.today())
    return f"{parameters.get('product', 'all')}-{as_of}"


def log_stages() -> None:
    """Let a deployment's run log one line a stage; the command line shows them itself."""
    if deployment.id is not None:
        logging.getLogger("churn.core.timing").setLevel(logging.INFO)
