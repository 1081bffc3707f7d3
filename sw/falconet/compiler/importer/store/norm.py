"""Layer norm and RMS norm."""

from __future__ import annotations

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Norm
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError
from falconet.isa.graph.ops import norm as ops

__all__: list[str] = []


@stores(Norm)
def norm(builder: Builder, expr: Norm, stage: Stage, name: str) -> str:
    if stage.alpha is not None:
        raise FalconetError("a leaky ReLU behind a norm; put Q/DQ between the two")
    t, c = builder.graph.tensors[expr.tensor], expr.shape[0]
    consts = {"gamma": np.zeros(c, np.int32), "bias": np.zeros(c, np.int32),
              "shift": np.zeros(c, np.uint8)}
    attrs = ops.Norm(rms=expr.rms, zero_in=t.zero_point if expr.rms else 0, **stage.clamp())
    return builder.emit(attrs, expr.node, [expr.tensor], name, stage, consts)
