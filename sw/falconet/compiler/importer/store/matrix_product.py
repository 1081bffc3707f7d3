from __future__ import annotations

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import MatMul
from falconet.compiler.importer.stage import Stage
from falconet.isa.graph.ops import matmul as ops

__all__: list[str] = []


@stores(MatMul)
def matmul(builder: Builder, expr: MatMul, stage: Stage, name: str) -> str:
    first, second = (builder.graph.tensors[n] for n in expr.tensors)
    step = first.scale * second.scale * expr.gain
    if builder.structure:
        step = np.ones_like(step)
    bias = np.rint(expr.offset / np.where(step > 0, step, 1))
    consts = {"bias": np.clip(bias, -(2.0**31), 2.0**31 - 1).astype(np.int32),
              **builder.requantise(step / stage.scale, stage).consts()}
    zeros = first.zero_point, second.zero_point
    return builder.emit(ops.MatMul(zeros=zeros, **stage.clamp()), expr.node, list(expr.tensors),
                        name, stage, consts)
