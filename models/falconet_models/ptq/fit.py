"""A float network fitted to calibration data: channels balanced, ranges chosen, biases mended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet_models.metadata import get_meta
from falconet_models.ptq.bias_correction import correct_biases
from falconet_models.ptq.calibration import Histogram, choose_range, collect
from falconet_models.ptq.equalise import equalise
from falconet_models.ptq.head_cut import score_tensors
from falconet_models.ptq.means import widen_means
from falconet_models.ptq.prepare import session
from falconet_models.ptq.qdq import insert
from falconet_models.ptq.stored_tensors import Plan, make_plan

__all__ = ["BEST", "Fit", "Progress", "Way", "choose"]

BEST = "best"
_TRIED = ("mse", "percentile", "minmax")
_HELD_BACK, _MOST = 4, 8  # every fourth photograph, and no more
_BETTER = 0.5  # dB, less may be chance

Progress = Callable[[str, float], None]
Ranges = dict[str, tuple[float, float]]
Samples = Sequence[NDArray[np.float32]]

LOGITS = -8.0, 8.0
"""Range of a head's scores before the sigmoid, whatever was measured: beyond it a score is within
2**-11 of 0 or 1, and photographs without, say, large faces must not end it at no score above 0.5.
"""


@dataclass(frozen=True)
class Way:
    """How a network is fitted: arguments of ``quantize`` of the same names."""

    method: str
    equalisation: bool
    bias_correction: bool


class Fit:
    """A network and what was measured of it on ``samples``.

    Members
    -------
    model:
        The float network, with its channels balanced if asked for.
    plan:
        Where it is quantised.
    """

    def __init__(self, model: onnx.ModelProto, samples: Samples, equalisation: bool,
                 progress: Progress) -> None:
        self.model = equalise(model, samples) if equalisation else model
        self.plan = make_plan(self.model)
        self._samples, self._progress = samples, progress
        self._histograms, self._means = collect(
            self.model, list(self.plan.group), [n.output[0] for n in self.plan.weighted], samples,
            progress)

    def quantised(self, way: Way) -> tuple[onnx.ModelProto, Ranges]:
        """The QDQ model, and the range of every group."""
        ranges = {
            first: choose_range(Histogram.merge([self._histograms[t] for t in members]), way.method)
            for first, members in self.plan.members().items()
        }
        _widen_scores(self.model, self.plan, ranges)
        widen_means(self.model, self.plan, ranges)
        biases = None if not way.bias_correction else correct_biases(
            self.model, self.plan, ranges, self._means, self._samples, self._progress)
        return insert(self.model, self.plan, ranges, biases), ranges


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


def choose(model: onnx.ModelProto, samples: Samples, way: Way, progress: Progress) -> Way:
    """The way that keeps most of the outputs of photographs that it has not seen.

    Every fourth of ``samples`` is held back and the others are fitted in all ways. The first of the
    methods, with what ``way`` asks for, is left only for one that is ``_BETTER``; of fewer than
    four samples it is taken without a try.
    """
    first = dataclasses.replace(way, method=_TRIED[0])
    held = list(range(_HELD_BACK - 1, len(samples), _HELD_BACK))[:_MOST]
    if not held:
        return first
    seen = [x for i, x in enumerate(samples) if i not in held]
    unseen = [samples[i] for i in held]
    exact = _outputs(model, unseen, True)
    found: dict[Way, float] = {}
    for equalisation in (True, False) if way.equalisation else (False,):
        fit = Fit(model, seen, equalisation, progress)
        for method in _TRIED:
            tried = dataclasses.replace(way, method=method, equalisation=equalisation)
            quantised, _ = fit.quantised(tried)
            found[tried] = _quality(exact, _outputs(quantised, unseen, False))
    best = max(found, key=lambda w: found[w])
    return best if found[best] > found[first] + _BETTER else first


def _outputs(model: onnx.ModelProto, samples: Samples, optimise: bool
             ) -> list[list[NDArray[np.float32]]]:
    run = session(model, optimise=optimise)
    (entry,) = (i.name for i in model.graph.input)
    names = [o.name for o in model.graph.output]
    return [run.run(names, {entry: x}) for x in samples]


def _quality(exact: list[list[NDArray[np.float32]]], found: list[list[NDArray[np.float32]]]
             ) -> float:
    """Mean of the outputs' signal-to-noise ratios in dB, all samples together."""
    each = []
    for real, got in zip(zip(*exact), zip(*found)):
        wanted = np.stack(real).astype(np.float64)
        noise = max(float(np.square(wanted - np.stack(got)).sum()), np.finfo(np.float64).tiny)
        each.append(10 * np.log10(max(float(np.square(wanted).sum()), noise * 1e-9) / noise))
    return float(np.mean(each))
