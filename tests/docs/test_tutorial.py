"""docs/tutorial.md: every block in order, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from snippets import ROOT, run, snippets

PAGE = ROOT / "docs" / "tutorial.md"

pytestmark = pytest.mark.timeout(900)


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = snippets(PAGE)
    for block in blocks:
        if block.reason is None:
            run(block, tmp_path)
    assert (tmp_path / "boxes.png").stat().st_size > 100_000
    assert [block.reason for block in blocks if block.reason] == [
        "needs Vivado and a board", "tests/board runs it under PYNQ"]
