"""What is only in another order, or has more around it, is moved when it is stored."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.graph import Shape
from falconet.compiler.importer.arrange import arranged
from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Expr, Filled, Move, Real, View
from falconet.compiler.importer.stage import Stage
from falconet.compiler.importer.store.move import inner_stage, of_tensors
from falconet.isa.graph.operator import Operator

__all__: list[str] = []


@stores(View)
def view(builder: Builder, expr: View, stage: Stage, name: str) -> str:
    inner = builder.quantise(expr.inner, inner_stage(expr.inner, stage), f"{name}/in")

    def make(attrs: Operator, inputs: list[Expr], shape: Shape) -> Expr:
        tensors = [x.tensor for x in inputs if isinstance(x, Real)]
        move = Move(expr.node, shape, attrs, tuple(inputs))
        return Real(expr.node, shape, of_tensors(builder, move, tensors,
                                                   f"{name}/{attrs.op}"))

    real = Real(expr.node, expr.inner.shape, inner)
    found = arranged(make, dataclasses.replace(expr, inner=real))
    assert isinstance(found, Real)
    return found.tensor


@stores(Filled)
def filled(builder: Builder, expr: Filled, stage: Stage, name: str) -> str:
    inner = builder.quantise(expr.inner, inner_stage(expr.inner, stage), f"{name}/in")
    value = np.float32(expr.value)
    if stage.alpha is not None and value < 0:
        value = value * np.float32(stage.alpha.flat[0])
    fill = int(np.clip(stage.to_int(value), -128, 127))
    attrs = dataclasses.replace(expr.attrs, fill=fill)
    move = Move(expr.node, expr.shape, attrs, (expr.inner,))
    out = of_tensors(builder, move, [inner], name)
    lo, hi = builder.ranges[out]
    builder.ranges[out] = min(lo, fill), max(hi, fill)
    return out
