"""What the documentation says exists, and what exists is documented."""

import re
import shlex
import signal
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import flows.cli
from churn.config.cluster import ClusterSettings, FargateSettings
from churn.config.explain import ExplainSettings
from churn.config.load import ENVIRONMENT_PREFIX, load_settings
from churn.config.prefect import PrefectSettings
from churn.config.settings import Product, Settings
from churn.config.store import StoreSettings
from churn.config.training import TrainingSettings
from churn.config.warehouse import WarehouseSettings
from churn.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS: Mapping[str, click.Command] = flows.cli.cli.commands
# Options of the program itself or of every command.
EVERYWHERE = {"--help", "-h", "--version"}

commands_page = (ROOT / "docs" / "commands.md").read_text("utf-8")
settings_page = (ROOT / "docs" / "settings.md").read_text("utf-8")


def sections(text: str) -> dict[str, str]:
    """The text below each heading, up to the next one of any level."""
    parts = re.split(r"^#+ (.+)$", without_code(text), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)


def table(text: str) -> list[list[str]]:
    """The rows of the first table in a text, without its two heading lines."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("-")}


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after ``churn`` wherever a page shows the program being called."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, flags=re.M | re.S)
    inline = [match.replace("\n", " ") for match in re.findall(r"`([^`]+)`", without_code(text))]
    for line in [*("\n".join(blocks).replace("\\\n", " ").splitlines()), *inline]:
        called = re.match(r"(?:[A-Z_]+=\S+ )*(?:\$ )?(?:\.venv/bin/)?churn\s+(.*)", line.strip())
        if called:
            yield shlex.split(called[1], comments=True)


# --- commands ---


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented_and_no_other(name: str) -> None:
    rows = table(sections(commands_page)[f"churn {name}"])
    documented = {re.match(r"`(--[a-z-]+)", row[0])[1]: row for row in rows}
    assert set(documented) == options(COMMANDS[name]) - EVERYWHERE


@pytest.mark.parametrize("name", COMMANDS)
def test_documented_defaults_are_those_of_the_program(name: str) -> None:
    rows = {row[0]: row[1] for row in table(sections(commands_page)[f"churn {name}"])}
    for parameter in COMMANDS[name].params:
        if not isinstance(parameter, click.Option) or parameter.opts[0] in EVERYWHERE:
            continue
        told = next(value for key, value in rows.items() if re.match(rf"`{parameter.opts[0]}\b", key))
        if parameter.required:
            assert told == "required"
        elif parameter.show_default:
            assert told.strip("`") == str(parameter.default)
        else:
            assert told != "required"


def test_every_command_is_in_the_overview_and_has_an_example_that_shows_it() -> None:
    overview = {re.search(r"`churn (\w+)`", row[0])[1] for row in table(sections(commands_page)["Commands"])}
    assert overview == set(COMMANDS)
    assert {words[0] for words in command_lines(commands_page) if words} >= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_pages_show_exist(page: Path) -> None:
    for words in command_lines(page.read_text("utf-8")):
        alternatives = [word for before, word in pairwise(["|", *words]) if before == "|"]
        for name in alternatives:
            if not re.fullmatch(r"[a-z]+", name):  # `churn COMMAND`, `churn --version`
                assert set(words) <= {"COMMAND", *EVERYWHERE}, words
                continue
            assert name in COMMANDS, f"{page.name} shows `churn {name}`, which does not exist"
            shown = {word.partition("=")[0] for word in words if word.startswith("-")}
            unknown = shown - options(COMMANDS[name]) - EVERYWHERE
            assert not unknown, f"{page.name} shows `churn {name}` with {unknown}"


def test_the_examples_of_the_commands_page_can_be_read_by_the_program() -> None:
    lines = [words for words in command_lines(commands_page) if words and words[0] in COMMANDS and words[1:]]
    assert {words[0] for words in lines} == set(COMMANDS)
    program = flows.cli.cli
    with program.make_context("churn", ["products"]) as parent:
        for name, *rest in lines:
            COMMANDS[name].make_context(name, rest, parent)  # raises where an argument is wrong


def test_exit_codes_are_documented() -> None:
    rows = table(sections(commands_page)["Exit codes"])
    told = {int(code): row[1] for row in rows for code in row[0].split(", ")}
    summary = re.search(r"Exit codes: (.*)\.", flows.cli.__doc__ or "")
    assert summary is not None
    in_code = {int(code): word for code, word in re.findall(r"\b(\d) ([a-z ]+)", summary[1])}
    assert {code for code in told if code < 128} == set(in_code)
    assert all(told[code].startswith(word) for code, word in in_code.items())
    stops = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    assert {code for code in told if code >= 128} == stops
    source = Path(flows.cli.__file__).read_text("utf-8")
    exits = re.findall(r"(?:sys\.exit|_fail)\((.*)\)$", source, flags=re.M)
    used = {int(code) for call in exits for code in re.findall(r"\b\d+\b", call)}
    assert used | {0} == set(in_code)


# --- settings ---


@pytest.mark.parametrize(
    ("heading", "model", "given_elsewhere"),
    [
        ("The run", Settings, {"data", "out"}),
        ("explain", ExplainSettings, set()),
        ("cluster", ClusterSettings, set()),
        ("cluster.fargate", FargateSettings, set()),
        ("store", StoreSettings, set()),
        ("warehouse", WarehouseSettings, set()),
        ("prefect", PrefectSettings, set()),
        ("products.<name>", Product, set()),
        ("products.<name>.training", TrainingSettings, set()),
    ],
)
def test_every_setting_is_documented_with_its_default_and_no_other(
    heading: str, model: type[BaseModel], given_elsewhere: set[str]
) -> None:
    rows = {row[0].strip("`"): row for row in table(sections(settings_page)[heading])}
    assert set(rows) == set(model.model_fields) - given_elsewhere
    for key, (_, kind, default, meaning) in rows.items():
        assert kind, key
        assert meaning, key
        assert documented_default(default) == actual_default(model, key), key


def documented_default(text: str) -> Any:
    words = {"none": None, "required": "required", "see below": "table"}
    return words[text] if text in words else tomllib.loads(f"x = {text.strip('`')}")["x"]


def actual_default(model: type[BaseModel], key: str) -> Any:
    value = model.model_fields[key].get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "table"
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_pages_show_are_settings(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text("utf-8")
    for name, value in re.findall(rf"\b({ENVIRONMENT_PREFIX}[A-Z_]*[A-Z])=(\S+)", text):
        monkeypatch.setenv(name, value)
    settings = load_settings(Path("no-data"), Path("out"), optional=True)
    assert settings.model_fields_set


def test_a_variable_that_is_no_setting_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_SEEDS", "2")
    with pytest.raises(ConfigError, match="seeds"):
        load_settings(Path("no-data"), Path("out"), optional=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_churn_toml_are_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), flags=re.M | re.S):
        (tmp_path / "churn.toml").write_text(block, "utf-8")
        for profile in {"local", *tomllib.loads(block).get("profiles", {})}:
            assert load_settings(tmp_path, tmp_path / "out", {"profile": profile}).products


# --- pages ---


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert names >= {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "commands.md", "settings.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text("utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text("utf-8"))
    }
    assert linked >= set(PAGES) - {index}


def test_architecture_describes_each_room() -> None:
    rooms = {
        row[0].strip("`") for row in table(sections((ROOT / "ARCHITECTURE.md").read_text("utf-8"))["Rooms"])
    }
    assert rooms == {path.parent.name for path in (ROOT / "churn").glob("*/__init__.py")}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist_unless_in_brackets(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"(?<!\[)`((?:churn|flows|tasks|tests|sql)/[\w/.-]+)`", text))
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_pages_show_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    shown = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^\s*make ([a-z-]+)", text, re.M))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    assert shown <= targets


def test_the_readme_shows_the_two_commands_that_a_newcomer_needs() -> None:
    assert {"demo", "test"} <= set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.M))


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.lock")), ids=lambda path: path.name)
def test_lock_files_are_hashed_and_name_no_host(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert not [line for line in lines if "://" in line or "index-url" in line or "find-links" in line]
    pinned = [line for line in lines if re.match(r"[A-Za-z0-9]", line)]
    assert pinned
    assert all(re.match(r"[A-Za-z0-9._\-\[\],]+==\S+ .*\\$", line) for line in pinned)
    hashed = [index for index, line in enumerate(lines) if re.match(r"[A-Za-z0-9]", line)]
    assert all(lines[index + 1].strip().startswith("--hash=sha256:") for index in hashed)


def test_there_are_lock_files_for_use_and_for_development() -> None:
    assert {path.name for path in ROOT.glob("*.lock")} == {
        "requirements.lock",
        "requirements-aws.lock",
        "requirements-dev.lock",
    }
