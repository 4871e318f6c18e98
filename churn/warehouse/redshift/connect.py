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


class Redactor:
    """Removes passwords from messages: those in use, and text that looks like one."""

    def __init__(self) -> None:
        """Start without any."""
        self._secrets: set[str] = set()

    def learn(self, secret: str) -> None:
        """Remember what must not be shown."""
        if secret:
            self._secrets.add(secret)

    def clean(self, text: str) -> str:
        """Return the text without secrets."""
        return mask_secrets(text, self._secrets)


def log_in(settings: WarehouseSettings) -> Login:
    """Return a user and password for one connection.

    Raises:
        ConfigError: they are to come from the environment, and are not there.
        RunError: AWS refused.
    """
    if settings.auth != "environment":
        return aws_login(settings)
    user, password = os.environ.get(USER_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
    if not user or not password:
        raise ConfigError(
            f"the warehouse's auth is 'environment': set {USER_VARIABLE} and {PASSWORD_VARIABLE}"
        )
    return Login(user, password)


def make_engine(settings: WarehouseSettings, redactor: Redactor) -> Engine:
    """Return a pool of connections, none of them open yet. No password is kept in it.

    Raises:
        ConfigError: the driver is not installed.
    """
    url = URL.create(
        f"redshift+{settings.driver}", host=settings.host, port=settings.port, database=settings.database
    )
    # A connection that died in the pool is replaced when it is taken out, before a statement is sent.
    try:
        engine = create_engine(
            url,
            connect_args=_connect_arguments(settings),
            hide_parameters=True,
            **({"use_native_hstore": False} if settings.driver == "psycopg2" else {}),  # Redshift has none
            pool_pre_ping=True,
            pool_size=4,
            max_overflow=12,
        )
    except ImportError as error:
        raise missing_library_error(error.name or settings.driver, "warehouse.kind 'redshift'") from error

    @event.listens_for(engine, "do_connect")
    def _log_in(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        login = log_in(settings)
        redactor.learn(login.password)
        options.update(user=login.user, password=login.password)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        try:
            # Times as the embedded warehouse has them, and numbers with all of their digits.
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
    def _tell_lost(context: ExceptionContext) -> None:
        # The pool must not keep dead connections, and SQLAlchemy does not know redshift_connector's words.
        if is_lost(context.original_exception):
            context.is_disconnect = True

    return engine


def _connect_arguments(settings: WarehouseSettings) -> dict[str, Any]:
    if settings.driver == "redshift_connector":
        verified = settings.ssl != "prefer"
        return {
            "ssl": verified,
            **({"sslmode": settings.ssl} if verified else {}),
            "application_name": "churn",
            # Kept longer than until the next one, a prepared statement keeps the columns that its table had.
            "max_prepared_statements": 1,
            "tcp_keepalive": True,
            "tcp_keepalive_idle": settings.keepalive,
            "tcp_keepalive_interval": max(1, settings.keepalive // 3),
            "tcp_keepalive_count": _KEEPALIVES,
        }
    return {
        "sslmode": settings.ssl,
        "application_name": "churn",
        "connect_timeout": settings.connect_timeout,
        "keepalives": 1,
        "keepalives_idle": settings.keepalive,
        "keepalives_interval": max(1, settings.keepalive // 3),
        "keepalives_count": _KEEPALIVES,
    }


def connect(engine: Engine, settings: WarehouseSettings, redactor: Redactor) -> Connection:
    """Take a connection from the pool; try again, with growing pauses, where the network is at fault.

    Raises:
        ConfigError: the credentials are not there.
        RunError: the server cannot be reached or refuses the login; no credentials are shown.
    """
    where = f"{settings.host}:{settings.port}/{settings.database}"

    def log(state: RetryCallState) -> None:
        first = redactor.clean(_message(cast(Exception, error_of(state)))).splitlines()[0]
        logger.warning("%s: no connection (%s); trying again", where, first[:200])

    try:
        return retrying(
            settings, retry=retry_if_exception(lambda error: not _is_final(error, redactor)), before_sleep=log
        )(engine.connect)
    except ChurnError:
        raise
    except Exception as error:
        final, detail = _is_final(error, redactor), redactor.clean(_message(error))
    advice = "check the user and its rights" if final else "check host, port and network"
    raise RunError(f"the warehouse at {where} cannot be used: {advice}. It says: {detail[:500]}") from None


def _is_final(error: BaseException, redactor: Redactor) -> bool:
    """Return whether connecting again would fail in the same way."""
    if isinstance(error, ChurnError) or not isinstance(error, Exception):
        return True
    detail = redactor.clean(_message(error))
    return bool(_FINAL.search(detail)) and not _PASSING.search(detail)


def retrying(
    settings: WarehouseSettings, *, retry: RetryBaseT, before_sleep: Callable[[RetryCallState], None]
) -> Retrying:
    """Return the settings' retry policy: so many attempts, pauses that double, the last error raised."""
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
    error: BaseException, statement: str, redactor: Redactor, *, backend: int | None, committing: bool = False
) -> RunError:
    """Return an error of the driver or the network as a RunError, without secrets and values.

    Args:
        error: what the driver or SQLAlchemy raised.
        statement: names the statement.
        redactor: takes the secrets out.
        backend: id of the server's process.
        committing: whether a commit was under way, so that its outcome is unknown if the connection broke.
    """
    detail = redactor.clean(_message(error))[:1000]
    state = _state(error)
    if state in _SERIALISATION_STATES or _SERIALISATION.search(detail):
        return SerialisationError(f"({statement}) gave way to another transaction: {detail}; run it again")
    if is_lost(error):
        outcome = (
            "may have been committed or not: look before it is run again" if committing else "was undone"
        )
        return LostConnectionError(
            f"the connection to the warehouse broke during a statement ({statement}), which {outcome}."
            f" It says: {detail}",
            unchanged=not committing,
            backend=backend,
        )
    return RunError(f"the warehouse refused a statement ({statement}): {detail}")


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that the connection is gone, not that the server said no."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        original = error.orig
    else:
        original = error
    if isinstance(original, OSError):
        return True
    state = _state(error)
    # A server that names another state is there, whatever words its message has.
    return state in _LOST_STATES if state else bool(_LOST.search(_message(error)))


def _state(error: BaseException) -> str | None:
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "pgcode", None)
    if code is None and original is not None and original.args and isinstance(original.args[0], dict):
        code = original.args[0].get("C")  # redshift_connector hands on the protocol's fields
    return str(code) if code else None


def _message(error: BaseException) -> str:
    """The server's words, without the statement's text."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    first = original.args[0] if original.args else ""
    if isinstance(first, dict):
        text = " ".join(str(first[key]) for key in ("S", "M", "D", "H") if first.get(key))
    elif isinstance(error, DBAPIError) or isinstance(original, OSError) or _is_driver(original):
        text = ": ".join(str(part) for part in original.args) or type(original).__name__
    else:
        text = f"{type(original).__name__}: {original}"
    # What follows quotes the statement, with the values in it.
    return re.split(r"\n+(?:LINE \d+:|\[SQL)", text, maxsplit=1)[0].strip() or type(original).__name__


def _is_driver(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in ("psycopg2", "redshift_connector")
