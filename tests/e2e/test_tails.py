"""A detector's file as it was exported: quantised, compiled, and the same boxes everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tail_networks as nets
from devices import run_all

from falconet.compiler import compile_model
from falconet.compiler.importer.tails.recogniser import recognise
from falconet.compiler.importer.tails.tail_graph import find
from falconet.isa import preset
from falconet.runtime.boxes import Boxes, suppress
from falconet.runtime.detections import Options
from falconet.runtime.preprocess import dequantize
from falconet.runtime.preprocess import quantize as quantised
from falconet_models.metadata import get_meta
from falconet_models.ptq.prepare import load_float
from falconet_models.ptq.quantize import quantize
from falconet_sim.golden.device import GoldenDevice

pytestmark = pytest.mark.timeout(900)

FAMILIES: dict[str, Any] = {
    "yolov5": lambda: nets.Yolov5(),
    "yolov3": lambda: nets.Yolov5(exp=True),
    "dfl": lambda: nets.Yolov8(),
    "ssdlite": lambda: nets.Priors(4),
    "direct distances": lambda: nets.Yolov8(bins=1),
    "yolox": lambda: nets.Yolox(),
    "face": lambda: nets.Priors(1, boxes="centre", points=2),
    "efficientdet": lambda: nets.Priors(softmax=False, boxes="yx", clip=True, variances=(1, 1)),
    "fcos": lambda: nets.Fcos(),
}


def pictures(count: int, seed: int) -> list[np.ndarray]:
    """Smooth noise, as photographs are."""
    random = np.random.default_rng(seed)
    small = random.uniform(size=(count, 3, 5, 7))
    return [np.kron(s, np.ones((1, 16, 16)))[None, :, :nets.SIZE[0], :nets.SIZE[1]].astype(
        np.float32) for s in small]


def rows_of(family: str, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Corners [n, 4] and scores [n, classes] of the file's own outputs, by the family's books."""
    first, *rest = outputs.values()
    rows = first[0].astype(np.float64)
    if family in ("direct distances", "dfl"):
        rows = rows.T
    if family in ("yolov5", "yolov3", "yolox", "direct distances", "dfl"):
        boxes, scores = rows[:, :4], rows[:, 4:]
        if family.startswith("yolo"):
            scores = scores[:, 1:] * scores[:, :1]
    else:
        boxes, scores = rows[:, :4], rest[0][0]
        if family in ("face", "ssdlite"):
            boxes, scores = boxes * [96, 64, 96, 64], scores[:, 1:]
        if family == "efficientdet":
            boxes = boxes[:, [1, 0, 3, 2]] * [96, 64, 96, 64]
    if family not in ("efficientdet", "fcos", "ssdlite"):
        boxes = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
    return boxes, scores


def through_the_file(family: str, model: Any, heads: dict[str, np.ndarray]) -> Any:
    """What the file's own tail makes of heads [C, H, W]: corners and scores of all rows."""
    whole = load_float(model)
    tail, found = find(whole), recognise(whole)
    values = {h: np.zeros(shape, np.float32) for h, shape in tail.shapes.items()}
    classes = {level["class"] for level in found.description["levels"]}
    softmax = found.description["score"] == "softmax"
    for p in found.parts:
        channel, factor, shift = (list(v) for v in (p.channel, p.factor, p.shift))
        if softmax and p.name in classes:  # the background's logit has become 0
            count = len(found.description["labels"]) + 1
            channel, factor, shift = ([x for k, x in enumerate(v) if k % count]
                                      for v in (channel, factor, shift))
        back = (heads[p.name] - np.reshape(shift, (-1, 1, 1))) / np.reshape(factor, (-1, 1, 1))
        values[p.source][channel] = back
    return rows_of(family, dict(zip(tail.outputs, tail.run(values))))


def clear_threshold(scores: np.ndarray, count: int) -> float:
    """A least score that about so many reach, and none is near."""
    ranked = np.sort(scores.ravel())[::-1]
    steps = ranked[count // 2:2 * count] - ranked[count // 2 + 1:2 * count + 1]
    k = count // 2 + int(np.argmax(steps))
    assert ranked[k] - ranked[k + 1] > 1e-3
    return float(ranked[k] + ranked[k + 1]) / 2


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_of_the_machine_are_those_of_the_file_on_the_same_heads(family: str, arch: str
                                                                     ) -> None:
    """Golden, simulator and RTL to the bit; the file's tail in onnxruntime to a pixel."""
    model = nets.export(FAMILIES[family](), seed=3, lift=4.0 * (family == "direct distances"))
    lines: list[str] = []
    made = quantize(model, pictures(8, 1), recognised=lines.append)
    assert len(lines) == 1 and get_meta(made)["postprocess"]["kind"] == "detection"
    program = compile_model(made, preset(arch))
    (x,) = pictures(1, 9)
    (entry,) = program.header["inputs"]
    inputs = {entry["name"]: quantised(x[0], entry["scale"], entry["zero_point"])}
    host = compile_model(made, preset(arch), post="host")
    stored = GoldenDevice(host).run(inputs).outputs
    heads = {t["name"]: dequantize(stored[t["name"]], t["scale"], t["zero_point"])
             for t in host.header["outputs"]}
    corners, scores = through_the_file(family, model, heads)
    least = clear_threshold(scores, 20)
    every = run_all(program, inputs, Options(score=least, iou=1.0)).detections
    assert every is not None and every.candidates == np.count_nonzero(scores >= least) >= 10
    row, label = np.nonzero(scores >= least)
    for r in every.records:
        box = np.array([r[k] for k in ("x1", "y1", "x2", "y2")]) / 16
        mine = np.flatnonzero((label == r["label"]) & (
            np.abs(scores[row, label] - r["score"] / 65536) < 1e-3))
        assert np.abs(corners[row[mine]] - box).max(axis=1).min() < 1, (r, corners[row[mine]])
    kept = run_all(program, inputs, Options(score=least, iou=0.45)).detections
    box = corners[row].copy()
    box[:, 2:] -= box[:, :2]
    expected, _ = suppress(Boxes(box, scores[row, label], label, np.zeros((len(row), 0, 2))),
                           threshold=0.45, least=least)
    assert kept is not None and abs(len(kept.records) - len(expected)) <= 1
