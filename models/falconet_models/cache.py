"""Quantised models of the zoo, made once and kept in the build folder by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime

from falconet.isa import build_folder
from falconet.isa.files import store
from falconet_models import zoo
from falconet_models.data import calibration_images
from falconet_models.ptq.quantize import quantize

__all__ = ["cached_float", "cached_quantised"]

_SOURCES = (
    "float_pictures", *(f"ptq/{name}" for name in (
        "bias_correction", "calibration", "equalise", "head_cut", "prepare", "qdq", "quantize")),
)


def cached_float(name: str, **options: Any) -> Path:
    """Path of the float model ``name`` of the zoo; ``options`` are those of its builder."""
    model = zoo.build(name, **options)
    data = model.SerializeToString(deterministic=True)
    path = build_folder() / "models" / f"{name}-float-{hashlib.sha256(data).hexdigest()[:12]}.onnx"
    if not path.is_file():
        store(path, model.SerializeToString())
    return path


def cached_quantised(
    name: str, *, progress: Callable[[str, float], None] = lambda stage, share: None,
    **options: Any,
) -> Path:
    """Path of the QDQ model ``name`` of the zoo, quantised on ``calibration_images(name)``.

    It is made anew whenever the float model, the photographs, the quantiser or onnxruntime
    change. ``options`` are those of the network's builder. One that was trained in int8 lies in the
    zoo as it is. ``progress`` is told the stage ``"cached"`` if nothing is made.
    """
    if name in zoo.TRAINED and not options:
        return zoo.trained(name)
    model = zoo.build(name, **options)
    images = calibration_images(name)
    digest = hashlib.sha256(onnxruntime.__version__.encode())
    for module in _SOURCES:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    digest.update(model.SerializeToString(deterministic=True))
    for image in images.values():
        digest.update(repr(image.shape).encode() + image.tobytes())
    path = build_folder() / "models" / f"{name}-int8-{digest.hexdigest()[:12]}.onnx"
    if path.is_file():
        progress("cached", 1.0)
    else:
        store(path, quantize(model, images, progress=progress).SerializeToString())
    return path
