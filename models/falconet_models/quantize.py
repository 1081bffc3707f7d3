"""Post-training quantisation: a float ONNX model and some photographs -> a QDQ model.

Channels are balanced first (:mod:`falconet_models.equalise`); ranges of the activations are
measured by running the float model in onnxruntime (:mod:`falconet_models.calibration`); the QDQ
graph is written (:mod:`falconet_models.qdq`); and the mean error of every convolution is taken out
of its bias (:mod:`falconet_models.bias_correction`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet_models.bias_correction import correct_biases
from falconet_models.calibration import METHODS, Histogram, choose_range, collect
from falconet_models.equalise import equalise
from falconet_models.metadata import get_meta, set_meta
from falconet_models.prepare import load_float
from falconet_models.preprocess import to_tensor
from falconet_models.qdq import insert, make_plan

__all__ = ["preprocess_of", "quantize", "read_folder"]

Progress = Callable[[str, float], None]


def preprocess_of(
    model: onnx.ModelProto,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    colour: str | None = None,
    fit: str | None = None,
) -> dict[str, Any]:
    """The model's ``preprocess``, with what is given here put in its place.

    Where neither says anything: pixels divided by 255, R, G, B (grey for one channel), letterbox.
    ``mean`` and ``std`` are in units of 0..255, one number a channel.
    """
    *_, channels, height, width = (
        d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim
    )
    if channels not in (1, 3):
        raise FalconetError(
            f"model '{model.graph.name}': the input has {channels} channels; a photograph has 1 "
            "or 3, so calibrate with arrays"
        )
    known = get_meta(model).get("preprocess", {})
    defaults = {
        "fit": "letterbox", "colour": "GRAY" if channels == 1 else "RGB",
        "mean": [0.0] * channels, "std": [255.0] * channels,
    }
    given = {"mean": mean, "std": std, "colour": colour, "fit": fit}
    result = {**defaults, **known, **{k: v for k, v in given.items() if v is not None},
              "size": [height, width]}
    for name in ("mean", "std"):
        result[name] = [float(v) for v in result[name]]
        if len(result[name]) != channels:
            raise FalconetError(
                f"preprocess: {name} has {len(result[name])} numbers; give {channels}"
            )
    if result["fit"] == "crop":
        result.setdefault("resize", round(max(height, width) * 8 / 7))
    return result


def read_folder(folder: str | Path) -> dict[str, NDArray[np.uint8]]:
    """The photographs in a folder, by file name."""
    from PIL import Image, UnidentifiedImageError

    folder = Path(folder)
    if not folder.is_dir():
        raise FalconetError(f"{folder}: no such folder; give one with calibration images")
    images = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            with Image.open(path) as picture:
                images[path.name] = np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError):
            continue
    if not images:
        raise FalconetError(f"{folder}: there is no image in it; put some photographs there")
    return images


def _samples(
    model: onnx.ModelProto, calibration: Iterable[NDArray[Any]], preprocess: dict[str, Any] | None
) -> list[NDArray[np.float32]]:
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    samples = []
    for i, item in enumerate(calibration):
        item = np.asarray(item)
        if item.dtype == np.uint8:
            if preprocess is None:
                preprocess = preprocess_of(model)
            item = to_tensor(item, preprocess)
        item = item.astype(np.float32).reshape((1, *item.shape) if item.ndim == 3 else item.shape)
        if item.shape != shape:
            raise FalconetError(
                f"calibration image {i}: its shape {list(item.shape)} is not the input's "
                f"{list(shape)}; give photographs (uint8) or tensors of that shape"
            )
        samples.append(np.ascontiguousarray(item))
    if not samples:
        raise FalconetError("calibration: there are no images; give at least one, better 20")
    return samples


def quantize(
    source: str | Path | onnx.ModelProto,
    calibration: Iterable[NDArray[Any]] | Mapping[str, NDArray[Any]],
    out_path: str | Path | None = None,
    *,
    method: str = "mse",
    equalisation: bool = True,
    bias_correction: bool = True,
    preprocess: dict[str, Any] | None = None,
    progress: Progress = lambda stage, share: None,
) -> onnx.ModelProto:
    """Quantise ``source`` to int8.

    Parameters
    ----------
    source:
        A float ONNX model with one input of fixed size, or the path of one.
    calibration:
        Photographs (uint8, pre-processed as the model's metadata says) or float tensors
        [1, C, H, W]; a mapping's values are taken.
    out_path:
        Where the result is written to, if anywhere.
    method:
        How the ranges of activations are chosen: one of ``calibration.METHODS``.
    equalisation:
        Whether channels are balanced first (:mod:`falconet_models.equalise`).
    bias_correction:
        Whether the mean error of each convolution is taken out of its bias.
    preprocess:
        Instead of the metadata's (see :func:`preprocess_of`); it is stored in the result.
    progress:
        Called with the name of the stage and the share of it that is done.

    Raises
    ------
    FalconetError
        For a model that cannot be quantised, and for calibration data that do not fit it.
    """
    if method not in METHODS:
        raise FalconetError(f"method '{method}' is unknown; use one of {', '.join(METHODS)}")
    model = load_float(source)
    if isinstance(calibration, Mapping):
        calibration = calibration.values()
    samples = _samples(model, calibration, preprocess)
    plan = make_plan(model)
    if equalisation:
        model = equalise(model, samples)
        plan = make_plan(model)
    if not plan.weighted:
        raise FalconetError(f"model '{model.graph.name}': it has no convolution; give a network")
    histograms, means = collect(
        model, list(plan.group), [n.output[0] for n in plan.weighted], samples, progress
    )
    ranges = {
        first: choose_range(Histogram.merge([histograms[t] for t in members]), method)
        for first, members in plan.members().items()
    }
    biases = None
    if bias_correction:
        biases = correct_biases(model, plan, ranges, means, samples, progress)
    result = insert(model, plan, ranges, biases)
    if preprocess is not None:
        set_meta(result, {**get_meta(result), "preprocess": preprocess})
    if out_path is not None:
        Path(out_path).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(result, str(out_path))
    progress("done", 1.0)
    return result
