"""The container image: what goes into it, how it starts, and that it scores. There is no Docker here.

The quick tests start commands through the image's start script, on this environment's libraries and the wheel
that the image gets. The slow one (`make image-check`) carries out the Dockerfile's steps in a clean folder first.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from churn.explain.jit import JitFunction
from churn.scoring.scorer import score_partition
from deployments import check_image, warm
from tests.support.small_models import partition_task, small_model, snapshots

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deployments" / "Dockerfile"
START = ROOT / "deployments" / "start.sh"
HERE = Path(sys.executable).parent

AVX2 = "fpu avx avx2 bmi1 bmi2 f16c fma abm movbe"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"

# What a client does, in the image's own Python: score on the worker, and tell where and how.
CLIENT = """
import json, os, sys
from datetime import date, datetime
from distributed import Client
import churn
from churn.scoring.partition import PartitionTask
from churn.scoring.scorer import score_partition

def look():
    import churn, os
    return [os.path.dirname(churn.__file__), os.environ.get("NUMBA_CPU_NAME"), os.environ.get("OMP_NUM_THREADS")]

address, given = sys.argv[1], json.loads(sys.argv[2])
days = {name: date.fromisoformat(given.pop(name)) for name in ("as_of", "target_week_start")}
scored = datetime.fromisoformat(given.pop("score_datetime"))
with Client(address) as client:
    client.wait_for_workers(1, timeout=120)
    row = client.submit(score_partition, PartitionTask(**given, **days, score_datetime=scored)).result(120)
    (seen,) = client.run(look).values()
    print(json.dumps({"rows": row.rows, "seen": seen, "client": os.path.dirname(churn.__file__)}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that the Dockerfile makes of its context, unpacked."""
    folder = tmp_path_factory.mktemp("image")
    check_image.copy_context(folder / "context")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--wheel-dir", folder, folder / "context"], check=True)
    (made,) = folder.glob("churn-*.whl")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@contextmanager
def running(
    command: list[str], environment: dict[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it must end by itself when it is asked to."""
    with (folder / f"{command[1]}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()


def wait_for(path: Path, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def score(start: list[str], environment: dict[str, str], folder: Path) -> dict[str, object]:
    """Score a partition with a scheduler and a worker, as dask-cloudprovider starts them; compare the scores."""
    task = partition_task(folder / "run", snapshots(900), small_model())
    given = {name: str(value) if "date" in name or name in ("as_of", "target_week_start") else value for name, value in vars(task).items()}  # fmt: skip
    found, log = folder / "scheduler.json", folder / "dask-scheduler.log"
    scheduler = [
        *start,
        "dask-scheduler",
        "--idle-timeout",
        "5 minutes",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with running(
        [*scheduler, "--no-dashboard", "--scheduler-file", str(found)], environment, folder
    ) as server:
        wait_for(found, server, log)
        address = json.loads(found.read_text())["address"]
        worker = [*start, "dask-worker", address, "--name", "0", "--nthreads", "1", "--memory-limit", "2GB"]
        worker += ["--death-timeout", "60", "--no-dashboard", "--preload", "churn.worker"]
        with running(worker, environment, folder):
            asked = [*start, "python", "-c", CLIENT, address, json.dumps(given)]
            answer = subprocess.run(
                asked, env=environment, cwd=folder, capture_output=True, text=True, timeout=240, check=False
            )
    assert answer.returncode == 0, answer.stderr + (folder / "dask-worker.log").read_text()
    made = pq.read_table(folder / "run" / "scores")
    score_partition(partition_task(folder / "here", snapshots(900), small_model()))
    wanted = pq.read_table(folder / "here" / "scores")
    assert made["user_id"] == wanted["user_id"]
    assert made["margin"].to_pylist() == pytest.approx(wanted["margin"].to_pylist(), abs=1e-5)
    return json.loads(answer.stdout)


def test_the_dockerfile_has_no_lint():
    lint = subprocess.run([HERE / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


def test_no_account_but_a_numbered_one_runs_anything():
    last = [rest for name, rest in check_image.instructions(DOCKERFILE) if name == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last)


def test_whatever_is_copied_is_in_the_context(tmp_path):
    check_image.copy_context(tmp_path)
    copied = [rest.split() for name, rest in check_image.instructions(DOCKERFILE) if name == "COPY"]
    names = {name for words in copied if not words[0].startswith("--from") for name in words[:-1]}
    laid = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert all((tmp_path / name).exists() for name in names)
    assert not [path for path in laid if not path.startswith(tuple(names))], "it is sent, but not copied"


def test_the_lock_files_agree_and_have_hashes():
    def locked(name):
        text = (ROOT / name).read_text()
        assert "://" not in text, "a lock file names an address"
        packages = re.findall(r"^(\S+)==(\S+)((?: ; [^\\\n]*)?) \\\n    --hash=sha256:", text, re.MULTILINE)
        assert len(packages) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
        return {(package, version, marker) for package, version, marker in packages}

    program, cloud, tests = map(
        locked, ("requirements.lock", "requirements-aws.lock", "requirements-dev.lock")
    )
    builds = {"hatchling", "editables", "trove-classifiers", "tomlkit"}
    assert {package for package, _, _ in program - cloud} <= builds
    assert cloud <= tests
    assert {"boto3", "dask-cloudprovider", "prefect-aws", "psycopg2-binary"} <= {name for name, _, _ in cloud}


def test_the_wheel_holds_what_is_read_at_run_time(wheel):
    for folder, package in (
        ("sql", "churn/_sql"),
        ("churn", "churn"),
        ("flows", "flows"),
        ("tasks", "tasks"),
    ):
        tracked = subprocess.run(
            ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        assert tracked
        missing = [name for name in tracked if not (wheel / package / name.partition("/")[2]).is_file()]
        assert not missing


def test_every_kernel_is_compiled_while_the_image_is_built():
    used = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "churn").rglob("*.py")
        if re.search(r"= JitFunction\(", path.read_text())
    }
    assert used == set(warm.MODULES)
    assert all(
        any(isinstance(value, JitFunction) for value in vars(importlib.import_module(name)).values())
        for name in used
    )


@pytest.mark.parametrize(
    ("flags", "level"),
    [("fpu sse2", ""), (AVX2, "x86-64-v3"), (AVX2.replace("fma ", ""), ""), (AVX512, "x86-64-v4"),
     (AVX512.replace(" avx512vl", ""), "x86-64-v3")],
)  # fmt: skip
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="levels are x86-64's")
def test_the_start_names_the_processors_level(tmp_path, flags, level):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\nflags\t\t: fpu\n")
    environment = {"PATH": os.environ["PATH"], "CPUINFO": str(tmp_path / "cpuinfo")}
    shown = subprocess.run([START, "env"], env=environment, capture_output=True, text=True, check=True).stdout
    named = {line for line in shown.splitlines() if line.startswith("NUMBA_CPU")}
    assert named == ({f"NUMBA_CPU_NAME={level}", "NUMBA_CPU_FEATURES="} if level else set())


def test_the_start_leaves_a_level_that_is_set_alone():
    environment = {"PATH": os.environ["PATH"], "NUMBA_CPU_NAME": "generic"}
    shown = subprocess.run([START, "env"], env=environment, capture_output=True, text=True, check=True).stdout
    assert "NUMBA_CPU_NAME=generic\n" in shown
    assert "NUMBA_CPU_FEATURES" not in shown


def test_the_start_gives_its_place_to_the_command():
    asked = [START, sys.executable, "-c", "import os, sys; print(os.getpid()); sys.exit(7)"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        shown = process.communicate()[0]
    assert (int(shown), process.returncode) == (process.pid, 7)


@pytest.mark.slow
def test_the_wheel_scores_as_it_is_started_on_fargate(wheel, tmp_path):
    environment = {
        "PATH": f"{HERE}:{os.environ['PATH']}",
        "PYTHONPATH": str(wheel),
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
    }
    answer = score([str(START)], environment, tmp_path)
    assert answer["rows"] == 900
    assert answer["client"] == str(wheel / "churn")
    assert answer["seen"][0] == str(wheel / "churn")


@pytest.mark.chaos  # takes minutes: it installs everything anew
@pytest.mark.timeout(1800)
def test_the_image_runs_and_scores(tmp_path):
    image = check_image.build(tmp_path / "made")
    environment = image.environment()
    packages = image.path("/opt/churn/lib")
    assert not list(packages.rglob("pip/__init__.py"))
    assert not list(packages.rglob("__editable__*"))
    kept = {file.name for file in image.path("/var/cache/churn").rglob("*.nbc")}
    assert len(kept) == 3 * (2 if os.uname().machine == "x86_64" else 1)

    answer = score(image.command(), environment, tmp_path)
    assert answer["rows"] == 900
    seen = answer["seen"]
    assert Path(seen[0]).is_relative_to(packages)
    assert seen[2] == "1"
    assert {file.name for file in image.path("/var/cache/churn").rglob("*.nbc")} == kept, "compiled anew"

    def churn(*words):
        command = image.command("churn", *words)
        ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr

    assert image.path("/etc/churn/churn.toml").is_file()
    churn("simulate", "--users", "2500", "--weeks", "20", "--end", "2026-06-28", "--into", "data")
    churn("run", "--product", "iplayer", "--as-of", "2026-06-28", "--data", "data", "--out", "out")
    assert list((tmp_path / "out").rglob("manifest.json"))
