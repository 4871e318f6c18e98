"""Titles, paths and values of other people are printed as they are: nothing in them is markup."""

import re
from pathlib import Path

import pytest

from flows.commands.run import new_table, terminal
from tests.support.command_line import exit_code

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "iPlayer [/beta]",
    "[red]x[/red]",
    "[/]",
    "[link=file:///]y[/link]",
    ":warning: :smile:",
    "\\[a]",
    "[[b]",
    "{c}",
]


def test_every_text_in_a_table_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for text in HOSTILE:
        table = new_table(text, f"2 {text}")
        table.add_row(f"3 {text}", f"4 {text}")
        terminal().print(table)
        told = capsys.readouterr().out
        assert all(each in told for each in (f" {text} ", f"2 {text}", f"3 {text}", f"4 {text}"))


def test_nothing_but_the_one_way_uses_rich() -> None:
    """Every table is made by ``new_table`` and printed by ``terminal``, so that the test above is of all."""
    uses = {
        str(path.relative_to(ROOT))
        for folder in ("churn", "flows", "tasks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(from|import) rich\b", path.read_text("utf-8"), re.M)
    }
    assert uses == {"flows/commands/run.py"}


@pytest.mark.parametrize("title", HOSTILE)
def test_products_with_such_titles_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], title: str
) -> None:
    quoted = title.replace("\\", "\\\\")
    (tmp_path / "churn.toml").write_text(
        f'source = "bbc"\n[products.iplayer]\ntitle = "{quoted}"\nmatch = ["{quoted}"]\n', "utf-8"
    )
    assert exit_code(["products", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(title) >= 2
