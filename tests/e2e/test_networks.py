"""The real networks on real photographs: all devices equal, and right by onnxruntime."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import run_all

from falconet.compiler import compile_model
from falconet.compiler.reference import compare
from falconet.isa import Program, preset
from falconet.runtime.vision import Preprocessor, dequantize, iou, postprocess
from falconet_models.cache import cached_float, cached_quantised
from falconet_models.data import test_images as photographs_of
from falconet_models.reference import Reference, snr_db
from falconet_sim.golden import run_node

pytestmark = pytest.mark.timeout(900)
PHOTOGRAPHS = [
    *(("retinaface", p) for p in ("astronaut", "faces_medium", "coffee")),
    *(("mobilenetv2", p) for p in ("cat", "coffee", "rocket")),
]


@cache
def program(model: str) -> Program:
    return compile_model(str(cached_quantised(model)), preset("pynq-z2"), model)


def network_input(model: str, image: Any) -> tuple[dict[str, np.ndarray], Any]:
    header = program(model).header
    entry = header["inputs"][0]
    tensor, frame = Preprocessor(header["meta"], entry["scale"], entry["zero_point"])(image)
    return {entry["name"]: np.ascontiguousarray(tensor.transpose(2, 0, 1))}, frame


@cache
def machine_outputs(model: str, photograph: str) -> dict[str, np.ndarray]:
    """Real-valued outputs of the RTL, after all devices gave the same bytes."""
    inputs, _ = network_input(model, photographs_of(model)[photograph])
    result = run_all(program(model), inputs)
    return {t["name"]: dequantize(result.outputs[t["name"]], t["scale"], t["zero_point"])
            for t in program(model).header["outputs"]}


@pytest.mark.parametrize(("model", "photograph"), PHOTOGRAPHS)
def test_devices_agree(model: str, photograph: str) -> None:
    machine_outputs(model, photograph)


@pytest.mark.parametrize("model", ["retinaface", "mobilenetv2"])
def test_layers_follow_onnxruntime(model: str) -> None:
    inputs, _ = network_input(model, next(iter(photographs_of(model).values())))
    layers = compare(cached_quantised(model), run_node, inputs)
    different, total = sum(d.different for d in layers), sum(d.total for d in layers)
    print(f"{model}: {different} of {total} values differ from onnxruntime, by 1 LSB at most")
    assert max(d.max_lsb for d in layers) <= 1
    assert different / total < 1e-3


def test_the_face_is_where_the_float_network_sees_it() -> None:
    image = photographs_of("retinaface")["astronaut"]
    meta = program("retinaface").header["meta"]
    _, frame = network_input("retinaface", image)
    found = postprocess(meta, machine_outputs("retinaface", "astronaut"), frame)
    expected = postprocess(meta, Reference(cached_float("retinaface"))(image), frame)
    assert len(found) == len(expected) == 1
    box, boxes = (np.array([[d.x, d.y, d.w, d.h] for d in ds])
                  for ds in (found, expected))
    overlap = float(iou(box[0], boxes)[0])
    print(f"IoU with the float network's box: {overlap:.3f}")
    assert overlap >= 0.85


@pytest.mark.parametrize("photograph", [p for m, p in PHOTOGRAPHS if m == "mobilenetv2"])
def test_classes_of_the_float_network(photograph: str) -> None:
    image = photographs_of("mobilenetv2")[photograph]
    logits = machine_outputs("mobilenetv2", photograph)["logits"].reshape(-1)
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
