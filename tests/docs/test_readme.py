"""README.md: its commands run as they stand, and what it says they print is what they print."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import onnx
import pytest
from PIL import Image
from snippets import ROOT, Snippet, run, snippets

from falconet_models.data import photograph
from falconet_models.zoo import build

PAGE = ROOT / "README.md"
BLOCKS = snippets(PAGE)

pytestmark = pytest.mark.timeout(600)


def test_what_is_not_run_says_why() -> None:
    assert [b.reason for b in BLOCKS if b.reason] == [
        "CI runs both on a bare Debian", "needs root", "takes minutes"]


def test_the_commands_run(tmp_path: Path) -> None:
    """In a folder with what is the reader's own: photographs, and a float network."""
    (tmp_path / "photos").mkdir()
    for name in ("astronaut", "faces_large", "coffee"):
        Image.fromarray(photograph(name)).save(tmp_path / "photos" / f"{name}.png")
    onnx.save(build("retinaface", height=160, width=160), tmp_path / "float.onnx")
    blocks = [b for b in BLOCKS if b.kind and not b.reason]
    assert blocks
    for block in blocks:
        run(block, tmp_path)
    for name in ("astronaut", "faces_large", "coffee"):
        assert len(list((tmp_path / "boxes").glob(f"{name}*.png"))) == 1


def test_make_sim_prints_that(tmp_path: Path) -> None:
    """The recipe's own command, without the environment that it makes before."""
    block = next(b for b in BLOCKS if "make sim " in b.text)
    recipe = subprocess.run(
        ["make", "-n", "-o", ".venv/.sim", "sim"], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=True).stdout
    command = re.search(r"falconet detect .*", recipe.replace("\\\n", " "))
    assert command is not None
    run(Snippet(block.where, "sh", "", command[0], block.prints), tmp_path)
    assert (tmp_path / "build/sim/astronaut.png").stat().st_size > 100_000


def test_its_figures_are_those_of_the_page_of_figures() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    cells = {line.split("|")[1].split()[0]: [c.strip() for c in line.strip("|\n").split("|")[1:]]
             for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")}
    for title, model in (("MobileNetV2,", "mobilenetv2"), ("RetinaFace", "retinaface")):
        found = re.search(rf"^{model}: .*, ([\d,]+) cycles, ([\d.]+%) of 256 MAC/cycle, "
                          r"([\d.]+) frames/s", page, re.MULTILINE)
        assert found is not None
        assert cells[title] == [found[1], found[2], f"{found[3]} frames/s"]
    alone = re.search(r"^detect engine: ([\d,]+) cycles", page, re.MULTILINE)
    assert alone is not None and cells["NMS"][0] == alone[1]
    small, large = re.findall(
        r"^\| detect \| [\d x]+ \| ([\d.]+ ms) \| .*, about (\d+ ms) \|$", page, re.MULTILINE)
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"in {small[0]} on x86, about {small[1]} on the board's Cortex-A9" in text
    assert f"4 megapixels in about {large[1]}" in text
