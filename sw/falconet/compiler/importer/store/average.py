from __future__ import annotations

import dataclasses

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Average
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError

__all__: list[str] = []


@stores(Average)
def average(builder: Builder, expr: Average, stage: Stage, name: str) -> str:
    """Multipliers of each pixel: the window's sum over how many it counts there."""
    if stage.alpha is not None and np.ptp(stage.alpha):
        raise FalconetError("PRelu of an average needs one slope; put Q/DQ before it")
    t, c = builder.graph.tensors[expr.source], expr.shape[0]
    if stage.alpha is not None:
        stage = dataclasses.replace(stage, alpha=np.full(expr.divisor.size, stage.alpha.flat[0]))
    scale = t.scale / expr.divisor / stage.scale
    by_pixel = builder.requantise(scale.reshape(-1), stage).consts()
    ky, kx = expr.attrs.kernel
    consts = {"bias": np.full(c, -ky * kx * t.zero_point, np.int32),
              **{k: v.reshape(scale.shape) for k, v in by_pixel.items()}}
    attrs = dataclasses.replace(expr.attrs, pad=t.zero_point, **stage.clamp())
    return builder.emit(attrs, expr.node, [expr.source], name, stage, consts)
