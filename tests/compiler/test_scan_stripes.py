"""Levels that are larger than the scratchpad: scanned stripe by stripe as their rows appear."""

from __future__ import annotations

from typing import Any

import pytest
from detectors import detector, random_input

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.isa import FalconetError, Program, Scan, preset
from falconet.runtime.device import RunResult
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

pytestmark = pytest.mark.timeout(240)
TINY = preset("tiny")

LARGE: dict[str, dict[str, Any]] = {
    "plain": {"size": (256, 256), "classes": 20, "anchors": 1},
    "objectness": {"size": (256, 256), "levels": 3, "classes": 20, "anchors": 3, "box": "yolo",
                   "objectness": True},
    "bins": {"size": (256, 192), "classes": 20, "anchors": 1, "box": "dfl"},
    "softmax": {"size": (192, 256), "classes": 20, "anchors": 2, "score": "softmax",
                "background": "zero", "score_threshold": 0.15},
    "landmarks": {"size": (256, 256), "classes": 24, "anchors": 1, "points": 1, "maximum": 20},
    "all levels": {"size": (256, 512), "levels": 2, "classes": 80, "anchors": 1,
                   "nms": "soft_gaussian", "sigma": 0.4},
}
"""Of each, level 0 has more bytes than the 32 KB of `tiny`."""


def run(graph: Graph) -> tuple[Program, RunResult]:
    """Golden model and simulator, which agree; no instruction starts too early."""
    program = Program.from_bytes(compile_graph(graph, TINY).to_bytes())
    inputs = random_input(graph)
    golden, iss = GoldenDevice(program).run(inputs), IssDevice(program).run(inputs)
    assert golden.detections is not None and golden.detections == iss.detections
    check_hazards(program, inputs)
    return program, golden


def scans(program: Program) -> dict[int, list[Scan]]:
    """In program order, by their level."""
    found: dict[int, list[Scan]] = {}
    for ins in program.instructions():
        if isinstance(ins, Scan):
            found.setdefault(ins.level, []).append(ins)
    return found


@pytest.mark.parametrize("head", sorted(LARGE))
def test_a_level_larger_than_the_scratchpad_is_scanned_in_stripes(head: str) -> None:
    graph = detector(len(head), **LARGE[head])
    level = graph.meta["postprocess"]["levels"][0]
    bytes_of = {k: graph.tensors[level[k]].shape for k in ("class", "box")}
    assert sum(c * h * w for c, h, w in bytes_of.values()) > TINY.scratchpad_words * TINY.lanes
    program, result = run(graph)
    found = scans(program)
    assert result.detections is not None and len(result.detections.records) > 0
    assert len(found[0]) > 1
    for number, described in enumerate(program.header["detect"]["levels"]):
        rows = [y for ins in found[number] for y in range(ins.y0, ins.y0 + ins.n_y)]
        assert rows == list(range(described["height"]))  # each once, in the order they appear
    every = [i for i in program.instructions() if isinstance(i, Scan)]
    assert [i.first for i in every] == [1] + [0] * (len(every) - 1)


def test_levels_that_fit_are_scanned_whole() -> None:
    program, _ = run(detector(1, size=(64, 64), levels=3))
    found = scans(program)
    heights = [level["height"] for level in program.header["detect"]["levels"]]
    assert [[(i.y0, i.n_y) for i in found[k]] for k in range(3)] == [[(0, h)] for h in heights]


def test_landmarks_must_fit_whole() -> None:
    """MARK reads them at random places."""
    graph = detector(1, size=(256, 256), levels=1, classes=2, anchors=1, points=7, maximum=8)
    with pytest.raises(FalconetError, match=(
            "node 'mark 0': the rows that must be on chip while it works take 8192 words, and the "
            r"scratchpad of 'tiny' holds 4096; .*or compile with '--post host'")):
        compile_graph(graph, TINY)
