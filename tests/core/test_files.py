"""Files on a disk: replaced whole, or left as they were."""

import os
from pathlib import Path

import pytest

from churn.core.files import replace_file


@pytest.mark.parametrize("name", ["report.html", "{folder}/report.html"])
def test_a_file_is_replaced_whole_by_a_relative_or_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = name.format(folder=tmp_path)
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert Path(path).read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_write_that_is_cut_short_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "report.html"
    replace_file(str(path), b"old")

    def cut(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(type(error)):
        replace_file(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["report.html"]
