"""The real networks on real photographs: all devices equal, and right by onnxruntime."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import run_all

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.layerwise import compare
from falconet.isa import Program, preset
from falconet.runtime.detections import Options
from falconet.runtime.device import RunResult
from falconet.runtime.vision import (
    Detection,
    Preprocessor,
    dequantize,
    detections_of,
    iou,
    postprocess,
)
from falconet_models.cache import cached_float, cached_quantised
from falconet_models.data import test_images as photographs_of
from falconet_models.onnx_session import Reference, snr_db
from falconet_sim.golden.device import run_node

pytestmark = pytest.mark.timeout(900)
FACES = ("astronaut", "faces_small", "faces_medium", "faces_large", "coffee")
PHOTOGRAPHS = [
    *(("retinaface", p) for p in FACES),
    *(("mobilenetv2", p) for p in ("cat", "coffee", "rocket")),
]


@cache
def program(model: str, **options: Any) -> Program:
    return compile_model(str(cached_quantised(model)), preset("pynq-z2"), model, **options)


def network_input(source: Program, image: Any) -> tuple[dict[str, np.ndarray], Any]:
    header = source.header
    entry = header["inputs"][0]
    tensor, frame = Preprocessor(header["meta"], entry["scale"], entry["zero_point"])(image)
    return {entry["name"]: np.ascontiguousarray(tensor.transpose(2, 0, 1))}, frame


@cache
def machine(model: str, photograph: str) -> RunResult:
    """The RTL's result, after all devices gave the same bytes."""
    inputs, _ = network_input(program(model), photographs_of(model)[photograph])
    return run_all(program(model), inputs)


def real_outputs(source: Program, result: RunResult) -> dict[str, np.ndarray]:
    return {t["name"]: dequantize(result.outputs[t["name"]], t["scale"], t["zero_point"])
            for t in source.header["outputs"]}


@pytest.mark.parametrize(("model", "photograph"), PHOTOGRAPHS)
def test_devices_agree(model: str, photograph: str) -> None:
    machine(model, photograph)


@pytest.mark.parametrize("nms", ["soft_linear", "soft_gaussian", "diou"])
def test_devices_agree_in_every_mode(nms: str) -> None:
    """With a smaller input, and a threshold so low that boxes overlap."""
    small = cached_quantised("retinaface", height=160, width=160)
    heads = {**program("retinaface").header["meta"]["postprocess"], "nms": nms}
    source = compile_model(str(small), preset("pynq-z2"), heads=heads)
    inputs, _ = network_input(source, photographs_of("retinaface")["faces_medium"])
    found = run_all(source, inputs, Options(score=0.05)).detections
    assert found is not None and found.candidates > 64 and len(found.records) >= 14


@pytest.mark.parametrize("model", ["retinaface", "mobilenetv2"])
def test_layers_follow_onnxruntime(model: str) -> None:
    inputs, _ = network_input(program(model), next(iter(photographs_of(model).values())))
    layers = compare(cached_quantised(model), run_node, inputs)
    different, total = sum(d.different for d in layers), sum(d.total for d in layers)
    print(f"{model}: {different} of {total} values differ from onnxruntime, by 1 LSB at most")
    assert max(d.max_lsb for d in layers) <= 1
    assert different / total < 1e-3


def nearest(boxes: list[Detection], others: list[Detection]) -> list[float]:
    """For each box with a score above 0.6 the greatest IoU with any of the others."""
    edges = np.array([[d.x, d.y, d.w, d.h] for d in others]).reshape(-1, 4)
    return [float(iou(np.array([d.x, d.y, d.w, d.h]), edges).max(initial=0)) for d in boxes
            if d.score > 0.6]


@pytest.mark.parametrize("photograph", FACES)
def test_the_machine_sees_the_faces_of_the_float_network(photograph: str) -> None:
    image = photographs_of("retinaface")[photograph]
    _, frame = network_input(program("retinaface"), image)
    found = machine("retinaface", photograph).detections
    assert found is not None
    boxes = detections_of(program("retinaface").header["meta"], found, frame)
    reference = Reference(cached_float("retinaface"))
    expected = postprocess(reference.meta, reference(image), frame)
    both = nearest(expected, boxes) + nearest(boxes, expected)
    print(f"{photograph}: {len(boxes)} boxes, lowest IoU {min(both, default=1):.3f}")
    assert min(both, default=1) >= 0.85


def test_the_host_sees_what_the_machine_sees() -> None:
    """The heads themselves as outputs, decoded in floating point."""
    source = program("retinaface", post="host")
    image = photographs_of("retinaface")["faces_medium"]
    inputs, frame = network_input(source, image)
    meta = source.header["meta"]
    boxes = postprocess(meta, real_outputs(source, run_all(source, inputs)), frame)
    found = machine("retinaface", "faces_medium").detections
    assert found is not None
    mine = detections_of(meta, found, frame)
    assert len(mine) == len(boxes) >= 14
    for a, b in zip(mine, boxes):
        assert abs(a.score - b.score) < 1e-4
        np.testing.assert_allclose([a.x, a.y, a.w, a.h], [b.x, b.y, b.w, b.h], atol=0.3)


@pytest.mark.parametrize("photograph", [p for m, p in PHOTOGRAPHS if m == "mobilenetv2"])
def test_classes_of_the_float_network(photograph: str) -> None:
    image = photographs_of("mobilenetv2")[photograph]
    outputs = real_outputs(program("mobilenetv2"), machine("mobilenetv2", photograph))
    logits = outputs["logits"].reshape(-1)
    expected = Reference(cached_float("mobilenetv2"))(image)["logits"].reshape(-1)
    odds = np.exp(expected - expected.max())
    snr = snr_db(expected, logits)
    print(f"{photograph}: {snr:.1f} dB, float top-1 at {odds.max() / odds.sum():.0%}")
    assert snr >= 12
    if odds.max() / odds.sum() > 0.5:
        assert logits.argmax() == expected.argmax()


def test_brevitas_export_classifies_digits() -> None:
    data = Path(__file__).parents[1] / "data"
    source = compile_model(str(data / "brevitas_digits.onnx"), preset("tiny"), "digits")
    entry, meta = source.header["inputs"][0], source.header["meta"]
    prepare = Preprocessor(meta, entry["scale"], entry["zero_point"])
    with np.load(data / "brevitas_digits.npz") as sample:
        images, labels = sample["images"][:10], sample["labels"][:10]
    right = 0
    for image, label in zip(images, labels):
        tensor = np.ascontiguousarray(prepare(image)[0].transpose(2, 0, 1))
        (output,) = run_all(source, {entry["name"]: tensor}).outputs.values()
        right += int(output.argmax()) == label
    assert right >= 9
