"""The workflow on GitHub: lint, pins, rights."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


@pytest.fixture(scope="module")
def jobs():
    return yaml.safe_load(WORKFLOW.read_text())["jobs"]


@pytest.mark.process
def test_the_workflow_has_no_lint():
    zizmor = Path(sys.executable).parent / "zizmor"
    command = [zizmor, "--offline", "--no-progress", "--persona", "pedantic", WORKFLOW]
    lint = subprocess.run(command, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


def test_actions_are_pinned_by_commit_and_say_their_version():
    used = re.findall(r"uses: (.*)", WORKFLOW.read_text())
    assert used
    assert not [
        each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)
    ]


def test_every_job_has_the_least_rights(jobs):
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {}
    rights = {name: job["permissions"] for name, job in jobs.items()}
    assert {name for name, given in rights.items() if given != {"contents": "read"}} == {"image", "deploy"}
    assert rights["image"] == rights["deploy"] == {"contents": "read", "id-token": "write"}


def test_only_the_main_branch_gets_further_than_tests(jobs):
    assert jobs["image"]["if"].startswith("github.event_name == 'push' && ")
    assert yaml.safe_load(WORKFLOW.read_text())[True]["push"] == {"branches": ["main"]}
    assert (jobs["image"]["needs"], jobs["deploy"]["needs"]) == ("test", "image")
    assert jobs["deploy"]["environment"] == "production"


def test_no_key_is_kept_in_github():
    assert "secrets." not in WORKFLOW.read_text()


def test_no_script_has_anything_put_into_it(jobs):
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert not [script for script in scripts if "${{" in script]


@pytest.mark.process
@pytest.mark.parametrize("script", ["image", "deploy"])
def test_scripts_are_shell(jobs, script):
    for step in jobs[script]["steps"]:
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_it_runs_on_every_python_that_the_program_claims(jobs):
    claimed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = [each.rpartition(" ")[2] for each in claimed if each.startswith("Programming Language")]
    assert jobs["test"]["strategy"]["matrix"]["python"] == versions
