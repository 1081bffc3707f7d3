"""The generated pages are current, complete and refuse to be stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from falconet.isa import REGISTERS, End, instruction_classes
from falconet.isa.docs import isa_page, limits_table, main, registers_page

DOCS = Path(__file__).parents[2] / "docs"


def test_pages_are_current() -> None:
    assert main([str(DOCS), "--check"]) == 0, "run python -m falconet.isa.docs"


def test_every_instruction_and_field_is_there() -> None:
    page = isa_page()
    for cls in instruction_classes():
        section = page.split(f"\n## {cls.mnemonic}\n")[1].split("\n## ")[0]
        for f in cls.layout[len(End.layout):]:
            assert f"`{f.name}`" in section
    assert "``" not in page


def test_every_register_is_there() -> None:
    page = registers_page()
    for r in REGISTERS:
        assert f"| `0x{r.offset:02X}` | `{r.name}` |" in page


def test_limits_are_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "security.md").read_text()
    assert limits_table() in page and "| `data.yaml`, recipe | 256 KiB | " in page
    (tmp_path / "security.md").write_text(page.replace("256 KiB", "257 KiB"))
    main([str(tmp_path / "other")])
    assert main([str(tmp_path), "--check"]) == 1
    main([str(tmp_path)])
    assert (tmp_path / "security.md").read_text() == page


def test_check_names_the_stale_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--check"]) == 0
    (tmp_path / "registers.md").write_text("old")
    assert main([str(tmp_path), "--check"]) == 1
    assert "registers.md is out of date" in capsys.readouterr().err
