from __future__ import annotations

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Product
from falconet.compiler.importer.stage import Stage
from falconet.isa.graph.ops import product as ops

__all__: list[str] = []


@stores(Product)
def product(builder: Builder, expr: Product, stage: Stage, name: str) -> str:
    first, second = (builder.graph.tensors[n] for n in expr.tensors)
    channels = expr.shape[0]
    scale = np.full(channels, first.scale * second.scale / stage.scale)
    consts = {"bias": np.zeros(channels, np.int32), **builder.requantise(scale, stage).consts()}
    zeros = first.zero_point, second.zero_point
    return builder.emit(ops.Product(zeros=zeros, **stage.clamp()), expr.node, list(expr.tensors),
                        name, stage, consts)
