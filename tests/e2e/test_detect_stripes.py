"""Levels in stripes of rows on every device, byte for byte: random heads, and compiled networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detectors import detector, random_input
from devices import run_all
from heads import random_head
from programs import detection_program

from falconet.compiler import compile_graph
from falconet.isa import Scan, preset
from falconet_sim.compare.hazards import required_waits

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("form, bins, softmax", [(0, 0, False), (1, 0, True), (1, 16, False)])
def test_random_heads_in_stripes(arch: str, form: int, bins: int, softmax: bool) -> None:
    machine, rng = preset(arch), np.random.default_rng([form, bins])
    for stripe in (1, 2, 3):
        detect, tensors = random_head(
            rng, machine, form=form, bins=bins, softmax=softmax, levels=1 + stripe % 2, points=2,
            objectness=stripe == 2, classes=stripe, size=(56, 40), hits=0.2)
        serial, inputs = detection_program(machine, detect, tensors, stripe=stripe)
        waits = required_waits(serial, inputs)
        program, _ = detection_program(machine, detect, tensors, stripe=stripe, waits=waits)
        found = run_all(program, inputs).detections
        assert found is not None and len(found.records)


@pytest.mark.parametrize("head", [
    {"classes": 20, "anchors": 1},
    {"classes": 8, "anchors": 2, "box": "yolo", "objectness": True, "points": 1, "maximum": 20},
    {"classes": 4, "anchors": 1, "box": "dfl"},
], ids=["plain", "landmarks", "bins"])
def test_a_level_larger_than_the_scratchpad(head: dict[str, Any]) -> None:
    graph = detector(2, size=(128, 192), levels=2, **head)
    program = compile_graph(graph, preset("tiny"))
    stripes = [i for i in program.instructions() if isinstance(i, Scan) and i.y0]
    assert stripes
    found = run_all(program, random_input(graph)).detections
    assert found is not None and len(found.records)
