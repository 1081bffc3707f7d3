"""MobileNetV2 on ImageNet after training: Brevitas's quantisation against onnxruntime's.

Both get the calibration photographs of :mod:`falconet_models.data` and are judged on its test
photographs, in onnxruntime on the exported files, against the float network of the zoo;
``falconet study imagenet`` prints the table.

onnxruntime's figures are those of ``quantize_static`` (QDQ, weights int8 per channel, activations
uint8) with each of its ways to choose a range. Takes a minute and a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from falconet_models import zoo
from falconet_models.data import calibration_images, test_images
from falconet_models.float_pictures import to_tensor
from falconet_models.metadata import get_meta
from falconet_models.networks.brevitas import quantise
from falconet_models.networks.export import export
from falconet_models.networks.mobilenet import Classifier, ClassifierConfig
from falconet_models.networks.pretrained import load_imagenet
from falconet_models.onnx_session import Reference, snr_db

__all__ = ["METHODS", "by_brevitas", "by_onnxruntime", "calibration", "compare", "models"]

METHODS = {
    "minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
"""onnxruntime's ways to choose a range, by name."""

Array = NDArray[np.float32]


def calibration(count: int = 32) -> list[Array]:
    """Inputs [1, 3, 224, 224] of calibration photographs."""
    preprocess = Classifier(ClassifierConfig()).preprocess()
    return [to_tensor(image, preprocess)
            for image in calibration_images("mobilenetv2", count).values()]


def by_brevitas(samples: Sequence[Array], *, corrected: bool = True) -> onnx.ModelProto:
    """The trained network by :func:`quantise`, exported as QCDQ."""
    network = Classifier(ClassifierConfig()).eval()
    load_imagenet(network)
    quantised = quantise(network, [torch.from_numpy(x) for x in samples], corrected=corrected)
    return export(quantised, labels=zoo.mobilenetv2.labels(), model="mobilenetv2-1.0")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Sequence[Array]) -> None:
        self.left = iter(samples)

    def get_next(self) -> dict[str, Array] | None:
        x = next(self.left, None)
        return None if x is None else {"input": x}


def by_onnxruntime(samples: Sequence[Array], method: str) -> onnx.ModelProto:
    """The zoo's network by onnxruntime's ``quantize_static``; ``method`` is one of ``METHODS``."""
    with TemporaryDirectory() as folder:
        source, ready, result = (str(Path(folder, f"{n}.onnx")) for n in ("a", "b", "c"))
        onnx.save(zoo.build("mobilenetv2"), source)
        with redirect_stdout(StringIO()):  # it counts bins aloud
            quant_pre_process(source, ready)
            quantize_static(
                ready, result, _Reader(samples), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=METHODS[method])
        return onnx.load(result)


def compare(models: dict[str, onnx.ModelProto]) -> list[dict[str, Any]]:
    """One row a model: ``same`` of ``of`` test photographs have the float network's top-1,
    ``snr`` are the dB of their logits by photograph, ``pooled`` those of all logits together."""
    exact = Reference(zoo.build("mobilenetv2"))
    preprocess = get_meta(exact.model)["preprocess"]
    inputs = {k: to_tensor(image, preprocess) for k, image in test_images("mobilenetv2").items()}
    wanted = {k: exact(x)["logits"].ravel() for k, x in inputs.items()}
    rows = []
    for name, model in models.items():
        run = Reference(model)
        found = {k: run(x)["logits"].ravel() for k, x in inputs.items()}
        rows.append({
            "model": name, "of": len(wanted),
            "same": sum(int(found[k].argmax() == w.argmax()) for k, w in wanted.items()),
            "snr": {k: snr_db(w, found[k]) for k, w in wanted.items()},
            "pooled": snr_db(np.stack(list(wanted.values())), np.stack(list(found.values()))),
        })
    return rows


def models(count: int = 32) -> dict[str, onnx.ModelProto]:
    """All that are compared, by name, each quantised on ``count`` photographs."""
    samples = calibration(count)
    return {
        "Brevitas": by_brevitas(samples),
        "Brevitas, biases not corrected": by_brevitas(samples, corrected=False),
        **{f"onnxruntime, {m}": by_onnxruntime(samples, m) for m in METHODS},
    }
