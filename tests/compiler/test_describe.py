"""A description of a head: what is read, and one sentence with the field for what is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from detectors import detector

from falconet.compiler import compile_graph
from falconet.isa import FalconetError, preset
from falconet.isa.metadata.head import parse

MISSING = object()
DESCRIPTION: dict[str, Any] = {
    "kind": "detection", "labels": ["cat", "dog"], "score": "sigmoid",
    "levels": [
        {"stride": 8, "class": "c0", "box": "b0", "landmark": "l0"},
        {"stride": [8, 16], "anchors": [[10, 20], [30, 40.5]], "class": "c1", "box": "b1",
         "objectness": "o1", "landmark": "l1"},
    ],
    "box": {"kind": "ssd", "variances": [0.1, 0.2]},
}


def changed(path: str, value: Any, of: dict[str, Any] = DESCRIPTION) -> dict[str, Any]:
    """A copy of a description with one entry replaced or removed; numbers are list indices."""
    found = copy.deepcopy(of)
    *way, last = (int(k) if k.isdigit() else k for k in path.split("."))
    at: Any = found
    for key in way:
        at = at[key]
    if value is MISSING:
        del at[last]
    else:
        at[last] = value
    return found


def test_what_is_read() -> None:
    head = parse(DESCRIPTION)
    assert head is not None
    assert head.labels == ("cat", "dog") and head.variances == (0.1, 0.2)
    first, second = head.levels
    assert first.stride == (8, 8) and first.anchors == ((8, 8),)
    assert second.stride == (16, 8) and second.anchors == ((10, 20), (30, 40.5))
    assert head.tensors() == [
        ("postprocess.levels[0].class", "c0"), ("postprocess.levels[0].box", "b0"),
        ("postprocess.levels[0].landmark", "l0"),
        ("postprocess.levels[1].class", "c1"), ("postprocess.levels[1].box", "b1"),
        ("postprocess.levels[1].objectness", "o1"), ("postprocess.levels[1].landmark", "l1")]


def test_defaults() -> None:
    head = parse(DESCRIPTION)
    assert head is not None
    assert (head.offset, head.clip, head.nms, head.agnostic) == (0.5, False, "greedy", False)
    assert (head.score_threshold, head.nms_threshold, head.sigma) == (0.5, 0.45, 0.5)
    assert head.maximum is None
    other = parse(changed("box", {"kind": "distance"}))
    assert other is not None and other.function == "linear" and other.variances == (1, 1)


@pytest.mark.parametrize(("background", "channels"), [
    (MISSING, 3), (0, 3), (1, 3), (2, 3), ("zero", 2)])
def test_the_background_of_a_softmax(background: Any, channels: int) -> None:
    """A channel of each anchor, the first one if nothing is said; or none."""
    head = parse(changed("background", background, {
        **DESCRIPTION, "score": "softmax", "background": 0}))
    assert head is not None and head.channels("class") == channels
    assert head.background == {MISSING: 0, "zero": None}.get(background, background)


@pytest.mark.parametrize("background", [3, -1, 0.5, True, "none", None, [0]])
def test_no_background(background: Any) -> None:
    with pytest.raises(FalconetError, match=r"postprocess\.background: .*; "):
        parse({**DESCRIPTION, "score": "softmax", "background": background})


def test_channels_of_boxes() -> None:
    for box, channels in (({"kind": "grid"}, 4), ({"kind": "dfl", "bins": 16}, 64)):
        head = parse({**DESCRIPTION, "box": box})
        assert head is not None and head.channels("box") == channels
    assert head.channels("class") == 2 and head.channels("objectness") == 1


@pytest.mark.parametrize("other", [None, {}, {"kind": "classification"}, [1], {"kind": "pose"}])
def test_other_kinds_are_none_of_ours(other: Any) -> None:
    assert parse(other) is None


@pytest.mark.parametrize(("path", "value", "why"), [
    ("labels", MISSING, "postprocess.labels: it is missing"),
    ("labels", "cat", "postprocess.labels: it must be a list"),
    ("labels.1", 3, r"postprocess.labels\[1\]: 3 is not a text"),
    ("levels", [], "postprocess.levels: it must be a list"),
    ("levels.0", 8, r"postprocess.levels\[0\]: 8 is not an object"),
    ("levels.1.box", MISSING, r"postprocess.levels\[1\].box: it is missing"),
    ("levels.1.class", 5, r"postprocess.levels\[1\].class: 5 is not a text"),
    ("levels.0.stride", 0, r"postprocess.levels\[0\].stride: 0 is no number from 1 to 65536"),
    ("levels.0.stride", [8], r"postprocess.levels\[0\].stride: \[8\] is not a pair"),
    ("levels.1.anchors.1", [8, -2], r"postprocess.levels\[1\].anchors\[1\]: -2 is no number"),
    ("levels.1.anchors.0", 16, r"postprocess.levels\[1\].anchors\[0\]: 16 is not a pair"),
    ("levels.0.anchor", [1, 2], r"levels\[0\].anchor: no such field; did you mean 'anchors'\? "),
    ("box.kind", "fcos", "postprocess.box.kind: 'fcos' is unknown; choose one of: ssd, linear"),
    ("box.function", "exp", "postprocess.box.function: no such field"),
    ("box.variances", [0.1, True], "postprocess.box.variances: True is no number"),
    ("score", "softplus", "postprocess.score: 'softplus' is unknown"),
    ("nms", "softer", "nms: 'softer' is unknown; .* greedy, soft_linear, soft_gaussian, diou"),
    ("background", 0, "postprocess.background: no such field"),
    ("box", {"kind": "dfl"}, "postprocess.box.bins: it is missing"),
    ("box", {"kind": "dfl", "bins": 1}, "box.bins: 1 is no whole number from 2 to 31"),
    ("box", {"kind": "dfl", "bins": 32}, "box.bins: 32 is no whole number from 2 to 31"),
    ("box", {"kind": "dfl", "bins": 16.0}, "box.bins: 16.0 is no whole number from 2 to 31"),
    ("box", {"kind": "yolo", "scale": 2}, "postprocess.box.scale: no such field"),
    ("box", {"kind": "yolov3", "scale": 0}, "postprocess.box.scale: 0 is no number from 1 to 16"),
    ("levels.1.landmark", MISSING, r"levels\[1\].landmark: landmarks are in some levels and not"),
    ("clip", 1, "postprocess.clip: 1 is neither true nor false"),
    ("maximum", 0, "postprocess.maximum: 0 is no count"),
    ("maximum", True, "postprocess.maximum: True is no count"),
    ("score_threshold", 1.5, "postprocess.score_threshold: 1.5 is no number from 0 to 1"),
    ("nms_threshold", float("nan"), "postprocess.nms_threshold: nan is no number"),
    ("sigma", 0, "postprocess.sigma: 0 is no number"),
    ("offset", "half", "postprocess.offset: 'half' is no number"),
    ("nms_treshold", 0.3, "postprocess.nms_treshold: no such field"),
])
def test_faults(path: str, value: Any, why: str) -> None:
    with pytest.raises(FalconetError, match=why) as caught:
        parse(changed(path, value))
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


@pytest.mark.parametrize(("path", "value", "why"), [
    ("kind", "pose", "postprocess.kind: 'pose' is unknown"),
    ("maximum", 33, "postprocess.maximum: 'tiny' has room for 32 boxes with landmarks, not 33"),
    ("levels.0.stride", 6000, r"postprocess.levels\[0\].stride: 6000 pixels; use at most 4095"),
    ("levels.1.anchors.0", [5000, 8], r"levels\[1\].anchors\[0\]: 5000 pixels; use at most 4095"),
    ("levels.0.stride", 1500, r"postprocess.levels\[0\].stride: cells of 1500 pixels reach too"),
])
def test_beyond_the_machine(path: str, value: Any, why: str) -> None:
    """Refused with the way out, and done on the host."""
    graph = detector(points=3, classes=1)
    graph.meta["postprocess"] = changed(path, value, graph.meta["postprocess"])
    with pytest.raises(FalconetError, match=why) as caught:
        compile_graph(graph, preset("tiny"))
    assert str(caught.value).endswith("or compile with '--post host'")
    assert compile_graph(graph, preset("tiny"), post="host").header["outputs"]


@pytest.mark.parametrize(("path", "value", "why"), [
    ("labels", ["a"], r"levels\[0\].class: '.*' has 6 channels where 2 anchors x 1 labels make 2"),
    ("levels.1.box", "class", r"levels\[1\].box: '.*' has 6 channels where 2 anchors x 4 make 8"),
    ("levels.1.landmark", "class", r"levels\[1\].landmark: .* 2 anchors x 3 points x 2 make 12"),
    ("levels.1.landmark", MISSING, r"levels\[1\].landmark: landmarks are in some levels and not"),
    ("levels.0.objectness", "class", r"levels\[0\].objectness: .* 6 channels where 2 anchors make"),
    ("levels.0.box", "other", r"levels\[0\].box: '.*' is \[4, 6\], the scores are \[8, 12\]"),
    ("levels.0.box", "nowhere", r"levels\[0\].box: the network has no tensor 'nowhere'; its "),
])
def test_tensors_that_do_not_fit(path: str, value: Any, why: str) -> None:
    graph = detector(points=3)
    levels = graph.meta["postprocess"]["levels"]
    names = {"class": levels[1]["class"], "other": levels[1]["box"]}
    known = names.get(value, value) if isinstance(value, str) else value
    graph.meta["postprocess"] = changed(path, known, graph.meta["postprocess"])
    with pytest.raises(FalconetError, match=why):
        compile_graph(graph, preset("tiny"))


@pytest.mark.parametrize(("head", "why"), [
    ({"anchors": 17}, r"levels\[0\].anchors: 17 of them; use at most 16"),
    ({"levels": 9, "size": (24, 24), "anchors": 1}, "levels: 9 of them; use at most 8"),
    ({"classes": 256, "anchors": 1, "levels": 1}, "labels: 256 classes; use at most 255"),
    ({"points": 32, "anchors": 1, "levels": 1}, "landmark: 32 points; use at most 31"),
    ({"size": (8, 2048), "levels": 1}, "input 'x': boxes in 8 x 2048 pixels .* at most 2047"),
])
def test_too_many(head: dict[str, Any], why: str) -> None:
    with pytest.raises(FalconetError, match=f"{why}.*or compile with '--post host'$"):
        compile_graph(detector(**head), preset("tiny"))


def test_without_a_maximum_there_is_as_much_room_as_the_machine_has() -> None:
    tiny, large = preset("tiny"), preset("pynq-z2")
    limits = [compile_graph(detector(points=p), a).header["detect"]["limit"]
              for p, a in ((0, tiny), (3, tiny), (3, large))]
    assert limits == [64, 32, 100]


def test_no_room_says_what_helps() -> None:
    with pytest.raises(FalconetError, match=r"scratchpad.*or compile with '--post host'$"):
        compile_graph(detector(size=(400, 400), anchors=9, levels=1, points=5), preset("tiny"))


def test_unknown_post() -> None:
    with pytest.raises(FalconetError, match="post='board' is unknown; choose machine or host"):
        compile_graph(detector(), preset("tiny"), post="board")
