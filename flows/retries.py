"""Which runs Prefect tries once more: those that a second try can help."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker

from churn.core.errors import BY_HAND

_EVENTS_SECONDS = 10.0

_logger = logging.getLogger(__name__)


@contextmanager
def no_retry_on_user_errors() -> Iterator[None]:
    """Give up the tries that the flow run has left where a person must put something right first.

    Tasks have a condition for that (``retry_condition_fn``), flows have none: whether a failed run is tried
    again is decided by the server, from the number of retries in the run's own policy. So that becomes 0.

    Before any other error goes on, the heartbeats that are still on their way are sent: the server tells by
    itself that a run waits for its next try, and a heartbeat that came after that would begin a silence.
    """
    try:
        yield
    except Exception as error:
        run = _with_tries()
        if run is not None and isinstance(error, BY_HAND):
            _give_up(run)
        elif run is not None:
            EventsWorker.drain_all(timeout=_EVENTS_SECONDS)
        raise


def _with_tries() -> FlowRun | None:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run if run is not None and run.empirical_policy.retries else None


def _give_up(run: FlowRun) -> None:
    policy = run.empirical_policy.model_copy(update={"retries": 0})
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, empirical_policy=policy)
    except Exception as error:  # whatever it is, what failed first is what is told
        _logger.warning("Prefect does not take that this run is not to be tried again (%r)", error)
