"""Post-training quantisation: a float ONNX model and some photographs -> a QDQ model.

A detector is cut behind its heads (:mod:`falconet_models.heads`); photographs unlike all others
are left out, and ranges of the activations are measured on the rest by running the float model in
onnxruntime (:mod:`falconet_models.calibration`), its channels balanced before
(:mod:`falconet_models.equalise`); the QDQ graph is written (:mod:`falconet_models.qdq`); the mean
error of every convolution is taken out of its bias (:mod:`falconet_models.bias_correction`); and
what was lost is measured (:mod:`falconet_models.fidelity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.compiler.onnx_import import check_structure
from falconet.isa import FalconetError, near
from falconet.runtime.photographs import files_in, read_photograph
from falconet_models.bias_correction import correct_biases
from falconet_models.calibration import METHODS, Histogram, choose_range, collect, outliers
from falconet_models.equalise import equalise
from falconet_models.fidelity import Report, measure
from falconet_models.heads import check_description, cut, fold, load_heads, score_tensors
from falconet_models.metadata import get_meta, set_meta
from falconet_models.prepare import load_float, read_model
from falconet_models.preprocess import to_tensor
from falconet_models.qdq import Plan, insert, make_plan

__all__ = ["preprocess_of", "quantize", "read_folder"]

Progress = Callable[[str, float], None]
Ranges = dict[str, tuple[float, float]]

LOGITS = -8.0, 8.0
"""Range of a head's scores before the sigmoid, whatever was measured: beyond it a score is within
2**-11 of 0 or 1, and photographs without, say, large faces must not end it at no score above 0.5.
"""


def preprocess_of(
    model: onnx.ModelProto, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The model's ``preprocess``, with the fields in ``given`` put in place of its own.

    Where neither says anything: pixels divided by 255, R, G, B (grey for one channel), letterbox.
    One number of ``mean`` or ``std`` stands for all channels.
    """
    name = f"model '{model.graph.name}'"
    *_, channels, height, width = (
        d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim
    )
    if channels not in (1, 3):
        raise FalconetError(
            f"{name}: the input has {channels} channels and a photograph has 1 or 3; "
            "calibrate with float tensors"
        )
    result = {
        "fit": "letterbox", "colour": "GRAY" if channels == 1 else "RGB",
        "mean": [0.0] * channels, "std": [255.0] * channels,
        **get_meta(model).get("preprocess", {}), **(given or {}), "size": [height, width],
    }
    for field in ("mean", "std"):
        try:
            result[field] = [float(v) for v in result[field]]
        except (TypeError, ValueError):
            result[field] = []
        if len(result[field]) == 1:
            result[field] *= channels
        if len(result[field]) != channels or (field == "std" and min(result[field]) <= 0):
            raise FalconetError(
                f"{name}: preprocess.{field} is unusable; give one number, or one a channel "
                f"({channels}){', above 0' if field == 'std' else ''}"
            )
    allowed = {"fit": ("letterbox", "crop", "stretch"),
               "colour": ("RGB", "BGR") if channels == 3 else ("GRAY",)}
    for field, values in allowed.items():
        if result[field] not in values:
            raise FalconetError(f"{name}: preprocess.{field}='{result[field]}' is unknown; "
                                f"{near(result[field], values)}use {' or '.join(values)}")
    if result["fit"] == "crop":
        result.setdefault("resize", round(max(height, width) * 8 / 7))
    return result


def read_folder(folder: str | Path) -> dict[str, NDArray[np.uint8]]:
    """The photographs in a folder, by file name.

    Raises
    ------
    FalconetError
        If there is none, or names one that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FalconetError(f"{folder}: no such folder; give one with calibration images")
    return {path.name: read_photograph(path) for path in files_in(folder)}


def _samples(
    model: onnx.ModelProto, calibration: Iterable[NDArray[Any]], given: Mapping[str, Any] | None
) -> tuple[list[NDArray[np.float32]], dict[str, Any] | None]:
    """Input tensors, and the pre-processing if one was applied or asked for."""
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    used = preprocess_of(model, given) if given is not None else None
    samples = []
    for i, item in enumerate(calibration):
        item = np.asarray(item)
        if item.dtype == np.uint8:
            used = used or preprocess_of(model)
            item = to_tensor(item, used)
        item = item.astype(np.float32)
        item = item[None] if item.ndim == 3 else item
        if item.shape != shape:
            raise FalconetError(
                f"calibration image {i}: its shape {list(item.shape)} is not the input's "
                f"{list(shape)}; give photographs (uint8) or tensors of that shape"
            )
        samples.append(np.ascontiguousarray(item))
    if not samples:
        raise FalconetError("calibration: there are no images; give at least one, better 20")
    return samples, used


def _load(
    source: str | Path | onnx.ModelProto, heads: Mapping[str, Any] | str | Path | None
) -> onnx.ModelProto:
    """The float model, simplified; a detector ends at its heads, one logit a class."""
    model, name = read_model(source)
    meta = get_meta(model)
    given = heads if isinstance(heads, Mapping) or heads is None else load_heads(heads)
    if given is not None:
        description = {"kind": "detection", **given}
    else:
        description = meta.get("postprocess") or {}
    if description.get("kind") != "detection":
        return load_float(model, name)
    check_description(description, model, name=name)
    model = load_float(cut(model, description), name)
    check_description(description, model, name=name)
    set_meta(model, {**meta, "postprocess": fold(model, description)})
    return model


def _widen_scores(model: onnx.ModelProto, plan: Plan, ranges: Ranges) -> None:
    """Give the scores of a detector's heads the range LOGITS, at least."""
    description = get_meta(model).get("postprocess") or {}
    if description.get("kind") != "detection":
        return
    members = plan.members()
    for tensor in score_tensors(description):
        first = plan.group[tensor]
        low, high = LOGITS
        if len(members[first]) > 1:
            low, high = min(low, ranges[first][0]), max(high, ranges[first][1])
        ranges[first] = low, high


def quantize(
    source: str | Path | onnx.ModelProto,
    calibration: Iterable[NDArray[Any]] | Mapping[str, NDArray[Any]],
    out_path: str | Path | None = None,
    *,
    method: str = "mse",
    equalisation: bool = True,
    bias_correction: bool = True,
    preprocess: Mapping[str, Any] | None = None,
    heads: Mapping[str, Any] | str | Path | None = None,
    keep_outliers: bool = False,
    report: Callable[[Report], None] | None = None,
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
        Fields (``mean``, ``std``, ``colour``, ``fit`` ...) in place of those in the model's
        metadata (see :func:`preprocess_of`). What was applied is stored in the result.
    heads:
        A detector's heads (:mod:`falconet_models.metadata`, kind ``"detection"``) or the JSON file
        that describes them, in place of the model's ``postprocess``. What is behind them is cut
        off, and two logits of a softmax become one. The result's metadata say so.
    keep_outliers:
        Whether photographs that stand out (:func:`calibration.outliers`) are calibrated on too.
    report:
        Called with what was lost, which takes as long again to find out.
    progress:
        Called with the name of the stage and the share of it that is done.

    Raises
    ------
    FalconetError
        For a model that cannot be quantised, and for calibration data that do not fit it.
    """
    if method not in METHODS:
        raise FalconetError(f"method '{method}' is unknown; {near(method, METHODS)}use one of "
                            f"{', '.join(METHODS)}")
    model = _load(source, heads)
    plan = make_plan(model)
    check_structure(insert(model, plan, dict.fromkeys(plan.group, (-1.0, 1.0))))
    if not plan.weighted:
        raise FalconetError(f"model '{model.graph.name}': it has no convolution; give a network")
    names: list[str] = []
    if isinstance(calibration, Mapping):
        names, calibration = list(calibration), calibration.values()
    samples, used = _samples(model, calibration, preprocess)
    odd = {} if keep_outliers else outliers(model, plan.members(), samples, progress)
    left_out = {names[i] if names else f"calibration image {i}": o for i, o in odd.items()}
    samples = [x for i, x in enumerate(samples) if i not in odd]
    if equalisation:
        model = equalise(model, samples)
        plan = make_plan(model)
    histograms, means = collect(
        model, list(plan.group), [n.output[0] for n in plan.weighted], samples, progress
    )
    ranges = {
        first: choose_range(Histogram.merge([histograms[t] for t in members]), method)
        for first, members in plan.members().items()
    }
    _widen_scores(model, plan, ranges)
    biases = None
    if bias_correction:
        biases = correct_biases(model, plan, ranges, means, samples, progress)
    result = insert(model, plan, ranges, biases)
    if report is not None:
        progress("compare", 0.0)
        report(Report(measure(model, result, plan, ranges, samples), left_out))
    if used is not None:
        set_meta(result, {**get_meta(result), "preprocess": used})
    if out_path is not None:
        Path(out_path).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(result, str(out_path))
    progress("done", 1.0)
    return result
