"""Detection heads on every device, byte for byte: random ones, the extremes, compiled networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detectors import detector, random_input
from devices import board, run_all
from heads import random_head
from programs import detection_program

from falconet.compiler import compile_graph
from falconet.isa import preset
from falconet.runtime.detections import Options
from falconet_sim.compare.hazards import required_waits

pytestmark = pytest.mark.timeout(900)

PRESETS = ("tiny", "pynq-z2")
MODES = ("greedy", "soft_linear", "soft_gaussian", "diou")


def run_head(arch: str, rng: np.random.Generator, options: Options | None = None, **head: Any
             ) -> None:
    """A random head with every instruction starting as early as it may."""
    machine = preset(arch)
    detect, tensors = random_head(rng, machine, **head)
    serial, inputs = detection_program(machine, detect, tensors)
    program, _ = detection_program(machine, detect, tensors, waits=required_waits(serial, inputs))
    result = run_all(program, inputs, options)
    assert result.detections is not None and result.busy["DETECT"] > 0


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("form, grid, objectness, points", [
    (0, 0, False, 5), (0, 1, True, 0), (1, 0, False, 1), (1, 1, True, 5),
])
@pytest.mark.parametrize("mode", MODES)
def test_random_heads(
    arch: str, mode: str, form: int, grid: int, objectness: bool, points: int
) -> None:
    rng = np.random.default_rng([MODES.index(mode), form, grid])
    for k in range(4):
        options = [None, Options(score=0.03, iou=0.25, sigma=0.7, maximum=2)][k % 2]
        run_head(
            arch, rng, options, mode=mode, form=form, grid=grid, objectness=objectness,
            points=points, levels=int(rng.integers(1, 4)), classes=int(rng.choice([1, 2, 20])),
            anchors=int(rng.choice([1, 2, 9])), hits=float(rng.choice([0.01, 0.05, 0.3])),
            wild=bool(rng.integers(2)),
        )


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("bins, softmax", [(16, False), (0, True), (7, True), (31, False)])
def test_random_groups(arch: str, bins: int, softmax: bool) -> None:
    """Distances of bins and scores of a softmax, with all else that a head may have."""
    rng = np.random.default_rng([bins, softmax])
    for k in range(4):
        options = [None, Options(score=0.05, iou=0.25, maximum=2)][k % 2]
        run_head(
            arch, rng, options, mode=MODES[k], form=int(bins > 0), grid=k % 2, bins=bins,
            softmax=softmax, objectness=bool(rng.integers(2)), points=[0, 3][k % 2],
            levels=int(rng.integers(1, 4)), classes=int(rng.choice([2, 20, 90])),
            anchors=int(rng.choice([1, 2, 3])), hits=float(rng.choice([0.01, 0.05, 0.3])),
            wild=bool(rng.integers(2)), size=(24, 40),
        )


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hits, options", [
    (0.0, None),
    (1.0, None),
    (1.0, Options(score=0.0, iou=1.0, sigma=1000.0)),
    (0.3, Options(iou=0.0, sigma=0.001)),
    (0.5, Options(score=1.0)),
], ids=["none", "all", "all stay", "overlap is gone", "score 1"])
def test_extremes(arch: str, mode: str, hits: float, options: Options | None) -> None:
    """No candidates; more than there is room for; none and all suppressed."""
    run_head(arch, np.random.default_rng(11), options, mode=mode, classes=3, anchors=3, hits=hits,
             levels=3, size=(64, 64))


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("mode", MODES)
def test_compiled_detectors(arch: str, mode: str) -> None:
    graph = detector(MODES.index(mode), nms=mode, points=5, score_threshold=0.3)
    program = compile_graph(graph, preset(arch))
    for seed in range(2):
        result = run_all(program, random_input(graph, seed))
        assert result.detections is not None


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("head", [
    {"box": "dfl", "anchors": 1, "classes": 20}, {"box": "gfl", "score_threshold": 0.2},
    {"score": "softmax", "background": "zero", "classes": 20, "score_threshold": 0.15},
    {"box": "yolov3", "objectness": True, "offset": 0}, {"box": "blaze", "points": 6},
], ids=["dfl", "gfl", "softmax", "yolov3", "blaze"])
def test_compiled_heads_of_today(arch: str, head: dict[str, Any]) -> None:
    program = compile_graph(detector(7, maximum=20, **head), preset(arch))
    result = run_all(program, random_input(detector(7, **head)))
    assert result.detections is not None and len(result.detections.records) > 2


def test_candidates_without_room_are_counted() -> None:
    """`tiny` looks at 64."""
    graph = detector(3, size=(64, 48), classes=1, maximum=40)
    graph.meta["preprocess"] = {"fit": "stretch", "size": [64, 48], "colour": "RGB",
                                "mean": [120] * 3, "std": [60] * 3}
    program = compile_graph(graph, preset("tiny"), "many")
    device = board(program.arch)
    device.load(program)
    photograph = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    seen = device.see(photograph, Options(score=0.0))
    candidates = 2 * (16 * 12 + 8 * 6)  # all anchors
    assert seen.result.detections is not None and len(seen.objects) <= 40
    assert (seen.result.detections.candidates, seen.dropped) == (candidates, candidates - 64)
    assert device.see(photograph, Options(score=1.0)).dropped == 0
