"""Which runs Prefect tries once more: those that a second try can help."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from churn.errors import BY_HAND

_logger = logging.getLogger(__name__)


@contextmanager
def tried_again_where_it_can_help() -> Iterator[None]:
    """Give up the tries that the flow run has left where a person must put something right first.

    Tasks have a condition for that (``retry_condition_fn``), flows have none: whether a failed run is tried
    again is decided by the server, from the number of retries in the run's own policy. So that becomes 0.
    """
    try:
        yield
    except BY_HAND:
        _give_up()
        raise


def _give_up() -> None:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or not run.empirical_policy.retries:
        return
    policy = run.empirical_policy.model_copy(update={"retries": 0})
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, empirical_policy=policy)
    except Exception as error:  # whatever it is, what failed first is what is told
        _logger.warning("Prefect does not take that this run is not to be tried again (%r)", error)
