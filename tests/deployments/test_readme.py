"""The way from an empty account to the first run: what it names is there."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from cfnlint.decode import decode

from churn.config.load import load_settings

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
README = (DEPLOYMENTS / "README.md").read_text()
SCRIPTS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def template():
    return decode(str(DEPLOYMENTS / "aws" / "churn.yaml"))[0]


@pytest.mark.process
def test_commands_are_shell():
    assert len(SCRIPTS) >= 11
    for script in SCRIPTS:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_outputs_that_are_asked_for_are_there(template):
    network = decode(str(DEPLOYMENTS / "aws" / "network.yaml"))[0]
    asked = re.findall(r"\$\(output (\w+)( churn-network)?", README)
    assert len(asked) > 20
    for name, of_network in asked:
        assert name in (network if of_network else template)["Outputs"]


def test_parameters_that_are_given_are_there(template):
    given = {
        name
        for script in SCRIPTS
        for block in re.findall(r"--parameter-overrides((?: *\\?\n? *\S+=(?:\"[^\"]*\"|\S+))+)", script)
        for name in re.findall(r"([A-Z]\w+)=", block)
    }
    assert {"VpcId", "SubnetIds", "ImageDigest", "GitHubRepository"} <= given <= template["Parameters"].keys()


def test_every_variable_of_the_workflow_is_set():
    workflow = (DEPLOYMENTS.parent / ".github" / "workflows" / "ci.yml").read_text()
    used = set(re.findall(r"vars\.(\w+)", workflow))
    assert used == set(re.findall(r"gh variable set (\w+)", README))


def test_every_file_of_the_folder_is_told_of():
    for path in (DEPLOYMENTS / "aws").iterdir():
        assert f"`aws/{path.name}`" in README
    for path in DEPLOYMENTS.iterdir():
        if path.is_file() and path.name != "README.md":
            assert f"`{path.name}`" in README


@pytest.mark.parametrize("profile", ["local", "aws"])
def test_the_deployed_settings_are_settings(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("CHURN_CLUSTER__FARGATE__IMAGE", f"123.example.org/churn@sha256:{'0' * 64}")
    over = {"profile": profile}
    if profile == "local":
        monkeypatch.delenv("CHURN_CLUSTER__FARGATE__IMAGE")
    assert (
        load_settings(DEPLOYMENTS / "aws", tmp_path, over).cluster.kind
        == {"local": "local", "aws": "fargate"}[profile]
    )


def test_the_deployed_settings_say_which_output_fits(template):
    settings = tomllib.loads((DEPLOYMENTS / "aws" / "churn.toml").read_text())["profiles"]["aws"]
    said = {
        word
        for each in template["Outputs"].values()
        for word in re.findall(r"\b(?:store|warehouse|cluster\.fargate)\.[a-z_]+", each["Description"])
    }
    named = {f"{table}.{key}" for table in ("store", "warehouse") for key in settings[table]}
    named |= {f"cluster.fargate.{key}" for key in settings["cluster"]["fargate"]}
    assert said - {"warehouse.secret"} <= named
