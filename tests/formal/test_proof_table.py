"""docs/formal.md tells of the proofs that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from formal import PROOFS
from formal.proof_table import line

PAGE = Path(__file__).parents[2] / "docs/formal.md"
COMMAND = "python tests/formal --list --markdown docs/formal.md"


@pytest.mark.parametrize("name", PROOFS)
def test_the_page_is_up_to_date(name: str) -> None:
    assert line(PROOFS[name]) in PAGE.read_text(), f"run: {COMMAND}"


def test_the_page_tells_of_no_other() -> None:
    rows = [r for r in PAGE.read_text().splitlines() if r.startswith("| `")]
    assert {r.split("`")[1] for r in rows} == set(PROOFS)
