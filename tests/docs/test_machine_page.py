"""docs/machine.md: what it says of the worked block is what the RTL does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from worked_block import DOCS, write


def test_the_worked_block_is_the_machines(tmp_path: Path) -> None:
    page, picture = tmp_path / "machine.md", tmp_path / "block.svg"
    shutil.copyfile(DOCS / "machine.md", page)
    write(page, picture)
    hint = "run python tests/docs/worked_block.py"
    assert page.read_text() == (DOCS / "machine.md").read_text(), hint
    assert picture.read_text() == (DOCS / "images/block.svg").read_text(), hint
