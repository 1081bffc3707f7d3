"""What our quantiser keeps of a network, next to what onnxruntime's own does, on equal terms.

Both get the same float network (prepared, a detector cut at its heads) and the same calibration;
both results are read literally, every node by itself.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from falconet_models.onnx_session import snr_db
from falconet_models.ptq.prepare import session
from falconet_models.ptq.quantize import load_network, quantize

__all__ = ["SETTINGS", "Comparison", "against_onnxruntime"]

Array = NDArray[Any]

SETTINGS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
"""How onnxruntime chooses ranges. Activations are s8 with a zero point (u8 is the same shifted by
128, to the last digit), weights int8 per channel."""


@dataclass(frozen=True)
class Comparison:
    """Signal-to-noise ratios in dB of the network's outputs: ours, and onnxruntime's by setting.

    Each is the mean over outputs of an output's energy over that of the difference, all inputs
    together. ``theirs`` has the settings that were tried.
    """

    ours: float
    theirs: dict[str, float]

    @property
    def best(self) -> float:
        """The best of onnxruntime's."""
        return max(self.theirs.values(), default=float("-inf"))


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, entry: str, samples: Sequence[Array]) -> None:
        self._left = iter([{entry: x} for x in samples])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


def _theirs(model: onnx.ModelProto, samples: Sequence[Array], setting: str) -> onnx.ModelProto:
    (entry,) = (i.name for i in model.graph.input)
    with (tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(),
          redirect_stdout(StringIO())):  # it prints
        warnings.simplefilter("ignore")
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, str(source))
        quantize_static(
            source, target, _Reader(entry, samples), quant_format=QuantFormat.QDQ,
            per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            calibrate_method=SETTINGS[setting])
        return onnx.load(str(target))


def _snr(exact: list[list[Array]], model: onnx.ModelProto, inputs: Sequence[Array],
         outputs: list[str]) -> float:
    """``exact``: the float network's outputs, by input."""
    run = session(model, optimise=False)
    (entry,) = (i.name for i in run.get_inputs())
    found = [run.run(outputs, {entry: x}) for x in inputs]
    each = [snr_db(np.stack([e[j] for e in exact]), np.stack([f[j] for f in found]))
            for j in range(len(outputs))]
    return float(np.mean(each))


def against_onnxruntime(
    source: str | Path | onnx.ModelProto,
    calibration: Iterable[Array] | Mapping[str, Array], *,
    inputs: Sequence[Array] | None = None, settings: Iterable[str] = tuple(SETTINGS),
    heads: Mapping[str, Any] | str | Path | None = None, ours: onnx.ModelProto | None = None,
) -> Comparison:
    """Quantise ``source`` in both ways and measure.

    Parameters
    ----------
    calibration:
        Float tensors [1, C, H, W]. onnxruntime holds all activations of all of them at once for
        percentiles: some 20 of a large network are gigabytes.
    inputs:
        What is measured on, [1, C, H, W]; the calibration if absent.
    settings:
        Which of :data:`SETTINGS` onnxruntime tries.
    heads:
        As :func:`quantize.quantize` takes it.
    ours:
        What :func:`quantize.quantize` made already of the same source and calibration.
    """
    samples = [np.asarray(x, np.float32) for x in (
        calibration.values() if isinstance(calibration, Mapping) else calibration)]
    inputs = samples if inputs is None else inputs
    model = load_network(source, heads)
    names = [o.name for o in model.graph.output]
    (entry,) = (i.name for i in model.graph.input)
    run = session(model)
    exact = [run.run(names, {entry: x}) for x in inputs]
    if ours is None:
        ours = quantize(source, samples, heads=heads)
    theirs: dict[str, float] = {}
    for setting in settings:
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            made = _theirs(model, samples, setting)
        finally:
            logging.disable(before)
        theirs[setting] = _snr(exact, made, inputs, names)
    return Comparison(_snr(exact, ours, inputs, names), theirs)
