"""docs/tutorial.md: every block in order, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from snippets import ROOT, run, snippets

PAGE = ROOT / "docs" / "tutorial.md"

pytestmark = pytest.mark.timeout(900)


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = snippets(PAGE)
    printed = "".join(run(block, tmp_path) for block in blocks if block.reason is None)
    assert (tmp_path / "boxes.png").stat().st_size > 100_000
    assert len(list((tmp_path / "found").iterdir())) == len(list((tmp_path / "photos").iterdir()))
    # About 0.6, says the page; processors differ.
    judged = re.findall(r"^(?:quantised +)?mAP@0\.5 (0\.\d+)", printed, re.MULTILINE)
    assert len(judged) == 3 and all(0.45 < float(value) < 0.75 for value in judged)
    assert [block.reason for block in blocks if block.reason] == [
        "serves until it is stopped", "needs Vivado and a board", "tests/board runs it under PYNQ"]
