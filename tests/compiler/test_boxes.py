"""The integers of a head: against values worked out by hand and against plain Python."""

from __future__ import annotations

import dataclasses
import math

import pytest
from detectors import BOXES, detector

from falconet.compiler.detection.tables import describe
from falconet.compiler.graph import Graph
from falconet.isa import Arch, preset
from falconet.isa.program.forms import Detect

ARCH = preset("pynq-z2")


def scaled(graph: Graph, role: str, scale: float, zero_point: int) -> None:
    """Give the tensors of a role another quantisation."""
    for level in graph.meta["postprocess"]["levels"]:
        name = level[role]
        graph.tensors[name] = dataclasses.replace(graph.tensors[name], scale=scale,
                                                  zero_point=zero_point)


def described(graph: Graph, arch: Arch = ARCH) -> Detect:
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
    level = described(graph).levels[0]
    assert (level.centre_shift, level.size_shift) == (15, 15)
    assert level.centre[3 + 128] == 0 and level.centre[67 + 128] == round(0.1 * 32768) == 3277
    assert level.centre[0] == -6707 and level.size[3 + 128] == 32768
    assert level.size[255] == round(math.exp(0.3875) * 32768) == 48277
    assert (level.mark, level.mark_shift, level.objectness_table) == ((), 1, ())


def test_scores_by_hand() -> None:
    graph = detector(objectness=True)
    scaled(graph, "class", 1.0, 0)
    scaled(graph, "objectness", 0.5, 10)
    level = described(graph).levels[1]
    scores, objects = level.score, level.objectness_table
    assert scores[128] == 32768 and scores[129] == 47911 and scores[127] == 65536 - 47911
    assert scores[0] == 0 and scores[255] == 65535
    assert objects[138] == 32768 and objects[140] == scores[129]
    assert list(scores) == sorted(scores) and list(objects) == sorted(objects)


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 15), (5.0, 15), (8.0, 14), (130.0, 10)])
def test_the_shift_is_the_largest_that_fits(scale: float, shift: int) -> None:
    """0.1 * 128 * scale in 16 bits, signed."""
    graph = detector(box="ssd")
    scaled(graph, "box", scale / 64, 0)
    level = described(graph).levels[0]
    assert level.centre_shift == shift
    assert max(map(abs, level.centre)) <= 32768
    if shift < 15:
        assert max(map(abs, level.centre)) > 16383


def test_what_does_not_fit_is_clamped() -> None:
    graph = detector(box="ssd")
    scaled(graph, "box", 10000.0, 0)
    level = described(graph).levels[0]
    assert (level.centre_shift, level.size_shift) == (1, 1)
    assert level.centre[0] == -32768 and level.centre[255] == 32767
    assert level.size[128] == 2 and level.size[255] == 65535 and level.size[0] == 0


@pytest.mark.parametrize("box", sorted(k for k, v in BOXES.items() if "bins" not in v))
@pytest.mark.parametrize(("scale", "zero"), [(0.02, -7), (0.06, 40), (0.004, 127)])
def test_tables_are_the_functions(box: str, scale: float, zero: int) -> None:
    centre, size, mark = {
        "ssd": (lambda r: 0.1 * r, lambda r: math.exp(0.2 * r), lambda r: 0.1 * r),
        "grid": (lambda r: r, math.exp, lambda r: r),
        "yolo": (lambda r: 2 * sigmoid(r) - 0.5, lambda r: 4 * sigmoid(r) ** 2, lambda r: r),
        "linear": (None, lambda r: max(r, 0), lambda r: r),
        "relu": (None, lambda r: max(r, 0), lambda r: r),
        "exp": (None, math.exp, lambda r: r),
        "yolov3": (lambda r: 1.05 * sigmoid(r) - 0.025, math.exp, lambda r: r),
        "blaze": (lambda r: 0.3 * r, lambda r: max(0.4 * r, 0), lambda r: 0.3 * r),
    }[box]
    graph = detector(box=box, points=3)
    for role in ("box", "landmark"):
        scaled(graph, role, scale, zero)
    level = described(graph).levels[1]
    for key, function in (("centre", centre), ("size", size), ("mark", mark)):
        table = getattr(level, key)
        if function is None:
            assert table == ()
            continue
        shift = getattr(level, f"{key}_shift")
        for q in range(-128, 128):
            exact = function((q - zero) * scale) * 2**shift
            assert abs(table[q + 128] - exact) <= 0.5 + 1e-9
        top = 65536 if key == "size" else 32768
        low, high = min(table), max(table)
        assert shift == 15 or max(high, -low) * 2 >= top - 2
        assert low >= 0 or key != "size"


@pytest.mark.parametrize("scale", [0.001, 0.06, 1.0, 40.0])
def test_exponentials(scale: float) -> None:
    """Of bins and of a softmax over several classes: 65,535 for the largest, whatever the scale."""
    graph = detector(box="dfl", score="softmax", background="zero", classes=4)
    scaled(graph, "box", scale, 17)
    scaled(graph, "class", 2 * scale, -5)
    for level in described(graph).levels:
        assert (level.bins, level.size_shift, level.form, level.centre) == (16, 11, 1, ())
        assert level.background == -5 and level.softmax is not None
        for table, unit in (level.size, scale), (level.softmax, 2 * scale):
            assert table[255] == 65535
            for k, entry in enumerate(reversed(table)):
                assert abs(entry - 65535 * math.exp(-k * unit)) <= 0.5 + 1e-9


def test_a_softmax_of_one_class_is_a_sigmoid() -> None:
    graph = detector(score="softmax", background="zero", classes=1)
    other = detector(classes=1)
    assert described(graph) == described(other)


def test_geometric_scores() -> None:
    graph = detector(score="geometric", objectness=True)
    for role in ("class", "objectness"):
        scaled(graph, role, 0.1, 4)
    level = described(graph).levels[0]
    assert level.score == level.objectness_table
    for q in range(-128, 128):
        exact = min(65535, 65536 * math.sqrt(sigmoid((q - 4) * 0.1)))
        assert abs(level.score[q + 128] - exact) <= 0.5 + 1e-6


def test_places() -> None:
    graph = detector(box="ssd", levels=2)
    level = graph.meta["postprocess"]["levels"][1]
    level.update(stride=[16, 8.5], anchors=[[10, 20.25], [0.5, 100]])
    found = described(graph).levels[1]
    assert found.stride == (136, 256)
    assert found.anchors == ((160, 324, 68, 128), (8, 1600, 68, 128))
    assert (found.grid, found.form, found.n_class) == (0, 0, 3)
    graph.meta["postprocess"]["offset"] = 0
    assert described(graph).levels[1].anchors[0] == (160, 324, 0, 0)


@pytest.mark.parametrize(("box", "grid", "form"), [
    ("grid", 1, 0), ("linear", 1, 1), ("dfl", 1, 1)])
def test_sizes_in_strides(box: str, grid: int, form: int) -> None:
    graph = detector(box=box, anchors=1, size=(32, 48), clip=True)
    detect = described(graph)
    level = detect.levels[1]
    assert (level.grid, level.form) == (grid, form)
    assert level.anchors == ((128, 128, 64, 64),) and level.stride == (128, 128)
    assert level.clip == (0, 48 * 16, 0, 32 * 16)


def test_names_and_options() -> None:
    graph = detector(points=5, objectness=True, nms="soft_gaussian", agnostic=True, maximum=7,
                     score_threshold=0.25, nms_threshold=0.6, sigma=0.3)
    detect = described(graph)
    assert (detect.mode, detect.agnostic, detect.limit) == ("soft_gaussian", True, 7)
    assert (detect.points, detect.rows) == (5, 2)
    assert (detect.score, detect.iou, detect.sigma) == (0.25, 0.6, 0.3)
    for level, given in zip(detect.levels, graph.meta["postprocess"]["levels"]):
        assert [level.scores, level.boxes, level.objectness, level.landmarks] == [
            given[k] for k in ("class", "box", "objectness", "landmark")]
        assert level.clip == (-32768, 32767, -32768, 32767)


def test_no_head() -> None:
    graph = detector()
    for post in (None, {"kind": "classification", "output": "y"}):
        graph.meta = {"postprocess": post}
        assert describe(graph, ARCH) is None
    graph.meta = {}
    assert describe(graph, ARCH) is None
