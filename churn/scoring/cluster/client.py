"""The Dask cluster that a run fans out over: on this machine, a running scheduler by address, or Fargate."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from distributed import Client

from churn.config.cluster import ClusterSettings
from churn.core.errors import ConfigError, RunError
from churn.scoring.cluster.advice import local_advice, remote_advice
from churn.scoring.cluster.local import LocalProcesses, local_cluster
from churn.scoring.cluster.tls import address_security
from churn.scoring.cluster.versions import check_versions
from churn.scoring.fanout import FanOut
from churn.scoring.runner import error_words


@contextmanager
def open_client(
    settings: ClusterSettings,
    labels: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Client]:
    """Yield a client of the cluster that the settings describe; a cluster that was made is closed afterwards.

    Args:
        labels: run and product, for the tags of Fargate's tasks.
        stop: once it is set, Fargate's start is given up.

    Raises:
        ConfigError: an address is missing, or given for another kind; certificates cannot be used.
        RunError: no scheduler answers, the cluster does not start, or versions differ.
    """
    if settings.kind != "address" and settings.address:
        raise ConfigError("cluster.address is given: set cluster.kind to 'address', or leave the address out")
    if settings.kind == "local":
        opened = _open_local(settings)
    elif settings.kind == "address":
        opened = _open_address(settings)
    else:
        from churn.scoring.cluster.fargate import fargate_client  # AWS' libraries are slow to import

        opened = fargate_client(settings, labels or {}, stop or threading.Event())
    with opened as client:
        if settings.kind != "local":
            check_versions(client)
        yield client


@contextmanager
def _open_local(settings: ClusterSettings) -> Iterator[Client]:
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(local_cluster(settings))
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, RuntimeError, EOFError) as error:
            raise RunError(
                f"the worker processes on this machine did not start ({error_words(error)}): free memory and "
                "ports, or set cluster.processes to false to score without them"
            ) from error
        yield client


def fan_out(client: Client, settings: ClusterSettings) -> FanOut:
    """Return a fan-out over a client's cluster that knows who starts its workers."""
    if isinstance(client.cluster, LocalProcesses):
        return FanOut(client, advice=local_advice(client.cluster.deaths))
    return FanOut(client, advice=remote_advice(settings, client.scheduler.address))


@contextmanager
def _open_address(settings: ClusterSettings) -> Iterator[Client]:
    if not settings.address:
        raise ConfigError("cluster.kind is 'address' but cluster.address is missing: give tcp://host:port")
    security = address_security(settings)
    try:
        client = Client(settings.address, security=security, set_as_default=False)
    except (OSError, ValueError) as error:
        signed = "" if security is None else ", with a certificate that cluster.tls_ca has signed"
        raise RunError(
            f"no Dask scheduler answers at {settings.address} ({error}): is it running{signed}?"
        ) from error
    with client:
        yield client


@contextmanager
def client_in_background(
    settings: ClusterSettings, labels: Mapping[str, str] | None = None
) -> Iterator[Callable[[], Client]]:
    """Start the cluster in a thread, and yield a function that waits for its client.

    Worker processes take a few seconds to start; begin here before the work that does not need them. Fargate
    is paid by the second: it starts when it is asked for. The errors of ``open_client`` are raised by that
    function.
    """
    leave = threading.Event()
    started: ThreadFuture[Client] = ThreadFuture()

    def hold() -> None:
        try:
            with open_client(settings, labels, leave) as client:
                started.set_result(client)
                leave.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    with ThreadPoolExecutor(1, "churn-cluster") as executor:
        held: list[ThreadFuture[Any]] = []

        def ask() -> Client:
            if not held:
                held.append(executor.submit(hold))
            return started.result()

        if settings.kind != "fargate":
            held.append(executor.submit(hold))
        try:
            yield ask
        finally:
            leave.set()
    for ended in held:
        ended.result()
