"""Sums, and tensors that are to be stored in another way."""

from __future__ import annotations

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Input, Real, Sum, scaled
from falconet.compiler.importer.requant import weighted_sum
from falconet.compiler.importer.stage import Stage
from falconet.isa.graph.ops.eltwise import Eltwise
from falconet.isa.graph.tensor import HI, LO

__all__: list[str] = []


@stores(Sum)
def total(builder: Builder, expr: Sum, stage: Stage, name: str) -> str:
    terms, offset = expr.terms, expr.offset
    sources = [builder.graph.tensors[n] for n, _ in terms]
    ratios = np.array([s.scale * g / stage.scale for s, (_, g) in zip(sources, terms)])
    if builder.structure:
        ratios, offset = np.ones_like(ratios), np.zeros_like(offset)
    coef, bias, scale = weighted_sum(
        ratios, [s.zero_point for s in sources], offset / stage.scale, builder.arch)
    consts = {"coef": coef, "bias": bias, **builder.requantise(scale, stage).consts()}
    names = [s.name for s in sources]
    return builder.emit(Eltwise(**stage.clamp()), expr.node, names, name, stage, consts)


@stores(Real)
def real(builder: Builder, expr: Real, stage: Stage, name: str) -> str:
    if builder.stored_as(expr, stage):
        return expr.tensor
    return total(builder, scaled(expr, f"{expr.node}/rescale"), stage, name)


@stores(Input)
def graph_input(builder: Builder, expr: Input, stage: Stage, name: str) -> str:
    builder.add_input(expr.name, expr.shape, stage.scale, stage.zero_point)
    # Brevitas keeps -128 out of a signed input: the host's quantiser may use it.
    whole = stage.hi == HI and stage.lo in (LO, LO + 1)
    if whole and stage.alpha is None:
        return expr.name
    tensor = Real(expr.node, expr.shape, expr.name)
    return total(builder, scaled(tensor, expr.node), stage, name)
