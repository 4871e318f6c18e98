"""The samples of output in README and docs, made by a demo: `make docs-samples`.

    python -m tests.support.docs_samples            # write them
    python -m tests.support.docs_samples --check    # fail if one is not what the demo prints

A block of output follows a comment such as `<!-- output of: churn explain ... -->`; the command is run in a folder
that holds the demo. `(first N lines)` after it keeps the first lines. docs/report.png is a picture of the demo's
report, taken with Chromium; the comment after the picture in README.md holds the digest of what the report says.
Run ids and seconds differ from demo to demo: ids are replaced by `...`, and a check does not compare seconds.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from churn.lake.lake import Lake, Run

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "commands.md", ROOT / "docs" / "reasons.md")
PICTURE = ROOT / "docs" / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_BLOCK = re.compile(
    r"(<!-- output of: (?P<command>.+?)(?: \(first (?P<lines>\d+) lines\))? -->\n```\n).*?(?=```\n)", re.S
)
_DIGEST = re.compile(r"(?<=<!-- what docs/report.png shows: )\w+(?= -->)")
_USER = re.compile(r"\bu\d{8}\b")
_RUN_ID = re.compile(r"\b\d{8}t\d{6}z-[0-9a-f]{6}\b")
_SECONDS = re.compile(r"(?<=\d)(\s+\d+\.\d){4}$", re.M)


def demo(folder: Path, users: int) -> None:
    """Make a demo in ``folder``/demo."""
    _churn(folder, ["demo", "--users", str(users)])


def _churn(folder: Path, words: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    program = [sys.executable, "-m", "flows.cli", *words]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`churn {shlex.join(words)}` failed:\n{done.stderr}")
    return done.stdout


def written(page: str, folder: Path, user: str, digest: str) -> str:
    """Return a page with its samples as the demo in ``folder`` prints them.

    Args:
        page: the page's text.
        folder: where the demo was made.
        user: id of the user whom the samples explain.
        digest: of what the report says.
    """

    def output(block: re.Match[str]) -> str:
        words = shlex.split(block["command"])
        printed = _RUN_ID.sub("...", _churn(folder, words[1:]))
        lines = [
            line.rstrip() for line in printed.strip("\n").splitlines() if "already committed" not in line
        ]
        if block["lines"]:
            lines = [*lines[: int(block["lines"])], "  ..."]
        return block[1] + "\n".join(lines) + "\n"

    return _DIGEST.sub(digest, _BLOCK.sub(output, _USER.sub(user, page)))


def riskiest(run: Run) -> str:
    """Return the user with the highest probability of a run."""
    scores = pq.read_table(run.path("scores"), columns=["user_id", "predicted_probability"])
    order = [("predicted_probability", "descending"), ("user_id", "ascending")]
    return str(scores.sort_by(order)["user_id"][0].as_py())


def report_digest(run: Run) -> str:
    """Return a digest of what a run's report shows at its top: figures and signs, without ids and times."""
    data = json.loads(Path(run.path("charts", "report.json")).read_text("utf-8"))
    shown = {part: data[part] for part in ("title", "as_of", "audience", "flagged", "reasons", "trend")}
    rounded = json.loads(json.dumps(shown), parse_float=lambda text: round(float(text), 3))
    return hashlib.sha256(json.dumps(rounded, sort_keys=True).encode()).hexdigest()[:12]


def take_picture(run: Run) -> None:
    """Write docs/report.png from a run's report.

    Raises:
        SystemExit: no browser is installed.
    """
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"docs/report.png needs a browser: install one of {', '.join(BROWSERS)}")
    report = Path(run.path("charts", "report.html")).resolve().as_uri()
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1080,1280"]
    subprocess.run([browser, *options, f"--screenshot={PICTURE}", report], check=True, capture_output=True)


def stale(folder: Path) -> Iterator[str]:
    """Yield what a demo in ``folder`` does not confirm."""
    run = _run(folder)
    digest = report_digest(run)
    for page in PAGES:
        text = page.read_text("utf-8")
        fresh = written(text, folder, riskiest(run), digest)
        if _SECONDS.sub("", text) != _SECONDS.sub("", fresh):
            yield f"{page.relative_to(ROOT)}: run `make docs-samples`"


def _run(folder: Path) -> Run:
    run = Lake(str(folder / "demo" / "out" / "lake")).current("iplayer")
    if run is None:
        raise SystemExit(f"{folder} holds no demo with a run of iplayer")
    return run


def main() -> None:
    """Write the samples, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing, fail if a sample is out of date"
    )
    parser.add_argument("--users", type=int, default=20_000, help="of the demo; the samples are of 20,000")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="churn-docs-") as name:
        folder = Path(name)
        demo(folder, arguments.users)
        if arguments.check:
            faults = list(stale(folder))
            raise SystemExit("\n".join(faults) or 0)
        run = _run(folder)
        take_picture(run)
        for page in PAGES:
            page.write_text(
                written(page.read_text("utf-8"), folder, riskiest(run), report_digest(run)), "utf-8"
            )


if __name__ == "__main__":
    main()
