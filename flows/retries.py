"""Prefect's retries, kept to failures that a second try can mend."""

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
    """Cancel the flow run's remaining retries when a person must mend something first.

    Tasks have a condition for that (``retry_condition_fn``), flows have none: the server reads the number of
    retries from the run's policy, so this sets it to 0.

    Before any other error is raised, pending heartbeats are sent. A heartbeat that arrived after the server
    had put the run into "awaiting retry" would make the alert take it for dead.
    """
    try:
        yield
    except Exception as error:
        run = _retrying_run()
        if run is not None and isinstance(error, BY_HAND):
            _cancel_retries(run)
        elif run is not None:
            EventsWorker.drain_all(timeout=_EVENTS_SECONDS)
        raise


def _retrying_run() -> FlowRun | None:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run if run is not None and run.empirical_policy.retries else None


def _cancel_retries(run: FlowRun) -> None:
    policy = run.empirical_policy.model_copy(update={"retries": 0})
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, empirical_policy=policy)
    except Exception as error:  # the first error matters more than this one
        _logger.warning("Prefect refused to cancel the retries of this run (%r)", error)
