"""Detection where numbers are as large as they get, on every device, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from detect_program import detection_program
from devices import board, run_all, same_as_simulator
from heads import random_head

from falconet.isa import Program, preset
from falconet.runtime.detections import Options

pytestmark = pytest.mark.timeout(900)

PRESETS = ("tiny", "pynq-z2")
MODES = ("greedy", "soft_linear", "soft_gaussian", "diou")
Rng = np.random.Generator


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("far", [0x8000, 0x7FFF, 0xFFFF])
def test_addresses_wrap(arch: str, far: int) -> None:
    """Bases of no word of the memory: with an anchor's offset, modulo 2**16, one that there is."""
    machine = preset(arch)
    detect, tensors = random_head(np.random.default_rng(far), machine, objectness=True, points=5,
                                  hits=0.2, levels=2, size=(64, 40))
    program, inputs = detection_program(machine, detect, tensors, far=far)
    found = run_all(program, inputs).detections
    assert found is not None and len(found.records)


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("cells", [(1500, 1), (1, 1500), (300, 5), (5, 300)])
@pytest.mark.parametrize("hits", [0.02, 0.1])
def test_ties_over_many_cells(arch: str, cells: tuple[int, int], hits: float) -> None:
    """Rows and columns of many bits decide which of equal scores is better, and which stay."""
    rng = np.random.default_rng([*cells, int(100 * hits)])
    machine = preset(arch)
    detect, tensors = random_head(rng, machine, levels=1, anchors=2, hits=hits,
                                  size=(8 * cells[0], 8 * cells[1]))
    detect["levels"][0] |= {"stride": [16, 16], "clip": [-32768, 32767] * 2}
    scores = tensors["scores0"]
    scores[scores > scores.min()] |= 15
    run_all(*detection_program(machine, detect, tensors), Options(iou=0.9))


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [1, -1])
def test_labels_of_one_bit(arch: str, mode: str, step: int) -> None:
    """Of two boxes that overlap the labels differ in one of eight bits."""
    machine = preset(arch)
    detect, tensors = random_head(np.random.default_rng(5), machine, classes=255, anchors=1,
                                  levels=1, hits=0, size=(16, 24), mode=mode)
    detect |= {"agnostic": False, "limit": machine.candidates}
    labels = [0, *(1 << bit for bit in range(8))]
    for i, label in enumerate(labels[::step]):
        tensors["scores0"][label, ::2] = 127 - i
    found = run_all(*detection_program(machine, detect, tensors), Options(iou=0.0)).detections
    assert found is not None and set(found.records["label"].tolist()) == set(labels)


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("points", [17, 31])
def test_many_landmarks(arch: str, points: int) -> None:
    """As many coordinates as an instruction can name, 63, but for one; and zeroes up to the row."""
    machine = preset(arch)
    detect, tensors = random_head(np.random.default_rng(points), machine, points=points,
                                  levels=2, hits=1.0, size=(32, 32))
    program, inputs = detection_program(machine, detect | {"iou": 1.0}, tensors)
    found = run_all(program, inputs).detections
    assert found is not None and len(found.records) == detect["limit"]  # so all rows are written
    words = (1 + detect["limit"] * (1 + detect["rows"])) * machine.row_words
    rows = {"name": "rows", "shape": [machine.lanes, 1, words], "scale": 1.0, "zero_point": 0,
            "offset": program.header["detect"]["output"], "blocks": 1,
            "lane_of": list(range(machine.lanes))}
    raw = Program(machine, program.code, program.header | {"outputs": [rows]})
    same_as_simulator(board(machine), raw, inputs)


SIZES: dict[str, Callable[[Rng], Any]] = {
    "quarters": lambda rng: 64 * rng.integers(0, 5, 256),  # many equal boxes and IoUs of 1/2
    "some": lambda rng: rng.integers(0, 500, 256),
    "lines": lambda rng: rng.choice([0, 1, 2, 20000], 256),
    "large": lambda rng: rng.choice([0, 1, 16384, 32767, 32768, 65535], 256),
    "any": lambda rng: rng.integers(0, 65536, 256) >> rng.integers(0, 17, 256),
}
"""Distances of centres from edges, in 1/16 pixel."""


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_boxes_of_all_sizes(arch: str, mode: str, sizes: str) -> None:
    """Of two centres, up to the whole range, with thresholds from nothing to all."""
    rng = np.random.default_rng([MODES.index(mode), *sizes.encode()])
    machine = preset(arch)
    for k in range(6):
        detect, tensors = random_head(rng, machine, form=1, classes=1 + k % 2, levels=1,
                                      hits=0.5, size=(40, 32), mode=mode)
        level = detect["levels"][0]
        # extents are 2 / 2**1 of the table's entry; centres those of the anchors
        centres = rng.integers(-300, 300, (2, 2)) * rng.choice([0, 1, 100])
        level |= {"stride": [0, 0], "size_shift": 1, "size": SIZES[sizes](rng).tolist(),
                  "clip": [-32768, 32767] * 2, "anchors": [[2, 2, *c] for c in centres.tolist()]}
        options = Options(score=[0.01, 0.2][k % 2], iou=[0.0, 0.25, 0.45, 0.5, 0.03, 0.9][k],
                          sigma=[0.1, 0.5, 2.0][k % 3])
        run_all(*detection_program(machine, detect, tensors), options)


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("shift", range(1, 32))
def test_shifts_of_all_sizes(arch: str, shift: int) -> None:
    """Of sizes, centres and landmarks: products of 32 bits and two signs."""
    rng = np.random.default_rng(shift)
    detect, tensors = random_head(rng, preset(arch), points=3, levels=1, hits=0.2, size=(40, 32))
    level = detect["levels"][0]
    most = min(32767, (1 << shift) - 1)  # offsets of no more than 65,535
    for name, least in ("centre", -most), ("mark", -most), ("size", 0):
        level[name] = rng.integers(least, most + 1, 256).tolist()
        level[f"{name}_shift"] = shift
    sizes = rng.integers(1 << 15, 1 << 16, (2, 2)).tolist()
    level |= {"clip": [-32768, 32767] * 2, "anchors": [[*size, 0, 0] for size in sizes]}
    found = run_all(*detection_program(preset(arch), detect, tensors)).detections
    assert found is not None and len(found.records)


@pytest.mark.parametrize("arch", PRESETS)
@pytest.mark.parametrize("corner", [(-32768, 32767), (32767, -32768)])
def test_landmarks_at_the_ends(arch: str, corner: tuple[int, int]) -> None:
    """Around the least and the greatest number of a coordinate."""
    rng = np.random.default_rng(3)
    detect, tensors = random_head(rng, preset(arch), points=8, levels=1, hits=1.0, size=(40, 32))
    detect["levels"][0] |= {
        "stride": [0, 0], "grid": 0, "mark_shift": 1, "clip": [-32768, 32767] * 2,
        "mark": rng.integers(-40, 41, 256).tolist(), "anchors": [[2, 2, *corner]] * 2,
    }
    run_all(*detection_program(preset(arch), detect | {"iou": 1.0}, tensors))
