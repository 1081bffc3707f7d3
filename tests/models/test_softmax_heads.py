"""A softmax over several classes and the background: folded, quantised, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from falconet.compiler import compile_model
from falconet.isa import preset
from falconet.runtime.boxes import decode
from falconet_models.metadata import get_meta
from falconet_models.onnx_session import Reference
from falconet_models.ptq.head_cut import cut, fold
from falconet_models.ptq.prepare import load_float
from falconet_models.ptq.quantize import quantize
from falconet_models.zoo.builder import GraphBuilder

pytestmark = pytest.mark.timeout(300)
SIZE, ANCHORS = (32, 48), 2
LABELS = ["ant", "bee", "cow", "dog"]


def ssd(bins: int = 1) -> Any:
    """One level: logits of four classes and the background, their softmax, boxes."""
    rng = np.random.default_rng(3)
    g = GraphBuilder("ssd", (1, 3, *SIZE))

    def conv(name: str, x: str, i: int, o: int, k: int, gain: float = 1.0, **more: Any) -> str:
        w = gain * rng.normal(size=(o, i, k, k)) / np.sqrt(i * k * k)
        made: str = g.conv(name, x, w, 0.3 * rng.normal(size=o), **more)
        return made

    x = g.node("Relu", "stem.relu", conv("stem", "input", 3, 16, 3, stride=4))
    logits = conv("class", x, 16, ANCHORS * 5, 1, 3.0)
    boxes = conv("box", x, 16, ANCHORS * 4 * bins, 1)
    shape = g.constant("shape", np.array([1, ANCHORS, 5, -1], np.int64))
    return g.finish([g.node("Softmax", "shares", g.node("Reshape", "rows", logits, shape), axis=2),
                     boxes])


def head(background: int | None, bins: int = 1) -> dict[str, Any]:
    box = {"kind": "ssd"} if bins == 1 else {"kind": "dfl", "bins": bins}
    found = {"kind": "detection", "labels": LABELS, "score": "softmax", "box": box,
             "score_threshold": 0.3, "nms_threshold": 1.0, "levels": [{
                 "stride": 4, "anchors": [[9, 12], [20, 16]], "class": "class", "box": "box"}]}
    return found if background is None else {**found, "background": background}


def image(seed: int) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).normal(size=(1, 3, *SIZE)).astype(np.float32)
    return drawn


@pytest.mark.parametrize("background", [None, 0, 2, 4])
def test_a_folded_softmax_is_that_of_the_network(background: int | None) -> None:
    model = ssd()
    shares = Reference(model)(image(1))["shares"][0]
    folded = load_float(cut(model, head(background)))
    said = fold(folded, head(background))
    assert said["background"] == "zero" and said["score"] == "softmax"
    logits = Reference(folded)(image(1))["class"][0].reshape(ANCHORS, 4, -1).astype(np.float64)
    e = np.exp(logits)
    np.testing.assert_allclose(e / (1 + e.sum(axis=1, keepdims=True)),
                               np.delete(shares, background or 0, axis=1), atol=2e-6)


@pytest.mark.parametrize("bins", [1, 8])
@pytest.mark.parametrize("background", [0, 4])
def test_boxes_of_the_machine(background: int, bins: int) -> None:
    """What is sure in float is found by the quantised network, of the same class."""
    from falconet_sim.golden.device import GoldenDevice

    model = ssd(bins)
    result = quantize(model, [image(i) for i in range(2, 12)], heads=head(background, bins))
    meta = get_meta(result)
    assert meta["postprocess"]["background"] == "zero"
    program = compile_model(result, preset("tiny"))
    assert program.header["detect"]["levels"][0]["n_class"] == 4
    outputs = Reference(load_float(cut(model, head(background, bins))))(image(1))
    real = decode(head(background, bins), lambda name: outputs[name][0], least=0.75)
    tensor = program.header["inputs"][0]
    stored = np.rint(image(1)[0] / tensor["scale"] + tensor["zero_point"]).clip(-128, 127)
    found = GoldenDevice(program).run({tensor["name"]: stored.astype(np.int8)}).detections
    assert found is not None and len(real.score) > 5
    boxes = np.stack([found.records[k] for k in ("x1", "y1", "x2", "y2")], 1) / 16
    for box, label, score in list(zip(real.box, real.label, real.score))[:20]:
        corners = np.append(box[:2], box[:2] + box[2:])
        off = np.abs(boxes - corners).max(axis=1) + 100 * (found.records["label"] != label)
        assert off.min() < 2.5
        assert abs(found.records["score"][off.argmin()] / 65536 - score) < 0.15
