"""Weekly runs in processes of their own: called, killed at a given moment, or held.

``python -m tests.support.churn_runs`` imports the program once and then forks a process for each run that it is
asked for, which is much quicker than starting one. The weekly flow is called without Prefect's engine: the same flow
function and the same stages in the same order, but no server. What Prefect adds is tested in ``test_weekly``.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (minus the signal that killed it), standard output and error."""

    code: int
    out: str
    err: str


class Runs:
    """Starts runs by asking the process that forks them.

    Attributes:
        empty_mlflow: MLflow's database as it is before the first run, to be copied: making it takes longer than
            all the rest of a small run. It is there when a run has been started.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._count = 0
        self.empty_mlflow = folder / "mlflow.db"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.churn_runs", str(self.empty_mlflow)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**environment},
        )

    def __call__(
        self,
        *arguments: str,
        kill: str = "",
        file_size: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run ``churn`` with these arguments to its end.

        Args:
            arguments: of the command line.
            kill: the moment at which the process kills itself, see ``_arm``.
            file_size: no file of the process may grow past this, in bytes.
            environment: more variables.
        """
        pid = self.start(*arguments, kill=kill, file_size=file_size, environment=environment)
        return self.wait(pid)

    def start(self, *arguments: str, **more: Any) -> int:
        """Start a run; return its process id."""
        self._count += 1
        request = {"arguments": arguments, "files": str(self._folder / f"run{self._count}"), **more}
        self._ask(request)
        return int(self._answer())

    def wait(self, pid: int) -> Ended:
        """Wait for a run that was started, and return how it ended."""
        self._ask({"wait": pid})
        code, files = json.loads(self._answer())
        return Ended(code, Path(f"{files}.out").read_text("utf-8"), Path(f"{files}.err").read_text("utf-8"))

    def _ask(self, request: Mapping[str, Any]) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()

    def _answer(self) -> str:
        assert self._server.stdout is not None
        answer = self._server.stdout.readline()
        assert answer, "the process that forks the runs has ended"
        return answer

    def close(self) -> None:
        """End the process that forks the runs."""
        self._server.communicate()
        self._server.wait()


def without_prefect() -> Callable[..., Any]:
    """Return the weekly flow as a plain function that calls the stages one after the other."""
    import flows.commands.run
    import flows.weekly
    from churn.jobs.weekly.job import InOrder

    flows.commands.run.start_server = lambda: None
    flows.weekly.TaskCaller = InOrder
    flows.weekly.weekly_churn = flows.weekly.weekly_churn.fn
    return flows.weekly.weekly_churn


def _arm(moment: str) -> None:
    """Make this process kill itself at a moment.

    ``during STAGE``: while a stage runs. ``before MODULE.FUNCTION``: instead of a call of it. ``after N
    partitions``: as soon as N partitions are scored.
    """
    when, _, what = moment.partition(" ")
    if when == "during":
        from churn.core.timing import StageTimer

        original = StageTimer.stage

        @contextlib.contextmanager
        def stage(self: StageTimer, name: str, part: str) -> Iterator[Any]:
            with original(self, name, part) as count:
                if name == what:
                    threading.Timer(0.01, _die).start()
                yield count
                if name == what:  # it took less than that
                    _die()

        StageTimer.stage = stage  # type: ignore[method-assign]  # to die in the middle of a stage
    elif when == "before":
        owner, _, name = what.rpartition(".")
        setattr(_named(owner), name, lambda *_, **__: _die())
    else:
        threading.Thread(target=_die_after_partitions, args=[int(what.split()[0])], daemon=True).start()


def _named(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(_named(module), name)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_after_partitions(number: int) -> None:
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    while len(list(out.glob("lake/.staging/*/*/logs/partitions/*.json"))) < number:
        time.sleep(0.001)
    _die()


def _run(request: Mapping[str, Any]) -> int:
    for number, name in ((1, "out"), (2, "err")):
        target = os.open(f"{request['files']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, number)
    os.environ.update(request.get("environment") or {})
    sys.argv[1:] = request["arguments"]
    if request.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
    if request.get("kill"):
        _arm(request["kill"])
    import flows.cli

    code: Any = 0
    try:
        flows.cli.main(request["arguments"])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return int(code or 0)


def _serve() -> None:
    from flows.console import silence_libraries

    silence_libraries()
    without_prefect()
    from churn.outputs import tracking

    tracking.initialise(f"sqlite:///{sys.argv[1]}")
    requests: dict[int, str] = {}
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(json.dumps([os.waitstatus_to_exitcode(status), requests[request["wait"]]]), file=answers)
        else:
            pid = os.fork()
            if pid == 0:
                answers.close()
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os._exit(_run(request))
            requests[pid] = request["files"]
            print(pid, file=answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
