"""The Python page works as it stands, and importing ``churn`` loads nothing."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import churn

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, where nothing but ``code`` has imported anything."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_examples_run_from_top_to_bottom(tmp_path: Path) -> None:
    ended = run_python("\n".join(BLOCKS), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "likely to stay away from BBC iPlayer" in ended.stdout
    assert "has no column days_w22" in ended.stdout


def test_importing_churn_loads_no_other_module(tmp_path: Path) -> None:
    code = (
        "import sys; before = {'typing', 'importlib', *sys.modules}; import churn; dir(churn); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - before - sys.stdlib_module_names)); "
        "print(*[name for name in sys.modules if name.startswith('churn.')])"
    )
    assert run_python(code, tmp_path).stdout.split() == ["churn"]


def test_settings_and_lake_load_no_model_and_no_cluster(tmp_path: Path) -> None:
    code = (
        "import sys, churn; churn.load_settings; churn.open_lake; "
        "print(*{'xgboost', 'sklearn', 'pandas', 'duckdb', 'distributed', 'mlflow', 'prefect'} & set(sys.modules))"
    )
    assert run_python(code, tmp_path).stdout.split() == []


def test_all_names_are_there_documented_and_shown() -> None:
    assert set(churn.__all__) <= set(dir(churn))
    for name in churn.__all__:
        assert (getattr(churn, name).__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="nonsense"):
        churn.nonsense  # noqa: B018  # the access is the test
    used = {
        node.attr
        for node in ast.walk(ast.parse("\n".join(BLOCKS)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "churn"
    }
    text = set(re.findall(r"churn\.(\w+)", PAGE))
    assert set(churn.__all__) - {"Run", "Settings"} <= used | text


def test_the_package_and_the_project_file_give_the_same_version() -> None:
    assert f'\nversion = "{churn.__version__}"\n' in (ROOT / "pyproject.toml").read_text("utf-8")
