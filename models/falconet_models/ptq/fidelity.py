"""What quantisation lost: each quantised tensor against the float network, on the photographs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet_models.onnx_session import snr_db
from falconet_models.ptq.calibration import Outlier, with_outputs
from falconet_models.ptq.prepare import session
from falconet_models.ptq.qdq import scale_and_zero_point
from falconet_models.ptq.stored_tensors import Plan

__all__ = ["CLEAR_SNR", "FEW_LEVELS", "LOW_SNR", "Fidelity", "Report", "measure"]

LOW_SNR = 5.0
"""dB below which a tensor is warned of. The worst of mobilenetv2 has 13.1, of retinaface 15.4."""
FEW_LEVELS, CLEAR_SNR = 16, 20.0
"""Levels below which it is, unless it has the latter dB: some tensors have few values."""


@dataclass(frozen=True)
class Fidelity:
    """One tensor.

    ``low`` and ``high`` are its range; ``levels`` how many of the 256 values of int8 lie between
    its least and its greatest; ``snr_db`` its energy in the float network over that of the
    difference, infinite if there is none. Both are the median of the photographs, so that one on
    which all is large does not hide the others. The difference is that of the whole network up to
    here, not of this tensor's rounding alone.
    """

    tensor: str
    low: float
    high: float
    levels: int
    snr_db: float

    @property
    def poor(self) -> bool:
        return self.snr_db < (CLEAR_SNR if self.levels < FEW_LEVELS else LOW_SNR)


@dataclass(frozen=True)
class Report:
    """``tensors`` in the network's order; ``left_out`` of the photographs, by name."""

    tensors: list[Fidelity]
    left_out: dict[str, Outlier]

    def worst(self, count: int) -> list[Fidelity]:
        return sorted(self.tensors, key=lambda t: (t.snr_db, t.levels))[:count]

    def warnings(self) -> list[str]:
        """One sentence for each photograph left out, and one for all poor tensors."""
        said = [
            f"{name}: left out of the calibration, with it the range of '{o.tensor}' is "
            f"{o.ratio:.0f} times as wide; give more photographs like it, or keep it with "
            "--keep-outliers" for name, o in self.left_out.items()]
        if poor := [t for t in self.worst(len(self.tensors)) if t.poor]:
            more = f" (and {len(poor) - 1} more tensors)" if len(poor) > 1 else ""
            said.append(
                f"tensor '{poor[0].tensor}'{more} is hardly what it was: {poor[0].snr_db:.1f} dB, "
                f"{poor[0].levels} levels of 256; look at the photographs of the calibration, or "
                "try another --method")
        return said

    def to_json(self) -> dict[str, Any]:
        """Infinity, which JSON has not, as null."""
        return {
            "tensors": [{**asdict(t), "snr_db": t.snr_db if math.isfinite(t.snr_db) else None,
                         "poor": t.poor} for t in self.tensors],
            "left_out": {name: asdict(o) for name, o in self.left_out.items()},
            "warnings": self.warnings(),
        }


def measure(
    model: onnx.ModelProto, quantised: onnx.ModelProto, plan: Plan,
    ranges: Mapping[str, tuple[float, float]], samples: Sequence[NDArray[np.float32]],
) -> list[Fidelity]:
    """Run both networks on ``samples``; ``quantised`` is ``qdq.insert``'s of ``model``."""
    (entry,) = (i.name for i in model.graph.input)
    tensors = [t for t in plan.group if t != entry]
    exact = session(with_outputs(model, tensors))
    stored = session(with_outputs(quantised, [f"{t}.stored" for t in tensors]), optimise=False)
    snr = np.zeros((len(samples), len(tensors)))
    levels = np.zeros_like(snr)
    for i, x in enumerate(samples):
        pairs = zip(exact.run(None, {entry: x}), stored.run(None, {entry: x}))
        for j, (real, q) in enumerate(pairs):
            scale, zero_point = scale_and_zero_point(*ranges[plan.group[tensors[j]]])
            value = (q.astype(np.float64) - zero_point) * scale
            snr[i, j] = snr_db(real, value) if real.any() else np.nan  # of nothing, nothing is lost
            levels[i, j] = int(q.max()) - int(q.min()) + 1
    snr[:, np.isnan(snr).all(axis=0)] = np.inf
    return [Fidelity(t, *ranges[plan.group[t]], int(np.median(levels[:, j])),
                     float(np.nanmedian(snr[:, j]))) for j, t in enumerate(tensors)]
