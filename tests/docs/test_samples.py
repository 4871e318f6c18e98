"""Samples of output in README and docs are what the program prints."""

from pathlib import Path

import pytest

from tests.support import docs_samples


def test_every_page_with_samples_has_marked_blocks() -> None:
    for page in docs_samples.PAGES:
        assert "<!-- output of: churn " in page.read_text("utf-8"), page.name


@pytest.mark.slow
def test_the_samples_are_what_the_demo_prints(tmp_path: Path) -> None:
    docs_samples.demo(tmp_path, 20_000)
    assert list(docs_samples.stale(tmp_path)) == []
