"""SCAN, SUPPRESS and MARK: the simulator against the golden model, against numbers worked out by
hand, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from heads import head_of, random_head
from programs import Assembler, detection_program, table_rows

from falconet.isa import (
    Arch,
    Dst,
    FalconetError,
    Load,
    Mark,
    Program,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    preset,
)
from falconet.runtime.detections import Detections, Options
from falconet_sim.compare.hazards import check_hazards, required_waits
from falconet_sim.golden.detect import detect_all
from falconet_sim.iss.machine import Step
from falconet_sim.iss.simulator import IssDevice

TINY = preset("tiny")
MODES = ("greedy", "soft_linear", "soft_gaussian", "diou")

pytestmark = pytest.mark.timeout(120)


def check(arch: Arch, detect: dict[str, Any], tensors: dict[str, Any],
          options: Options | None = None) -> Detections:
    """The simulator's boxes, which are the golden model's."""
    program, inputs = detection_program(arch, detect, tensors)
    program = Program.from_bytes(program.to_bytes())
    found = IssDevice(program).run(inputs, options).detections
    assert found is not None
    assert found == detect_all(tensors, head_of(detect), options, arch)
    return found


def random_options(rng: np.random.Generator, detect: dict[str, Any]) -> Options:
    return Options(
        score=float(rng.choice([0.0, 0.05, 0.6, 1.0])), iou=float(rng.choice([0.0, 0.3, 1.0])),
        sigma=float(rng.uniform(0.1, 2)), maximum=int(rng.integers(1, detect["limit"] + 1)),
    )


@pytest.mark.parametrize("form, grid", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("objectness", [False, True])
@pytest.mark.parametrize("points", [0, 1, 5])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
def test_random_heads(name: str, mode: str, points: int, objectness: bool, form: int, grid: int
                      ) -> None:
    arch = preset(name)
    rng = np.random.default_rng([form, grid, objectness, points, MODES.index(mode), arch.lanes])
    n = 0
    for wild in (False, True):
        detect, tensors = random_head(
            rng, arch, levels=int(rng.integers(1, 5)), classes=int(rng.integers(1, 21)),
            anchors=int(rng.integers(1, 10)), points=points, objectness=objectness, form=form,
            grid=grid, mode=mode, hits=0.3, wild=wild,
        )
        n += len(check(arch, detect, tensors).records)
        check(arch, detect, tensors, random_options(rng, detect))
    assert n


@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
def test_most_anchors_levels_and_classes(name: str) -> None:
    arch = preset(name)
    rng = np.random.default_rng(1)
    for levels, anchors, classes in (8, 1, 2), (1, 16, 9), (1, 2, 255), (1, 16, 1):
        detect, tensors = random_head(
            rng, arch, levels=levels, anchors=anchors, classes=classes, objectness=True, points=2,
            hits=0.5, size=(24, 24),
        )
        detect["agnostic"], detect["iou"] = False, 1.0
        found = check(arch, detect, tensors, Options(score=0.0))
        assert found.candidates == anchors * classes * sum(
            level["height"] * level["width"] for level in detect["levels"]
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("levels", [1, 3])
def test_more_candidates_than_room(mode: str, levels: int) -> None:
    rng = np.random.default_rng(levels)
    detect, tensors = random_head(rng, TINY, levels=levels, mode=mode, hits=0.9, size=(63, 63))
    detect["limit"] = TINY.candidates
    found = check(TINY, detect, tensors)
    assert found.candidates > 3 * TINY.candidates
    assert len(check(TINY, detect, tensors, Options(iou=1.0)).records) <= TINY.candidates


@pytest.mark.parametrize("mode", MODES)
def test_no_candidates(mode: str) -> None:
    detect, tensors = random_head(np.random.default_rng(5), TINY, mode=mode, hits=0, points=5)
    found = check(TINY, detect, tensors)
    assert found.candidates == 0 and found.landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_ties_are_broken_by_place(mode: str, agnostic: bool) -> None:
    """All scores equal: more candidates than room, kept by level, row, column, anchor, class."""
    rng = np.random.default_rng(7)
    detect, tensors = random_head(rng, TINY, levels=2, anchors=3, classes=2, mode=mode, points=4)
    detect |= {"agnostic": agnostic, "limit": 32, "iou": 1.0}
    for level in detect["levels"]:
        tensors[level["scores"]][:] = 127
    found = check(TINY, detect, tensors, Options(score=0.0))
    assert found.candidates > TINY.candidates
    if mode != "soft_gaussian":
        place = [(r["anchor"] >> 4, r["y"], r["x"], r["anchor"] & 15, r["label"])
                 for r in found.records]
        assert place == sorted(place) and len(place) == 32


def distances(boxes: list[tuple[int, int, int, int]], iou: float, mode: str = "greedy"
              ) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of cells, one box each around (0, 0): distances in 1/16 pixel, scores falling."""
    identity = [max(0, q) for q in range(-128, 128)]
    level = {
        "scores": "s", "boxes": "b", "objectness": "", "landmarks": "", "options": 0, "n_class": 1,
        "height": 1, "width": len(boxes), "stride": [0, 0], "grid": 0, "form": 1,
        "centre_shift": 1, "size_shift": 1, "mark_shift": 1, "clip": [-32768, 32767] * 2,
        "anchors": [[2, 2, 0, 0]], "score": [256 * (q + 128) for q in range(-128, 128)],
        "objectness_table": [], "centre": [0] * 256, "size": identity, "mark": [],
    }
    detect = {"mode": mode, "agnostic": False, "limit": 16, "points": 0, "score": 0.25, "iou": iou,
              "sigma": 0.5, "rows": 0, "output": 0,
              "weights": 0 if mode == "soft_gaussian" else -1, "levels": [level]}
    scores = 100 - np.arange(len(boxes))
    return detect, {"s": scores.astype(np.int8).reshape(1, 1, -1),
                    "b": np.array(boxes, np.int8).T.reshape(4, 1, -1)}


def test_overlap_equal_to_the_threshold_stays() -> None:
    """A square of 8 x 8 and its half: IoU is 1/2 exactly."""
    boxes = [(4, 4, 4, 4), (4, 4, 0, 4)]
    assert len(check(TINY, *distances(boxes, 0.5)).records) == 2
    detect, tensors = distances(boxes, 0.5 - 2**-16)
    (left,) = check(TINY, detect, tensors).records
    assert tuple(left) == (-4, -4, 4, 4, 256 * 228, 0, 0, 0, 0)


def test_scores_decay_as_by_hand() -> None:
    boxes = [(4, 4, 4, 4), (4, 4, 0, 4)]
    _, second = check(TINY, *distances(boxes, 0.25, "soft_linear")).records
    assert second["score"] == (256 * 227 * 32768 + 32768) >> 16
    _, second = check(TINY, *distances(boxes, 0.25, "soft_gaussian")).records
    assert second["score"] == (256 * 227 * round(65536 * np.exp(-0.5)) + 32768) >> 16
    detect, tensors = distances(boxes, 0.25, "soft_linear")
    decayed = (256 * 227 * 32768 + 32768) >> 16
    for least, n in (decayed, 2), (decayed + 1, 1):
        assert len(check(TINY, detect, tensors, Options(score=least / 65536)).records) == n


def test_an_offset_saturates_to_18_bits() -> None:
    """Far to the left of a cell far to the right: 131070 - 131072."""
    detect, tensors = distances([(0, 0, 0, 0)] * 3, 1.0)
    least = [-32768] * 256
    detect["levels"][0] |= {"form": 0, "stride": [65535, 0], "anchors": [[65535, 65535, 0, 0]],
                            "centre": least, "mark": least, "landmarks": "m"}
    detect |= {"points": 1, "rows": 1}
    tensors["m"] = np.zeros((2, 1, 3), np.int8)
    found = check(TINY, detect, tensors)
    assert tuple(found.records[2])[:4] == (-2, -32768, -2, -32768)
    assert found.landmarks[2].tolist() == [[-2, -32768]]


def test_distance_of_centres_counts_in_diou() -> None:
    """IoU 1/2, centres 2 apart: d2/c2 = 16 / 512 = 1/32."""
    boxes = [(4, 4, 4, 4), (4, 4, 0, 4)]
    at = 1 / 2 - 1 / 32
    assert len(check(TINY, *distances(boxes, at, "diou")).records) == 2
    assert len(check(TINY, *distances(boxes, at - 2**-16, "diou")).records) == 1


def test_boxes_without_area_never_overlap() -> None:
    assert len(check(TINY, *distances([(0, 0, 0, 0)] * 3, 0.0)).records) == 3


@pytest.mark.parametrize("seed", range(6))
def test_waits(seed: int) -> None:
    """Serial programs pass; so do the smallest waits that suffice, but hardly less than them."""
    rng = np.random.default_rng(seed)
    arch = preset(("tiny", "pynq-z2")[seed % 2])
    detect, tensors = random_head(rng, arch, levels=3, points=5, objectness=bool(seed & 1),
                                  mode=MODES[seed % 4])
    serial, inputs = detection_program(arch, detect, tensors)
    check_hazards(serial, inputs)
    waits = required_waits(serial, inputs)
    program, _ = detection_program(arch, detect, tensors, waits=waits)
    check_hazards(program, inputs)
    assert IssDevice(program).run(inputs).detections == IssDevice(serial).run(inputs).detections
    refused = 0
    rows = [(i, e) for i, row in enumerate(waits) for e, n in enumerate(row) if n]
    for i, e in rows:
        less = [list(row) for row in waits]
        less[i][e] -= 1
        try:
            check_hazards(detection_program(arch, detect, tensors, waits=less)[0], inputs)
        except FalconetError as error:
            assert "must wait for" in str(error)
            refused += 1
    assert refused >= len(rows) // 2  # the others are implied by what else was waited for


def test_what_a_scan_touches() -> None:
    detect, tensors = random_head(np.random.default_rng(0), TINY, levels=1, classes=5, anchors=3,
                                  objectness=True, hits=0)
    program, inputs = detection_program(TINY, detect, tensors)
    steps: list[Step] = []
    IssDevice(program, observer=steps.append).run(inputs)
    (scan,) = [s for s in steps if isinstance(s.instruction, Scan)]
    area = detect["levels"][0]["height"] * detect["levels"][0]["width"]
    touched = {m: {int(a) for access in scan.reads if access.memory is m for a in access.address}
               for m in (Dst.SCRATCHPAD, Dst.DETECT)}
    assert touched[Dst.SCRATCHPAD] == set(range(area * (2 + 2 + 1)))
    assert touched[Dst.DETECT] == {2 * r + k for r in (*range(131), 144) for k in (0, 1)}
    assert [len(a.address) for a in scan.writes if a.memory is Src.RECORDS] == [2 * 65]


def test_records_that_nothing_wrote() -> None:
    asm = Assembler(TINY)
    asm.output("y", 2)
    asm.add(Store(segment=Segment.OUTPUT, src=Src.RECORDS, base=4, run=2))
    with pytest.raises(FalconetError, match="reads word 4 of RECORDS, which nothing has written"):
        check_hazards(asm.program(), {})


SCAN = Scan(first=1, x_hi=1, y_hi=1)
TABLE = Load(segment=Segment.INPUT, dst=Dst.DETECT, base=2 * Arch.TABLE_OPTIONS, run=2)


@pytest.mark.parametrize("instructions, message", [
    ([SCAN.replace(n_channels=17)], r"instruction 0 \(SCAN.*n_channels=17 is more than 16"),
    ([SCAN.replace(n_b=2)], "n_b=2, but n_channels=1 are in 1"),
    ([SCAN.replace(x_lo=2)], "x_lo=2 is more than x_hi=1"),
    ([SCAN.replace(y_lo=2)], "y_lo=2 is more than y_hi=1"),
    ([SCAN.replace(first=0)], "the first SCAN needs first=1"),
    ([SCAN, Suppress(), SCAN.replace(first=0)], "instruction 2 .*after SUPPRESS a SCAN needs fir"),
    ([SCAN.replace(n_x=3, stride_x=65535)], None),
    ([SCAN.replace(n_x=4, stride_x=65535)], "a centre of x = 196605 does not fit 18 bits"),
    ([SCAN.replace(n_y=4, stride_y=65535)], "a centre of y = 196605 does not fit"),
    ([SCAN.replace(y0=2, n_y=2, stride_y=65535)], "a centre of y = 196605 does not fit"),
    ([SCAN.replace(y0=4095)], None),
    ([SCAN.replace(y0=4095, n_y=2)], "y0=4095 and n_y=2 are more than 4096 rows"),
    ([SCAN.replace(score_base=4096)], "word 4096 of SCRATCHPAD"),
    ([SCAN.replace(box_base=4095, n_x=2)], "word 4096 of SCRATCHPAD"),
    ([SCAN.replace(obj_base=4096)], None),
    ([SCAN.replace(obj_base=4096, objectness=1)], "word 4096 of SCRATCHPAD"),
    ([TABLE, SCAN], r"row 144 of DETECT: q_min=257.* load the options"),
    ([Suppress()], "there are no records; a SCAN"),
    ([SCAN, Suppress(), Suppress()], "instruction 2 .*there are no records"),
    ([SCAN, Suppress(limit=65)], "limit=65 is more than the 64 candidates"),
    ([SCAN, Suppress(limit=32), Mark(limit=32, n_values=8)], None),
    ([SCAN, Suppress(limit=32), Mark(limit=32, n_values=9)], "32 boxes with 2 rows"),
    ([SCAN, Suppress(limit=8), Mark(limit=9)], "limit=9, but SUPPRESS had 8"),
    ([SCAN, Mark()], "limit=1, but SUPPRESS had 0"),
    ([SCAN, Suppress(), Mark(base=4096)], "word 4096 of SCRATCHPAD"),
    ([SCAN, Suppress(), Mark(base=4096, level=1)], None),
    ([Load(segment=Segment.INPUT, dst=Dst.DETECT, base=290)], "word 290 of DETECT does not exist"),
    ([Store(segment=Segment.OUTPUT, src=Src.RECORDS, base=130)], "word 130 of RECORDS does not"),
])
def test_refusals(instructions: list[Any], message: str | None) -> None:
    asm = Assembler(TINY)
    at = asm.input("x", 2)
    asm.segments["output"] = 128
    for ins in instructions:
        asm.add(ins.replace(offset=at) if ins is TABLE else ins)
    inputs = {"x": np.ones((TINY.lanes, 1, 2), np.int8)}
    device = IssDevice(asm.program())
    if message is None:
        device.run(inputs)
        return
    with pytest.raises(FalconetError, match=message):
        device.run(inputs)


def test_a_lane_of_landmarks_that_does_not_exist() -> None:
    asm = Assembler(TINY)
    level = {"anchors": [[1, 1, 0, 0]], "width": 1}
    rows = bytearray(table_rows(TINY, level, [], 1))
    rows[-2] = TINY.lanes
    asm.constant(bytes(rows), Dst.DETECT)
    asm.add(SCAN)
    asm.add(Suppress())
    asm.add(Mark())
    with pytest.raises(FalconetError, match="lane of landmarks is not below 8"):
        IssDevice(asm.program()).run({})


def test_options_outside_of_the_segment() -> None:
    detect, tensors = random_head(np.random.default_rng(0), TINY)
    program, inputs = detection_program(TINY, detect, tensors)
    size = program.header["segments"]["input"]
    program.header["detect"]["levels"][1]["options"] = size - 8
    with pytest.raises(FalconetError, match=f"detect: options: 16 bytes at {size - 8} are not in"):
        IssDevice(program).run(inputs)
