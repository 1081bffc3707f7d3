from __future__ import annotations

import dataclasses
import math

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Interpolated
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError
from falconet.isa.graph.ops.bilinear import LARGEST, Bilinear
from falconet.isa.graph.ops.interpolate import Interpolate

__all__: list[str] = []

_KINDS = 25
"""Pairs of phases of different weights that are computed at once: as many as a factor of 4 has."""

_FINER = 1.98
"""Times that a result's scale may be finer than its input's: what is stored between has the input's
scale, so that its rounding stays below one step of the result."""


@stores(Interpolated)
def interpolated(builder: Builder, expr: Interpolated, stage: Stage, name: str) -> str:
    """At once where the weights fit; else one axis after the other, and what is between has the
    source's scale and range."""
    t, source, c = builder.graph.tensors[expr.source], expr.source, expr.shape[0]
    units = [step.unit for step in expr.steps]
    kinds = [step.unit // math.gcd(step.step, step.unit) + 1 for step in expr.steps]
    if len(units) == 2 and math.prod(units) <= LARGEST and math.prod(kinds) <= _KINDS:
        y, x = sorted(expr.steps, key=lambda step: step.columns)
        both = Bilinear(size=(y.size, x.size), step=(y.step, x.step), first=(y.first, x.first),
                        unit=(y.unit, x.unit))
        return _step(builder, both, math.prod(units), source, stage, expr.node, name, c)
    *before, last = expr.steps
    if before and not builder.structure and t.scale > _FINER * stage.scale:
        raise FalconetError(f"a scale of {stage.scale:.3g} is more than {_FINER} times finer than "
                            f"that of its input, {t.scale:.3g}; quantise both with one scale")
    for step in before:
        between = Stage(t.scale, t.zero_point)
        source = _step(builder, step, step.unit, source, between, f"{expr.node}/step1",
                       f"{name}/step1", c)
    return _step(builder, last, last.unit, source, stage, expr.node, name, c)


def _step(builder: Builder, step: Interpolate | Bilinear, unit: int, source: str, stage: Stage,
          node: str, name: str, c: int) -> str:
    t = builder.graph.tensors[source]
    consts = {"bias": np.full(c, -unit * t.zero_point, np.int32),
              **builder.requantise(np.full(c, t.scale / unit / stage.scale), stage).consts()}
    attrs = dataclasses.replace(step, **stage.clamp())
    return builder.emit(attrs, node, [source], name, stage, consts)
