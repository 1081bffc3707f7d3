"""MobileNetV2 on ImageNet after training: Brevitas's quantisation against onnxruntime's.

Both get the calibration photographs of :mod:`falconet_models.data` and are judged on its test
photographs, in onnxruntime on the exported files, against the float network of the zoo::

    python -m falconet_models.networks.imagenet --out mobilenetv2.onnx --markdown PAGE

onnxruntime's figures are those of ``quantize_static`` (QDQ, weights int8 per channel, activations
uint8) with each of its ways to choose a range. Takes a minute and a half.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
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
from falconet_models.metadata import get_meta
from falconet_models.networks.export import export
from falconet_models.networks.mobilenet import Classifier, ClassifierConfig
from falconet_models.networks.pretrained import load_imagenet
from falconet_models.networks.quantize import quantise
from falconet_models.preprocess import to_tensor
from falconet_models.reference import Reference, snr_db

__all__ = ["METHODS", "by_brevitas", "by_onnxruntime", "calibration", "compare", "main"]

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


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of :func:`compare` in Markdown."""
    heads = ["quantised by", "top-1 as float", *(f"{k}, dB" for k in rows[0]["snr"]), "all, dB"]
    lines = [heads, ["---"] * len(heads), *(
        [r["model"], f"{r['same']} of {r['of']}", *(f"{v:.1f}" for v in r["snr"].values()),
         f"{r['pooled']:.1f}"] for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put_section(page: Path, key: str, text: str) -> None:
    """Replace what stands between ``<!-- begin KEY -->`` and ``<!-- end KEY -->`` in ``page``."""
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    old = page.read_text(encoding="utf-8") if page.exists() else f"{begin}\n{end}\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = old.partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--markdown", type=Path, help="page to put the table into")
    parser.add_argument("--out", type=Path, help="where to write the network by Brevitas")
    options = parser.parse_args(arguments)
    samples = calibration()
    makers: dict[str, Callable[[], onnx.ModelProto]] = {
        "Brevitas": lambda: by_brevitas(samples),
        "Brevitas, biases not corrected": lambda: by_brevitas(samples, corrected=False),
        **{f"onnxruntime, {m}": lambda m=m: by_onnxruntime(samples, m)  # type: ignore[misc]
           for m in METHODS}}
    models = {name: make() for name, make in makers.items()}
    if options.out is not None:
        onnx.save(models["Brevitas"], str(options.out))
    text = table(compare(models))
    print(text)
    if options.markdown is not None:
        put_section(options.markdown, "imagenet", text)


if __name__ == "__main__":
    main()
