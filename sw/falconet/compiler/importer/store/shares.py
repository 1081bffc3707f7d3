"""Softmax, and masks in front of it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Masked, Real, Softmax, Sum
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError
from falconet.isa.graph.ops import softmax as ops
from falconet.isa.graph.tensor import HI, LO
from falconet.isa.machine.channels import exponentials, softmax_scale

__all__: list[str] = []


@stores(Softmax)
def softmax(builder: Builder, expr: Softmax, stage: Stage, name: str) -> str:
    if stage.alpha is not None:
        raise FalconetError("a slope behind a softmax, whose results are never below 0; remove it")
    source = expr.tensor
    if expr.kept is not None:
        source = _hidden(builder, expr, expr.kept, f"{name}/masked")
    t = builder.graph.tensors[source]
    step, out = (1 / 16, 1 / 256) if builder.structure else (t.scale, stage.scale)
    scale, shift = softmax_scale(out)
    consts = {"exponential": np.array(exponentials(step), np.uint32)}
    if stage.lo < stage.zero_point:  # no share is below 0
        stage = dataclasses.replace(stage, lo=min(stage.zero_point, stage.hi))
    attrs = ops.Softmax(scale=scale, shift=shift, masked=expr.kept is not None, **stage.clamp())
    return builder.emit(attrs, expr.node, [source], name, stage, consts)


def _hidden(builder: Builder, expr: Softmax, kept: NDArray[np.bool_], name: str) -> str:
    """The tensor with -128 where it does not count, and nowhere else: a sum of it, above -128, and
    a constant of 0 and twice -128 steps."""
    t = builder.graph.tensors[expr.tensor]
    above = Stage(t.scale, t.zero_point, LO + 1, HI)
    real = Real(expr.node, expr.shape, expr.tensor)
    source = builder.quantise(real, above, f"{name}/above")
    mask = builder.constant(np.where(kept, 0, LO).astype(np.int8), 2 * t.scale, 0, f"{name}/mask")
    one = np.ones(expr.shape[0])
    total = Sum(f"{expr.node}/mask", expr.shape, ((source, one), (mask, one)), 0 * one)
    return builder.quantise(total, Stage(t.scale, t.zero_point), name)


@stores(Masked)
def masked(builder: Builder, expr: Masked, stage: Stage, name: str) -> str:
    raise FalconetError("scores are stored with a mask of minus infinity in them; store them "
                        "before it, and let a Softmax follow")
