from __future__ import annotations

import numpy as np

from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Func
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError
from falconet.isa.graph.ops.eltwise import Eltwise

__all__: list[str] = []


@stores(Func)
def table(builder: Builder, expr: Func, stage: Stage, name: str) -> str:
    values = expr.values
    if stage.alpha is not None:
        if np.ptp(stage.alpha):
            raise FalconetError("PRelu of a table needs one slope; put Q/DQ before it")
        values = np.where(values < 0, values * np.float32(stage.alpha.flat[0]), values)
    stored = stage.to_int(values)
    c = expr.shape[0]
    consts = {"coef": np.ones((1, c), np.int32), "bias": np.zeros(c, np.int32),
              **builder.unit(c).consts(), "table": stored}
    out = builder.emit(Eltwise(), expr.node, [expr.tensor], name, stage, consts)
    builder.ranges[out] = (int(stored.min()), int(stored.max()))
    return out
