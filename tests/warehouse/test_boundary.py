"""Only churn.warehouse knows which engine it is: everybody else asks what the engine can do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = {"churn.warehouse.duckdb", "churn.warehouse.redshift"}
# Settings describe the engines that there are.
ALLOWED = {"churn/config/warehouse.py"}


def modules() -> list[str]:
    paths = [path for folder in ("churn", "flows", "tasks") for path in (ROOT / folder).rglob("*.py")]
    names = {path.relative_to(ROOT).as_posix() for path in paths}
    return sorted(name for name in names - ALLOWED if not name.startswith("churn/warehouse/"))


def branches_on_the_engine(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that compare a dialect or a warehouse's kind, or import an engine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            compared = {ast.unparse(part).rpartition(".")[2] for part in (node.left, *node.comparators)}
            kinds = {ast.unparse(part) for part in (node.left, *node.comparators)}
            if "dialect" in compared or any(kind.endswith("warehouse.kind") for kind in kinds):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(tuple(ENGINES)):
            yield node.lineno


@pytest.mark.parametrize("name", modules())
def test_no_code_outside_the_warehouse_room_asks_which_engine_it_is(name: str) -> None:
    assert list(branches_on_the_engine(ast.parse((ROOT / name).read_text("utf-8")))) == []


@pytest.mark.parametrize(
    "text",
    [
        'if warehouse.dialect == "duckdb": pass',
        'x = dialect != "redshift"',
        'assert settings.warehouse.kind == "redshift"',
        "from churn.warehouse.redshift.client import RedshiftWarehouse",
    ],
)
def test_the_check_finds_such_code(text: str) -> None:
    assert list(branches_on_the_engine(ast.parse(text))) == [1]
