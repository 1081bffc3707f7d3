"""Limits and slopes become a part of the stage that what they are applied to is stored by."""

from __future__ import annotations

import dataclasses

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Clamp, Leaky, Real, scaled
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError

__all__: list[str] = []


@stores(Clamp)
def clamp(builder: Builder, expr: Clamp, stage: Stage, name: str) -> str:
    if stage.alpha is not None:
        raise FalconetError("clamp and then leaky ReLU; put Q/DQ between the two")
    lo, hi = (int(stage.to_int(v)) for v in (expr.lo, expr.hi))
    return _inner(builder, expr, dataclasses.replace(stage, lo=lo, hi=hi), name)


@stores(Leaky)
def leaky(builder: Builder, expr: Leaky, stage: Stage, name: str) -> str:
    if stage.alpha is not None:
        raise FalconetError("two leaky ReLUs in a row; put Q/DQ between them")
    return _inner(builder, expr, dataclasses.replace(stage, alpha=expr.alpha), name)


def _inner(builder: Builder, expr: Clamp | Leaky, stage: Stage, name: str) -> str:
    inner = expr.inner
    if isinstance(inner, Real) and not builder.stored_as(inner, stage):
        inner = scaled(inner, expr.node)
    return builder.quantise(inner, stage, name)
