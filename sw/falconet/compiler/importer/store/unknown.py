"""What a refused node would have made: a tensor, so that the import goes on."""

from __future__ import annotations

from falconet.compiler.graph import Tensor
from falconet.compiler.importer.build import Builder, stores
from falconet.compiler.importer.expr import Unknown
from falconet.compiler.importer.stage import Stage

__all__: list[str] = []


@stores(Unknown)
def unknown(builder: Builder, expr: Unknown, stage: Stage, name: str) -> str:
    found = builder.free(name)
    builder.graph.tensors[found] = Tensor(found, expr.shape, stage.scale, stage.zero_point)
    builder.ranges[found] = (stage.lo, stage.hi)
    return found
