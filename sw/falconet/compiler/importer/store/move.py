"""Operators that commute with quantisation: their operands are stored as the result is to be."""

from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Expr, Move
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError

__all__ = ["inner_stage", "of_tensors"]


@stores(Move)
def move(builder: Builder, expr: Move, stage: Stage, name: str) -> str:
    inputs = [builder.quantise(inner, inner_stage(inner, stage), f"{name}/in{i}")
              for i, inner in enumerate(expr.inners)]
    return of_tensors(builder, expr, inputs, name)


def inner_stage(inner: Expr, stage: Stage) -> Stage:
    """How an operand is stored, if the result of the move is stored as ``stage``."""
    if stage.alpha is None:
        return stage
    if np.ptp(stage.alpha):
        raise FalconetError("PRelu here needs one slope; put Q/DQ before it")
    return dataclasses.replace(stage, alpha=np.full(inner.shape[0], stage.alpha.flat[0]))


def of_tensors(builder: Builder, expr: Move, inputs: list[str], name: str) -> str:
    """A Move of tensors that share one scale."""
    t = builder.graph.tensors[inputs[0]]
    consts = {}
    if expr.attrs.staged:
        c = expr.shape[0]
        consts = {"bias": np.zeros(c, np.int32), **builder.unit(c).consts()}
    out = builder.emit(expr.attrs, expr.node, inputs, name, Stage(t.scale, t.zero_point), consts)
    los, his = zip(*(builder.ranges[i] for i in inputs))
    builder.ranges[out] = (min(los), max(his))
    return out
