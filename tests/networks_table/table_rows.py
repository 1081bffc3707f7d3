"""What is measured of one network, as JSON: from PyTorch to the RTL, no step by hand.

A step that refuses ends the row: what came before it stays, and the refusal's first true sentence
with it. A device that differs is told, not refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from falconet.compiler import compile_model
from falconet.isa import Arch, FalconetError, Program
from falconet_app.commands.machines import DeviceName, agreement, make_device, require_same
from falconet_app.commands.sources import network_input
from falconet_models import zoo
from falconet_models.data import calibration_images, photograph, test_images
from falconet_models.float_pictures import to_tensor
from falconet_models.metadata import get_meta
from falconet_models.ptq.against_onnxruntime import against_onnxruntime
from falconet_models.ptq.quantize import quantize
from falconet_models.zoo.papers import NETWORKS, make
from falconet_models.zoo.papers.to_onnx import onnx_of, trained

__all__ = ["Case", "cases", "measure"]

PICTURE = "astronaut"
CALIBRATION, HELD_OUT = 8, 3
"""Photographs for both quantisers; and those of :data:`falconet_models.data.TEST` on which both
are measured."""

Said = Callable[[dict[str, Any]], None]
"""Is told the row so far, before each step."""


@dataclass(frozen=True)
class Case:
    """A row: a network of the papers at a size, or RetinaFace, which the zoo builds itself."""

    network: str
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """Of the row and of its file."""
        return f"{self.network}-{'x'.join(map(str, dict.fromkeys(self.size)))}"

    @property
    def title(self) -> str:
        return "RetinaFace, MobileNetV1-0.25" if self.network == "retinaface" else \
            NETWORKS[self.network].title

    @property
    def weights(self) -> str:
        return "trained" if self.network == "retinaface" or trained(self.network) else "drawn"

    def export(self) -> onnx.ModelProto:
        if self.network == "retinaface":
            return zoo.build("retinaface", height=self.size[0], width=self.size[1])
        return onnx_of(self.network, size=self.size)


_ALSO_SMALL = ("yolov5n", "yolov8n", "yolo11n", "yolox-nano")


def cases() -> list[Case]:
    """All rows, in the order of the table; the YOLO networks at 320 and at 640."""
    found = [Case("retinaface", (320, 320))]
    for name, network in NETWORKS.items():
        if name in _ALSO_SMALL:
            found.append(Case(name, (320, 320)))
        found.append(Case(name, network.size))
    return found


def parameters_of(case: Case, model: onnx.ModelProto) -> int:
    """Trained ones, batch norms not folded; RetinaFace comes folded, so those of the file."""
    if case.network == "retinaface":
        return sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    return sum(p.numel() for p in make(case.network, size=case.size).parameters())


def macs_of(case: Case) -> int | None:
    """Multiply-accumulates of the definition."""
    import torch

    if case.network == "retinaface":
        return None
    with torch.device("meta"):
        network = make(case.network, size=case.size).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, *case.size))
    return int(counter.get_total_flops() // 2)  # of a MAC it counts two


@contextmanager
def _timed(row: dict[str, Any], step: str, said: Said) -> Iterator[None]:
    """Notes the seconds of a step, and which one did not get to its end."""
    row["step"] = step
    said(row)
    began = time.perf_counter()
    try:
        yield
    finally:
        row["seconds"][step] = round(time.perf_counter() - began, 1)


def first_sentence(error: Exception) -> str:
    """Of a list of findings the first one, else what was said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not isinstance(error, FalconetError):
        return f"{type(error).__name__}: {lines[0] if lines else 'without a word'}"
    return lines[1] if len(lines) > 1 and lines[0].endswith("reasons:") else lines[0]


def _run(program: Program, row: dict[str, Any], said: Said) -> None:
    """The photograph on golden model, simulator and RTL; they agree or it is an error."""
    inputs = dict(network_input(program, photograph(PICTURE)).as_dict())
    found: dict[DeviceName, Any] = {}
    for name in DeviceName:
        with _timed(row, name.value, said):
            found[name] = make_device(name, program).run(inputs)
        require_same(found[DeviceName.golden], found[name], name.value)
    row["cycles"] = int(found[DeviceName.rtl].cycles)
    row["agreement"] = agreement(found)
    if (boxes := found[DeviceName.rtl].detections) is not None:
        row["boxes"] = len(boxes.records)


def _fidelity(case: Case, model: onnx.ModelProto, quantised: onnx.ModelProto,
              samples: list[NDArray[np.float32]], row: dict[str, Any]) -> None:
    preprocess = get_meta(model)["preprocess"]
    pictures = list(test_images(_set(case)).values())[:HELD_OUT]
    compared = against_onnxruntime(
        model, samples, inputs=[to_tensor(p, preprocess) for p in pictures],
        settings=("minmax",), ours=quantised)
    row["snr"], row["snr_onnxruntime"] = compared.ours, compared.theirs["minmax"]


def _set(case: Case) -> str:
    return "retinaface" if case.network == "retinaface" else "mobilenetv2"


def measure(case: Case, arch: Arch, said: Said = lambda row: None) -> dict[str, Any]:
    """The row of a network: what was reached, and the refusal if there was one."""
    row: dict[str, Any] = {"name": case.name, "title": case.title, "size": list(case.size),
                           "weights": case.weights, "preset": arch.name, "seconds": {}}
    try:
        with _timed(row, "export", said):
            model = case.export()
            row["parameters"], row["definition_macs"] = parameters_of(case, model), macs_of(case)
        images = calibration_images(_set(case), CALIBRATION)
        preprocess = get_meta(model)["preprocess"]
        samples = [to_tensor(image, preprocess) for image in images.values()]
        with _timed(row, "quantize", said):
            quantised = quantize(model, images, method="best")
        with _timed(row, "compile", said):
            program = compile_model(quantised, arch, name=case.name)
        done = sum(int(layer["macs"]) for layer in program.header["layers"])
        row["macs"] = row["definition_macs"] or done
        _run(program, row, said)
        with _timed(row, "compare", said):
            _fidelity(case, model, quantised, samples, row)
        row["step"] = "done"
    except Exception as e:  # whatever it is, the other rows are measured
        row["refusal"] = first_sentence(e)
        row["fault"] = not isinstance(e, FalconetError)
    return row
