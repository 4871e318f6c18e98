"""Marks each test by what it needs: a warehouse, a server, processes; a test that needs none is a unit test.

A unit test that starts a process or a server all the same fails, and says so.
"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

# A test with one of these fixtures has the mark.
_BY_FIXTURE = {
    "duckdb": {"open_warehouse"},
    "redshift": {"redshift", "postgres"},
    "server": {"s3_server", "postgres", "fargate_account", "prefect_server", "mlflow_server"},
    "process": {"runs", "prefect_home", "postgres", "small_disk"},
}
# A test with one of these parameters has the marks: its fixtures are asked for while it runs.
_BY_PARAMETER = {
    "duckdb": ("duckdb",),
    "redshift": ("redshift", "server", "process"),
    "s3": ("server",),
    "aws": ("redshift", "server", "process"),
}
_NO_UNIT = {"server", "process", "slow", "chaos"}
_PROCESS_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.kill"}
_SERVER_EVENTS = {"socket.bind"}
_started: set[str] = set()


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in sorted(_needs(item)):
            item.add_marker(mark)
        if not _NO_UNIT & {mark.name for mark in item.iter_markers()}:
            item.add_marker("unit")


def _needs(item: pytest.Item) -> set[str]:
    """Return the marks that follow from a test's fixtures and parameters."""
    fixtures = set(getattr(item, "fixturenames", ()))
    needs = {mark for mark, names in _BY_FIXTURE.items() if names & fixtures}
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    chosen = [
        value
        for name, value in parameters.items()
        if name != "dialect" and isinstance(value, str) and value in _BY_PARAMETER
    ]
    if {"duckdb", "redshift"} & {*chosen}:  # one of both, whatever the fixtures could do
        needs -= {"duckdb", "redshift"}
    return needs.union(*(_BY_PARAMETER[value] for value in chosen))


def _note(event: str, _: tuple[Any, ...]) -> None:
    if (event in _PROCESS_EVENTS or event in _SERVER_EVENTS) and not _importing():
        _started.add(event)


def _importing() -> bool:
    """Return whether a module is being imported: which test imports it first is chance."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def pytest_configure() -> None:
    sys.addaudithook(_note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    _started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    if _started and item.get_closest_marker("unit"):
        needed = "server" if _started & _SERVER_EVENTS else "process"
        pytest.fail(f"this test is marked `unit`, but did {', '.join(sorted(_started))}: mark it `{needed}`")
    return outcome
