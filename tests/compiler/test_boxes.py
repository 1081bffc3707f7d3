"""The integers of a head: against values worked out by hand and against plain Python."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from detectors import BOXES, detector

from falconet.compiler.boxes import describe
from falconet.compiler.graph import Graph
from falconet.isa import Arch, preset

ARCH = preset("pynq-z2")


def scaled(graph: Graph, role: str, scale: float, zero_point: int) -> None:
    """Give the tensors of a role another quantisation."""
    for level in graph.meta["postprocess"]["levels"]:
        name = level[role]
        graph.tensors[name] = dataclasses.replace(graph.tensors[name], scale=scale,
                                                  zero_point=zero_point)


def described(graph: Graph, arch: Arch = ARCH) -> dict[str, Any]:
    detect = describe(graph, arch)
    assert detect is not None
    return detect


def sigmoid(r: float) -> float:
    return 1 / (1 + math.exp(-r))


def test_by_hand() -> None:
    """r = (q - 3) / 64 for boxes; variances 0.1 and 0.2: |0.1 * r| < 0.205, so 15 bits of shift;
    exp(0.2 * 124 / 64) = 1.473, so 15 bits as well."""
    graph = detector(box="ssd")
    scaled(graph, "box", 1 / 64, 3)
    level = described(graph)["levels"][0]
    assert (level["centre_shift"], level["size_shift"]) == (15, 15)
    assert level["centre"][3 + 128] == 0 and level["centre"][67 + 128] == round(0.1 * 32768) == 3277
    assert level["centre"][0] == -6707 and level["size"][3 + 128] == 32768
    assert level["size"][255] == round(math.exp(0.3875) * 32768) == 48277
    assert (level["mark"], level["mark_shift"], level["objectness_table"]) == ([], 1, [])


def test_scores_by_hand() -> None:
    graph = detector(objectness=True)
    scaled(graph, "class", 1.0, 0)
    scaled(graph, "objectness", 0.5, 10)
    level = described(graph)["levels"][1]
    scores, objects = level["score"], level["objectness_table"]
    assert scores[128] == 32768 and scores[129] == 47911 and scores[127] == 65536 - 47911
    assert scores[0] == 0 and scores[255] == 65535
    assert objects[138] == 32768 and objects[140] == scores[129]
    assert scores == sorted(scores) and objects == sorted(objects)


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 15), (5.0, 15), (8.0, 14), (130.0, 10)])
def test_the_shift_is_the_largest_that_fits(scale: float, shift: int) -> None:
    """0.1 * 128 * scale in 16 bits, signed."""
    graph = detector(box="ssd")
    scaled(graph, "box", scale / 64, 0)
    level = described(graph)["levels"][0]
    assert level["centre_shift"] == shift
    assert max(map(abs, level["centre"])) <= 32768
    if shift < 15:
        assert max(map(abs, level["centre"])) > 16383


def test_what_does_not_fit_is_clamped() -> None:
    graph = detector(box="ssd")
    scaled(graph, "box", 10000.0, 0)
    level = described(graph)["levels"][0]
    assert (level["centre_shift"], level["size_shift"]) == (1, 1)
    assert level["centre"][0] == -32768 and level["centre"][255] == 32767
    assert level["size"][128] == 2 and level["size"][255] == 65535 and level["size"][0] == 0


@pytest.mark.parametrize("box", sorted(BOXES))
@pytest.mark.parametrize(("scale", "zero"), [(0.02, -7), (0.06, 40), (0.004, 127)])
def test_tables_are_the_functions(box: str, scale: float, zero: int) -> None:
    centre, size, mark = {
        "ssd": (lambda r: 0.1 * r, lambda r: math.exp(0.2 * r), lambda r: 0.1 * r),
        "grid": (lambda r: r, math.exp, lambda r: r),
        "yolo": (lambda r: 2 * sigmoid(r) - 0.5, lambda r: 4 * sigmoid(r) ** 2, lambda r: r),
        "linear": (None, lambda r: max(r, 0), lambda r: r),
        "relu": (None, lambda r: max(r, 0), lambda r: r),
        "exp": (None, math.exp, lambda r: r),
    }[box]
    graph = detector(box=box, points=3)
    for role in ("box", "landmark"):
        scaled(graph, role, scale, zero)
    level = described(graph)["levels"][1]
    for key, function in (("centre", centre), ("size", size), ("mark", mark)):
        if function is None:
            assert level[key] == []
            continue
        shift = level[f"{key}_shift"]
        for q in range(-128, 128):
            exact = function((q - zero) * scale) * 2**shift
            assert abs(level[key][q + 128] - exact) <= 0.5 + 1e-9
        top = 65536 if key == "size" else 32768
        low, high = min(level[key]), max(level[key])
        assert shift == 15 or max(high, -low) * 2 >= top - 2
        assert low >= 0 or key != "size"


def test_places() -> None:
    graph = detector(box="ssd", levels=2)
    level = graph.meta["postprocess"]["levels"][1]
    level.update(stride=[16, 8.5], anchors=[[10, 20.25], [0.5, 100]])
    found = described(graph)["levels"][1]
    assert found["stride"] == [136, 256]
    assert found["anchors"] == [[160, 324, 68, 128], [8, 1600, 68, 128]]
    assert (found["grid"], found["form"], found["n_class"]) == (0, 0, 3)
    graph.meta["postprocess"]["offset"] = 0
    assert described(graph)["levels"][1]["anchors"][0] == [160, 324, 0, 0]


@pytest.mark.parametrize(("box", "grid", "form"), [("grid", 1, 0), ("linear", 1, 1)])
def test_sizes_in_strides(box: str, grid: int, form: int) -> None:
    graph = detector(box=box, anchors=1, size=(32, 48), clip=True)
    detect = described(graph)
    level = detect["levels"][1]
    assert (level["grid"], level["form"]) == (grid, form)
    assert level["anchors"] == [[128, 128, 64, 64]] and level["stride"] == [128, 128]
    assert level["clip"] == [0, 48 * 16, 0, 32 * 16]


def test_names_and_options() -> None:
    graph = detector(points=5, objectness=True, nms="soft_gaussian", agnostic=True, maximum=7,
                     score_threshold=0.25, nms_threshold=0.6, sigma=0.3)
    detect = described(graph)
    assert [detect[k] for k in ("mode", "agnostic", "limit", "points", "rows", "score", "iou",
                                "sigma")] == ["soft_gaussian", True, 7, 5, 2, 0.25, 0.6, 0.3]
    for level, given in zip(detect["levels"], graph.meta["postprocess"]["levels"]):
        assert [level[k] for k in ("scores", "boxes", "objectness", "landmarks")] == [
            given[k] for k in ("class", "box", "objectness", "landmark")]
        assert level["clip"] == [-32768, 32767, -32768, 32767]


def test_no_head() -> None:
    graph = detector()
    for post in (None, {"kind": "classification", "output": "y"}):
        graph.meta = {"postprocess": post}
        assert describe(graph, ARCH) is None
    graph.meta = {}
    assert describe(graph, ARCH) is None
