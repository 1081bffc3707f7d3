"""The notebook of the board, executed unmodified on the simulated one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from notebook import NOTEBOOK, execute
from PIL import Image

from falconet.isa import Program
from falconet.runtime.preprocess import Preprocessor
from falconet.runtime.vision import detections_of
from falconet_sim.golden.device import GoldenDevice

pytestmark = pytest.mark.timeout(1500)


def cells(path: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if c["cell_type"] == "code"]


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(o["text"]) for o in cell["outputs"] if o["output_type"] == "stream")


def pictures(cell: dict[str, Any]) -> int:
    return sum("image/jpeg" in o.get("data", {}) for o in cell["outputs"])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """The cells after a run, and the folder of the run."""
    folder = tmp_path_factory.mktemp("board")
    execute(folder / "executed.ipynb", folder)
    return cells(folder / "executed.ipynb"), folder


def counted(text: str) -> tuple[str, list[int]]:
    """A text without its counts of cycles, and the counts."""
    number = r"[0-9,]+(?= cycles)"
    return re.sub(number, "N", text), [int(n.replace(",", "")) for n in re.findall(number, text)]


def test_the_committed_outputs_are_those_of_a_run(ran: tuple[list[dict[str, Any]], Path]) -> None:
    """Text to the letter but for cells of timings.

    Cycles are those of the program, and its weights come out of float arithmetic, whose last bit
    is the processor's: a candidate more or less at the threshold is some cycles of DETECT.
    """
    again = "run 'make notebook' and commit notebooks/falconet.ipynb"
    for was, now in zip(cells(NOTEBOOK), ran[0], strict=True):
        assert pictures(was) == pictures(now), again
        if "timing" in was["metadata"].get("tags", []):
            assert printed(was) and printed(now)
            continue
        (text, cycles), (text_now, cycles_now) = counted(printed(was)), counted(printed(now))
        assert text == text_now, again
        assert cycles_now == pytest.approx(cycles, rel=1e-4), again


def test_boxes_are_those_of_the_golden_model(ran: tuple[list[dict[str, Any]], Path]) -> None:
    executed, folder = ran
    program = Program.load(folder / "retinaface-pynq-z2.flc")
    t = program.header["inputs"][0]
    with Image.open(folder / "astronaut.png") as picture:
        stored, frame = Preprocessor(program.header["meta"], t["scale"], t["zero_point"])(
            np.asarray(picture))
    found = GoldenDevice(program).run({t["name"]: stored.transpose(2, 0, 1)}).detections
    objects = detections_of(program.header["meta"], found, frame)
    lines = [f"{o.class_name} {o.score:.3f}: {o.w:.0f} x {o.h:.0f} pixels at ({o.x:.0f}, {o.y:.0f})"
             for o in objects]
    assert lines
    text = "\n".join(printed(c) for c in executed)
    assert [line for line in text.splitlines() if "pixels at" in line] == lines


def test_the_committed_file_is_executed_and_of_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|tmp|usr|work|build)/", text)
    counts = [c["execution_count"] for c in cells(NOTEBOOK)]
    assert counts == list(range(1, len(counts) + 1))
    assert len(text) < 500_000
