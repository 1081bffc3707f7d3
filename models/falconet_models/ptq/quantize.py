"""Post-training quantisation: a float ONNX model and some photographs -> a QDQ model.

A detector is cut behind its heads (``head_cut``); photographs unlike all others are left out, and
ranges of the activations are measured on the rest by running the float model in onnxruntime
(``calibration``), its channels balanced before (``equalise``); the QDQ graph is written (``qdq``);
the mean error of every convolution is taken out of its bias (``bias_correction``); and what was
lost is measured (``fidelity``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.compiler.importer.onnx.convert import import_structure
from falconet.isa import FalconetError, near
from falconet.runtime.photographs import files_in, read_photograph
from falconet_models.float_pictures import to_tensor
from falconet_models.metadata import get_meta, set_meta
from falconet_models.ptq.calibration import METHODS, outliers
from falconet_models.ptq.fidelity import Report, measure
from falconet_models.ptq.fit import BEST, Fit, Progress, Way, choose
from falconet_models.ptq.loading import explained, load_network, loaded
from falconet_models.ptq.qdq import insert
from falconet_models.ptq.stored_tensors import Plan, make_plan

__all__ = ["load_network", "preprocess_of", "quantize", "read_folder", "unmeasured"]


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
    model: onnx.ModelProto, calibration: Iterable[NDArray[Any]] | Mapping[str, NDArray[Any]],
    given: Mapping[str, Any] | None,
) -> tuple[list[NDArray[np.float32]], list[str], dict[str, Any] | None]:
    """Input tensors, their names, and the pre-processing if one was applied or asked for."""
    names = list(calibration) if isinstance(calibration, Mapping) else []
    images = calibration.values() if isinstance(calibration, Mapping) else calibration
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    used = preprocess_of(model, given) if given is not None else None
    samples = []
    for i, item in enumerate(images):
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
    return samples, names or [f"calibration image {i}" for i in range(len(samples))], used


def _check_method(method: str) -> None:
    known = (*METHODS, BEST)
    if method not in known:
        raise FalconetError(f"method '{method}' is unknown; {near(method, known)}use one of "
                            f"{', '.join(known)}")


def _plan(model: onnx.ModelProto, why: str = "") -> Plan:
    """What is quantised, refused if the compiler could not take it.

    ``why`` is what stands in the way of taking the end of the network for a detector's tail.
    """
    with explained(why):
        plan = make_plan(model)
        import_structure(_unmeasured(model, plan))
    if not plan.weighted:
        raise FalconetError(f"model '{model.graph.name}': it has no convolution; give a network")
    return plan


def _unmeasured(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """The QDQ model with ranges of no meaning, each another so that none equal by chance."""
    return insert(model, plan, {
        first: (-1.0, 1.0 + i / 1024) for i, first in enumerate(plan.members())})


def unmeasured(
    source: str | Path | onnx.ModelProto, heads: Mapping[str, Any] | str | Path | None = None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The prepared float model and a QDQ model of it without calibration.

    The latter is for :func:`import_structure` alone: it says what the network becomes, and not what
    it computes.
    ``source`` and ``heads`` as in :func:`quantize`; raises what that raises of the model.
    """
    model = load_network(source, heads)
    return model, _unmeasured(model, make_plan(model))


def _planned(
    source: str | Path | onnx.ModelProto, heads: Mapping[str, Any] | str | Path | None,
    detect: bool, recognised: Callable[[str], None] | None,
) -> tuple[onnx.ModelProto, Plan]:
    """The model as it will be quantised, and where."""
    model, found, line = loaded(source, heads, detect)
    plan = _plan(model, "" if found else line)
    if found and recognised is not None:
        recognised(line)
    return model, plan


def quantize(
    source: str | Path | onnx.ModelProto,
    calibration: Iterable[NDArray[Any]] | Mapping[str, NDArray[Any]],
    out_path: str | Path | None = None, *, method: str = "mse", equalisation: bool = True,
    bias_correction: bool = True, preprocess: Mapping[str, Any] | None = None, detect: bool = True,
    heads: Mapping[str, Any] | str | Path | None = None, keep_outliers: bool = False,
    recognised: Callable[[str], None] | None = None,
    report: Callable[[Report], None] | None = None, progress: Progress = lambda stage, share: None,
) -> onnx.ModelProto:
    """Quantise ``source``, a float ONNX model with one input of fixed size or its file, to int8.

    Parameters
    ----------
    calibration:
        Photographs (uint8, pre-processed as the model's metadata says) or float tensors
        [1, C, H, W]; a mapping's values are taken.
    out_path:
        Where the result is written to, if anywhere.
    method:
        How ranges are chosen (``calibration.METHODS``), or ``"best"``: whatever does best on
        photographs of the calibration that are held back, without ``equalisation`` too.
    equalisation, bias_correction:
        Whether channels are balanced first; whether convolutions keep their mean.
    preprocess:
        Fields (``mean``, ``std``, ``colour``, ``fit`` ...) in place of those in the model's
        metadata (see :func:`preprocess_of`). What was applied is stored in the result.
    heads:
        A detector's heads (:mod:`falconet_models.metadata`, kind ``"detection"``) or the JSON file
        that describes them, in place of the model's. What is behind them is cut off.
    detect, recognised:
        Whether a detector's tail is looked for where nothing describes one; who is told of it.
    keep_outliers:
        Whether photographs that stand out (:func:`calibration.outliers`) are calibrated on too.
    report, progress:
        Called with what was lost, which takes as long again to find out; and with the name of the
        stage and the share of it that is done.

    Raises
    ------
    FalconetError
        For a model that cannot be quantised, and for calibration data that do not fit it.
    """
    _check_method(method)
    model, plan = _planned(source, heads, detect, recognised)
    samples, names, used = _samples(model, calibration, preprocess)
    odd = {} if keep_outliers else outliers(model, plan.members(), samples, progress)
    samples = [x for i, x in enumerate(samples) if i not in odd]
    way = Way(method, equalisation, bias_correction)
    if method == BEST:
        way = choose(model, samples, way, progress)
    fit = Fit(model, samples, way.equalisation, progress)
    result, ranges = fit.quantised(way)
    if report is not None:
        progress("compare", 0.0)
        report(Report(measure(fit.model, result, fit.plan, ranges, samples),
                      {names[i]: o for i, o in odd.items()}))
    _finish(result, used, out_path)
    progress("done", 1.0)
    return result


def _finish(
    result: onnx.ModelProto, used: dict[str, Any] | None, out_path: str | Path | None
) -> None:
    """Note the pre-processing that was applied, and write the model where it is asked for."""
    if used is not None:
        set_meta(result, {**get_meta(result), "preprocess": used})
    if out_path is not None:
        Path(out_path).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(result, str(out_path))
