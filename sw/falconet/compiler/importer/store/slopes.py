"""Slopes that no output stage has: below 0, or one a channel behind a table."""

from __future__ import annotations

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Func, Slopes, Sum, TwoSided
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError
from falconet.isa.graph.tensor import HI, LO

__all__: list[str] = []

_MOST = 0.5  # LSB that rounding the negative part may add


@stores(TwoSided)
def two_sided(builder: Builder, expr: TwoSided, stage: Stage, name: str) -> str:
    """Both parts are stored as the result is, and one of them is always its zero: exact."""
    whole = _whole(stage)
    parts = [builder.quantise(part, whole, f"{name}/{which}")
             for which, part in (("above", expr.above), ("below", expr.below))]
    one = np.ones(expr.shape[0])
    return builder.quantise(
        Sum(expr.node, expr.shape, tuple((p, one) for p in parts), 0 * one), stage, name)


@stores(Slopes)
def slopes(builder: Builder, expr: Slopes, stage: Stage, name: str) -> str:
    """A table for what is above 0, exact, and one for what is below, as fine as a byte can be."""
    whole = _whole(stage)
    gains = [np.ones(expr.shape[0]), expr.alpha]
    above = builder.quantise(
        Func(expr.node, expr.shape, expr.tensor, np.maximum(expr.values, 0)), whole,
        f"{name}/above")
    low = np.minimum(expr.values, 0)
    least = np.abs(expr.alpha[expr.alpha != 0]).min(initial=np.inf)
    reach = min(-float(low.min()), (HI - LO) * stage.scale / float(least))
    step = max(reach / (HI - LO), float(np.finfo(np.float32).tiny))
    if not builder.structure and step * np.abs(expr.alpha).max() > 2 * _MOST * stage.scale:
        raise FalconetError("slopes per channel behind a function of one tensor, too unlike for "
                            "one table; put QuantizeLinear and DequantizeLinear before it")
    below = builder.quantise(Func(expr.node, expr.shape, expr.tensor, low), Stage(step, HI),
                             f"{name}/below")
    terms = tuple(zip((above, below), gains))
    return builder.quantise(Sum(expr.node, expr.shape, terms, np.zeros(expr.shape[0])), stage, name)


def _whole(stage: Stage) -> Stage:
    """The stage without its limits, which are for the sum."""
    if stage.alpha is not None:
        raise FalconetError("two leaky ReLUs in a row; put Q/DQ between them")
    return Stage(stage.scale, stage.zero_point)
