"""A level that is scanned in stripes of rows: the boxes of the whole level, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from heads import head_of, random_head
from programs import detection_program

from falconet.isa import Program, Scan, preset
from falconet.runtime.detections import Options
from falconet_sim.compare.hazards import check_hazards, required_waits
from falconet_sim.golden.detect import detect_all
from falconet_sim.iss.simulator import IssDevice

pytestmark = pytest.mark.timeout(120)
MODES = ("greedy", "soft_linear", "soft_gaussian", "diou")


@pytest.mark.parametrize("stripe", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
def test_stripes_find_what_the_golden_model_finds_in_the_whole_level(
        name: str, seed: int, stripe: int) -> None:
    arch, rng = preset(name), np.random.default_rng([seed, stripe])
    detect, tensors = random_head(
        rng, arch, levels=1 + seed % 3, points=5 * (seed % 2), objectness=bool(seed & 2),
        form=seed // 2 % 2, grid=seed // 4 % 2, classes=1 + seed % 3, size=(64, 40), hits=0.3,
        mode=MODES[seed % 4], bins=(0, 0, 16, 5)[seed % 4], softmax=seed % 3 == 1)
    serial, inputs = detection_program(arch, detect, tensors, stripe=stripe)
    waits = required_waits(serial, inputs)
    program, _ = detection_program(arch, detect, tensors, stripe=stripe, waits=waits)
    program = Program.from_bytes(program.to_bytes())
    check_hazards(program, inputs)
    options = Options(score=0.05)
    found = IssDevice(program).run(inputs, options).detections
    assert found is not None and len(found.records)
    assert found == detect_all(tensors, head_of(detect), options, arch)
    scans = [i for i in program.instructions() if isinstance(i, Scan)]
    heights = [level["height"] for level in detect["levels"]]
    assert len(scans) == sum(-(-height // stripe) for height in heights)
    assert max(i.y0 for i in scans) > 0
