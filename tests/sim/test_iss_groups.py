"""SCAN with softmax and bins: the simulator against the golden model, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from heads import head_of, random_head
from programs import detection_program

from falconet.isa import Arch, FalconetError, Instruction, Program, Scan, preset
from falconet.runtime.detections import Detections, Options
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.detect import detect_all
from falconet_sim.iss.simulator import IssDevice

pytestmark = pytest.mark.timeout(120)
TINY = preset("tiny")


def same(arch: Arch, detect: dict[str, Any], tensors: dict[str, Any], far: int = 0,
         options: Options | None = None) -> Detections:
    """The simulator's boxes, which are the golden model's."""
    program, inputs = detection_program(arch, detect, tensors, far=far)
    found = IssDevice(Program.from_bytes(program.to_bytes())).run(inputs, options).detections
    assert found is not None and found == detect_all(tensors, head_of(detect), options, arch)
    check_hazards(program, inputs)
    return found


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("bins", [0, 1, 2, 8, 16, 17, 31])
@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
def test_random_groups(name: str, bins: int, softmax: bool) -> None:
    arch, n = preset(name), 0
    rng = np.random.default_rng([arch.lanes, bins, softmax])
    for wild in (False, True):
        for classes, anchors in ((1, 3), (20, 2), (90, 1), (255, 1)):
            detect, tensors = random_head(
                rng, arch, levels=2, classes=classes, anchors=anchors, form=1 if bins else 0,
                bins=bins, softmax=softmax, wild=wild, points=int(rng.integers(0, 3)),
                objectness=bool(rng.integers(2)), hits=0.2, size=(16, 32))
            same(arch, detect, tensors)
            found = same(arch, detect, tensors, far=40000, options=Options(score=0.0))
            n += len(found.records)
    assert n > 25


def changed(**fields: int) -> tuple[Program, dict[str, Any]]:
    """A head of 8 bins and 3 classes, SCAN's fields set to these."""
    detect, tensors = random_head(np.random.default_rng(1), TINY, levels=1, form=1, bins=8,
                                  softmax=True, hits=0.5)
    program, inputs = detection_program(TINY, detect, tensors)
    code = bytearray(program.code)
    for i, ins in enumerate(program.instructions()):
        if isinstance(ins, Scan):
            word: Instruction = ins.replace(**fields)
            code[64 * i : 64 * (i + 1)] = word.encode()
    return Program(TINY, bytes(code), program.header), inputs


def test_bins_are_of_distances() -> None:
    program, inputs = changed(form=0)
    with pytest.raises(FalconetError, match="bins=8 need form=1"):
        IssDevice(program).run(inputs)


@pytest.mark.parametrize(("key", "why"), [
    ("softmax", "exponentials of a softmax are all 0"),
    ("size", "exponentials of a side are all 0"),
])
def test_no_exponentials(key: str, why: str) -> None:
    detect, tensors = random_head(np.random.default_rng(1), TINY, levels=1, form=1, bins=8,
                                  softmax=True, hits=0.5)
    detect["levels"][0][key] = [0] * 256
    program, inputs = detection_program(TINY, detect, tensors)
    with pytest.raises(FalconetError, match=f"{key}: the largest exponential is 0"):
        Program.from_bytes(program.to_bytes())
    with pytest.raises(FalconetError, match=why):
        IssDevice(program).run(inputs)


@pytest.mark.parametrize("at", [14, 15])
def test_lanes_beyond_the_word(at: int) -> None:
    """Bytes 14 and 15 of an anchor: where its classes and its box begin."""
    program, inputs = changed()
    table = next(i for i in program.instructions() if i.mnemonic == "LOAD" and i.run > 200)
    code = bytearray(program.code)
    code[table.offset + 2048 + at] = TINY.lanes
    with pytest.raises(FalconetError, match=f"lane is not below {TINY.lanes}"):
        IssDevice(Program(TINY, bytes(code), program.header)).run(inputs)
