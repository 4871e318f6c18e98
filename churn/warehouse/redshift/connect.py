"""Connections to Redshift: a fresh login for each, keepalives, and errors without secrets."""

import logging
import os
import random
import re
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.retry import RetryBaseT

from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE, WarehouseSettings
from churn.core.aws import missing_library_error
from churn.core.errors import ChurnError, ConfigError, RunError
from churn.core.redaction import mask_secrets
from churn.warehouse.base import LostConnectionError, SerialisationError
from churn.warehouse.redshift.login import Login, aws_login
from churn.warehouse.retries import error_of

logger = logging.getLogger(__name__)

PID = "backend"  # where a connection's ``info`` has the server's process
_LONGEST_PAUSE = 60.0
_KEEPALIVES = 6  # unanswered ones that end a connection
_SERIALISATION = re.compile(r"serializable isolation violation|could not serialize|deadlock detected", re.I)
_SERIALISATION_STATES = frozenset({"40001", "40P01"})
_LOST = re.compile(
    r"closed the connection|connection (?:is |was |already )?(?:closed|lost|reset)|broken ?pipe|terminating"
    r" connection|server socket closed|communication error|SSL SYSCALL|could not (?:receive|send) data|no"
    r" connection to the server|(?:timed|time) out|connection refused",
    re.I,
)
_LOST_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "08000", "08003", "08006", "08001"})
# Answers to a login that pass by themselves.
_PASSING = re.compile(
    r"starting up|shutting down|too many (?:clients|connections)|connection limit|slots", re.I
)
_FINAL = re.compile(
    r"FATAL|authentication|password|certificate|server does not support SSL|refuses SSL", re.I
)


def log_in(settings: WarehouseSettings) -> Login:
    """Return a user and password for one connection."""
    if settings.auth != "environment":
        return aws_login(settings)
    user, password = os.environ.get(USER_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
    if not user or not password:
        raise ConfigError(
            f"the warehouse's auth is 'environment': set {USER_VARIABLE} and {PASSWORD_VARIABLE}"
        )
    return Login(user, password)


def make_engine(settings: WarehouseSettings, secrets: set[str]) -> Engine:
    """Return a pool without open connections or passwords; each log-in adds its password to ``secrets``."""
    url = URL.create(
        f"redshift+{settings.driver}", host=settings.host, port=settings.port, database=settings.database
    )
    try:
        engine = create_engine(
            url,
            connect_args=_connect_arguments(settings),
            hide_parameters=True,
            **({"use_native_hstore": False} if settings.driver == "psycopg2" else {}),  # Redshift has none
            pool_pre_ping=True,  # replaces a dead connection before a statement is sent
            pool_size=4,
            max_overflow=12,
        )
    except ImportError as error:
        raise missing_library_error(error.name or settings.driver, "warehouse.kind 'redshift'") from error

    @event.listens_for(engine, "do_connect")
    def _log_in(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        login = log_in(settings)
        if login.password:
            secrets.add(login.password)
        options.update(user=login.user, password=login.password)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        try:
            # Times as in the embedded warehouse, and numbers with all digits.
            cursor.execute("set timezone to 'UTC'")
            cursor.execute("set extra_float_digits to 2")
            if settings.statement_timeout:
                cursor.execute(f"set statement_timeout to {settings.statement_timeout * 1000:d}")
            cursor.execute("select pg_backend_pid()")
            record.info[PID] = int(cursor.fetchone()[0])
        finally:
            cursor.close()
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def _mark_lost(context: ExceptionContext) -> None:
        # The pool must not keep dead connections; SQLAlchemy does not know redshift_connector's messages.
        if is_lost(context.original_exception):
            context.is_disconnect = True

    return engine


def _connect_arguments(settings: WarehouseSettings) -> dict[str, Any]:
    interval = max(1, settings.keepalive // 3)
    if settings.driver == "redshift_connector":
        tls = {"ssl": False} if settings.ssl == "prefer" else {"ssl": True, "sslmode": settings.ssl}
        return tls | {
            "application_name": "churn",
            # A prepared statement that is kept longer keeps the columns that its table had.
            "max_prepared_statements": 1,
            "tcp_keepalive": True,
            "tcp_keepalive_idle": settings.keepalive,
            "tcp_keepalive_interval": interval,
            "tcp_keepalive_count": _KEEPALIVES,
        }
    return {
        "sslmode": settings.ssl,
        "application_name": "churn",
        "connect_timeout": settings.connect_timeout,
        "keepalives": 1,
        "keepalives_idle": settings.keepalive,
        "keepalives_interval": interval,
        "keepalives_count": _KEEPALIVES,
    }


def connect(engine: Engine, settings: WarehouseSettings, secrets: set[str]) -> Connection:
    """Take a connection from the pool; try again, with growing pauses, where the network is at fault.

    Raises:
        ConfigError: the credentials are not there.
        RunError: the server cannot be reached or refuses the login; no credentials are shown.
    """
    where = f"{settings.host}:{settings.port}/{settings.database}"

    def detail(error: BaseException) -> str:
        return mask_secrets(_message(error), secrets)

    def is_final(error: BaseException) -> bool:  # connecting again would fail in the same way
        if isinstance(error, ChurnError) or not isinstance(error, Exception):
            return True
        return bool(_FINAL.search(detail(error))) and not _PASSING.search(detail(error))

    def log(state: RetryCallState) -> None:
        first = detail(cast(Exception, error_of(state))).splitlines()[0]
        logger.warning("%s: no connection (%s); trying again", where, first[:200])

    retry = retry_if_exception(lambda error: not is_final(error))
    try:
        return retrying(settings, retry=retry, before_sleep=log)(engine.connect)
    except ChurnError:
        raise
    except Exception as error:
        final, answer = is_final(error), detail(error)
    advice = "check the user and its rights" if final else "check host, port and network"
    raise RunError(f"the warehouse at {where} cannot be used: {advice}. It says: {answer[:500]}") from None


def retrying(
    settings: WarehouseSettings, *, retry: RetryBaseT, before_sleep: Callable[[RetryCallState], None]
) -> Retrying:
    """Return the retry policy of the settings; it raises the last error."""
    return Retrying(
        stop=stop_after_attempt(settings.retries + 1),
        wait=lambda state: pause(settings, state.attempt_number - 1),
        retry=retry,
        before_sleep=before_sleep,
        reraise=True,
    )


def pause(settings: WarehouseSettings, attempt: int) -> float:
    """Return the seconds to wait after a failed attempt (0 = the first): doubling, spread, at most 60."""
    longest = min(_LONGEST_PAUSE, settings.backoff * 2.0**attempt)
    return longest * (0.5 + random.random() / 2)


def as_run_error(
    error: BaseException, statement: str, secrets: set[str], *, backend: int | None, committing: bool = False
) -> RunError:
    """Return an error of the driver or the network as a RunError, without secrets and values.

    If the connection broke while ``committing``, the outcome is unknown.
    """
    detail = mask_secrets(_message(error), secrets)[:1000]
    state = _state(error)
    if state in _SERIALISATION_STATES or _SERIALISATION.search(detail):
        return SerialisationError(f"({statement}) gave way to another transaction: {detail}; run it again")
    if is_lost(error):
        unknown = "may have been committed or not: look before it is run again"
        outcome = unknown if committing else "was undone"
        return LostConnectionError(
            f"the connection to the warehouse broke during a statement ({statement}), which {outcome}."
            f" It says: {detail}",
            unchanged=not committing,
            backend=backend,
        )
    return RunError(f"the warehouse refused a statement ({statement}): {detail}")


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that the connection is gone, not that the server said no."""
    if isinstance(_original(error), OSError) or getattr(error, "connection_invalidated", False):
        return True
    state = _state(error)
    # A server that names another state is there, whatever its message says.
    return state in _LOST_STATES if state else bool(_LOST.search(_message(error)))


def _original(error: BaseException) -> BaseException:
    """Return the driver's error in one of SQLAlchemy's; any other error as it is."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _state(error: BaseException) -> str | None:
    original = _original(error)
    code = getattr(original, "pgcode", None)
    if code is None and original.args and isinstance(original.args[0], dict):
        code = original.args[0].get("C")  # redshift_connector passes the protocol's fields on
    return str(code) if code else None


def _message(error: BaseException) -> str:
    """Return the server's message without the statement's text."""
    original = _original(error)
    first = original.args[0] if original.args else ""
    driver = type(original).__module__.split(".")[0] in ("psycopg2", "redshift_connector")
    if isinstance(first, dict):
        text = " ".join(str(first[key]) for key in ("S", "M", "D", "H") if first.get(key))
    elif isinstance(error, DBAPIError) or isinstance(original, OSError) or driver:
        text = ": ".join(str(part) for part in original.args) or type(original).__name__
    else:
        text = f"{type(original).__name__}: {original}"
    # The text after this quotes the statement with its values.
    return re.split(r"\n+(?:LINE \d+:|\[SQL)", text, maxsplit=1)[0].strip() or type(original).__name__
