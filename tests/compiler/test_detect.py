"""Programs with a detection head: the same boxes everywhere, and those that the float says."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np
import pytest
from detectors import detector, random_input

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.isa import Arch, Dst, Engine, Program, Segment, Src, Suppression, preset
from falconet.runtime.boxes import decode
from falconet.runtime.device import RunResult
from falconet.runtime.vision import dequantize
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import GoldenDevice, run_graph
from falconet_sim.iss.simulator import IssDevice

pytestmark = pytest.mark.timeout(120)
TINY = preset("tiny")


def equal_everywhere(graph: Graph, arch: Arch = TINY) -> tuple[Program, RunResult]:
    program = Program.from_bytes(compile_graph(graph, arch).to_bytes())
    inputs = random_input(graph)
    golden, iss = GoldenDevice(program).run(inputs), IssDevice(program).run(inputs)
    assert golden.detections is not None and golden.detections == iss.detections
    assert golden.outputs.keys() == iss.outputs.keys()
    for name, value in golden.outputs.items():
        assert np.array_equal(value, iss.outputs[name])
    check_hazards(program, inputs)
    return program, golden


HEADS: dict[str, dict[str, Any]] = {
    "ssd": {"points": 5, "maximum": 20},
    "grid": {"box": "grid", "anchors": 1, "objectness": True, "classes": 7, "offset": 0},
    "yolo": {"box": "yolo", "anchors": 3, "objectness": True, "classes": 11, "offset": 0,
             "nms": "diou"},
    "linear": {"box": "linear", "anchors": 1, "classes": 20, "clip": True, "points": 2},
    "exp": {"box": "exp", "anchors": 2, "levels": 3, "nms": "soft_linear"},
    "yolov3": {"box": "yolov3", "anchors": 3, "objectness": True, "classes": 5, "offset": 0},
    "blaze": {"box": "blaze", "anchors": 2, "classes": 1, "points": 7, "maximum": 20},
    "dfl": {"box": "dfl", "anchors": 1, "classes": 20, "levels": 3},
    "gfl": {"box": "gfl", "anchors": 3, "classes": 4, "clip": True, "points": 2},
    "softmax": {"anchors": 3, "classes": 20, "score": "softmax", "background": "zero",
                "points": 1, "maximum": 20, "score_threshold": 0.15},
    "background": {"anchors": 3, "classes": 20, "score": "softmax", "score_threshold": 0.15},
    "background last": {"anchors": 2, "classes": 6, "score": "softmax", "background": 6,
                        "points": 1, "maximum": 20, "score_threshold": 0.3},
    "softmax of one": {"anchors": 2, "classes": 1, "score": "softmax", "background": "zero"},
    "softmax, bins": {"anchors": 3, "classes": 7, "score": "softmax", "background": "zero",
                      "box": "gfl", "objectness": True, "score_threshold": 0.1},
    "geometric": {"box": "relu", "anchors": 1, "classes": 9, "objectness": True,
                  "score": "geometric"},
    "many": {"anchors": 16, "classes": 2, "levels": 1, "nms": "soft_gaussian", "sigma": 0.4},
    "eight": {"levels": 8, "classes": 1, "anchors": 1, "size": (40, 24), "agnostic": True},
}


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("head", sorted(HEADS))
def test_devices_agree(head: str, arch: str) -> None:
    program, result = equal_everywhere(detector(len(head), **HEADS[head]), preset(arch))
    assert program.header["outputs"] == []
    assert result.detections is not None and len(result.detections.records) > 0
    assert result.detections.candidates > 10


@pytest.mark.parametrize(("head", "least"), [
    ("ssd", 0.803), ("grid", 0.623), ("yolo", 0.703), ("linear", 0.893), ("exp", 0.803),
    ("yolov3", 0.573), ("blaze", 0.593), ("dfl", 0.903), ("gfl", 0.913), ("softmax", 0.289),
    ("softmax of one", 0.573), ("softmax, bins", 0.303), ("geometric", 0.763)])
def test_boxes_are_those_of_the_float(head: str, least: float) -> None:
    """Without suppression each float box is found: 1/16 pixel, and the rounding of the tables."""
    keys = {k: v for k, v in HEADS[head].items()
            if k not in ("nms", "maximum", "score_threshold")}
    graph = detector(5, **keys, nms_threshold=1, score_threshold=least, maximum=170)
    inputs = random_input(graph)
    found = GoldenDevice(compile_graph(graph, preset("pynq-z2"))).run(inputs).detections
    assert found is not None
    real = {n: dequantize(v, graph.tensors[n].scale, graph.tensors[n].zero_point)
            for n, v in run_graph(*graph.to_dict(), inputs).items()}
    expected = decode(graph.meta["postprocess"], real.__getitem__, least=least,
                      size=graph.tensors["x"].shape[1:])
    corners = expected.box + np.hstack([0 * expected.box[:, :2], expected.box[:, :2]])
    assert 5 < len(found.records) == found.candidates == len(corners)
    boxes = np.stack([found.records[k] for k in ("x1", "y1", "x2", "y2")], 1) / 16
    left = set(range(len(corners)))
    for box, record, points in zip(boxes, found.records, found.landmarks):
        like = [i for i in left if expected.label[i] == record["label"]
                and abs(expected.score[i] - record["score"] / 65536) < 1e-4]
        best = min(like, key=lambda i: float(np.abs(corners[i] - box).max()))
        side = np.abs(corners[best]).max()
        assert np.abs(corners[best] - box).max() < 0.15 + 1e-3 * side
        assert np.abs(expected.points[best] - points / 16).max(initial=0) < 0.1
        left.remove(best)
    assert not left


def test_header_and_instructions() -> None:
    program, _ = equal_everywhere(detector(points=3, levels=3, maximum=10, nms="diou",
                                           agnostic=True))
    detect, ins = program.header["detect"], program.instructions()
    assert (detect["limit"], detect["rows"], detect["points"]) == (10, 1, 3)
    engine = [i for i in ins if i.engine is Engine.DETECT]
    assert [i.mnemonic for i in engine] == ["SCAN"] * 3 + ["SUPPRESS"] + ["MARK"] * 3
    assert [i.first for i in engine[:3]] == [1, 0, 0]
    assert sorted(i.level for i in engine[:3]) == [0, 1, 2]
    suppress = engine[3]
    assert (suppress.mode, suppress.agnostic, suppress.limit) == (Suppression.DIOU, 1, 10)
    hosted = [i.offset for i in ins if i.mnemonic == "LOAD" and i.dst == Dst.DETECT
              and i.segment == Segment.INPUT]
    assert sorted(hosted) == [level["options"] for level in detect["levels"]]
    stores = [i for i in ins if i.mnemonic == "STORE" and i.src == Src.RECORDS]
    assert [i.offset for i in stores] == [detect["output"], detect["output"] + 16]
    assert all(i.wait_detect == 7 for i in stores)
    rows = TINY.row_words
    assert [(i.base, i.run) for i in stores] == [(TINY.candidates * rows, rows), (0, 20 * rows)]


def test_layers_and_steps_name_the_head() -> None:
    program = compile_graph(detector(points=1, maximum=10), TINY)
    layers, ins = program.header["layers"], program.instructions()
    own = [layer for layer in layers if layer["engine"] == "DETECT"]
    assert [layer["name"] for layer in own] == ["scan 0", "scan 1", "suppress", "mark 0", "mark 1"]
    assert all(layer["macs"] == 0 for layer in own)
    for i, (layer, tensor, *_) in zip(ins, program.header["steps"], strict=True):
        if i.engine is Engine.DETECT:
            assert layers[layer]["op"] == i.mnemonic.lower() and tensor == -1


def test_a_scan_overlaps_later_layers() -> None:
    """The first level is scanned while the rest of the network is still computed."""
    ins = compile_graph(detector(levels=3, size=(96, 96)), preset("pynq-z2")).instructions()
    scan = next(k for k, i in enumerate(ins) if i.mnemonic == "SCAN")
    assert sum(i.mnemonic == "MAC" for i in ins[scan:]) > 3
    last = max(k for k, i in enumerate(ins) if i.mnemonic == "MAC")
    assert scan < last


def test_the_level_that_is_ready_first_is_scanned_first() -> None:
    """Described last level first: the order of the description does not matter."""
    graph = detector(levels=3, size=(96, 96))
    graph.meta["postprocess"]["levels"].reverse()
    program, _ = equal_everywhere(graph, preset("pynq-z2"))
    engine = [i for i in program.instructions() if i.mnemonic == "SCAN"]
    assert engine[0].level == 2 and engine[0].first
    waits = [i.wait_mac for i in engine]
    assert waits == sorted(waits)


def test_host_stores_the_heads() -> None:
    graph = detector()
    plain = graph.copy()
    plain.meta = {}
    host, bare = compile_graph(graph, TINY, post="host"), compile_graph(plain, TINY)
    assert "detect" not in host.header and host.instructions() == bare.instructions()
    assert [o["name"] for o in host.header["outputs"]] == graph.outputs
    assert not any(i.engine is Engine.DETECT for i in host.instructions())


def test_other_outputs_stay() -> None:
    graph = detector(levels=1)
    extra = graph.nodes[1].output
    graph.outputs.insert(0, extra)
    program, result = equal_everywhere(graph)
    assert [o["name"] for o in program.header["outputs"]] == [extra]
    assert list(result.outputs) == [extra]
    assert program.header["graph"]["outputs"] == graph.outputs


def _sliced(b: networks.Builder, x: str, channels: int) -> str:
    return b.add("slice", [b.conv(x, channels + 8)], {"begin": 3, "end": 3 + channels})


def _joined(b: networks.Builder, x: str, channels: int) -> str:
    first = b.conv(x, channels // 2 + 1)
    return b.add("concat", [first, b.conv(x, channels - channels // 2 - 1)])


def _added(b: networks.Builder, x: str, channels: int) -> str:
    return b.eltwise(b.conv(x, channels), b.conv(x, channels))


@pytest.mark.parametrize("heads", [_sliced, _joined, _added])
def test_heads_in_odd_places(heads: Any) -> None:
    equal_everywhere(detector(3, heads=heads, points=2, maximum=20))


def test_heads_that_are_read_on() -> None:
    """A head inside a concat's buffer, which another layer reads."""
    graph = detector(2, levels=1)
    b = networks.Builder((3, 32, 48))
    b.graph = graph
    level = graph.meta["postprocess"]["levels"][0]
    joined = b.add("concat", [level["box"], level["class"]])
    graph.outputs.append(b.conv(joined, 5))
    program, result = equal_everywhere(graph)
    assert list(result.outputs) == [graph.outputs[-1]]
    scan = next(i for i in program.instructions() if i.mnemonic == "SCAN")
    assert scan.score_y_step > scan.n_x * scan.n_b  # rows of the whole concat


def test_heads_that_went_through_ddr() -> None:
    """Landmarks too large to wait on chip are stored and come back whole."""
    graph = detector(1, size=(128, 128), levels=3, points=5, anchors=2, maximum=20)
    arch = Arch("small", lanes=8, banks=2, bank_words=3072, candidates=128)
    program, _ = equal_everywhere(graph, arch)
    work = program.header["segments"]["work"]
    assert work > 0
    assert any(i.mnemonic == "LOAD" and i.segment == Segment.WORK for i in program.instructions())
