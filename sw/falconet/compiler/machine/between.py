"""Weighted sums of rows, or of columns, of one tensor."""

from __future__ import annotations

from dataclasses import dataclass

from falconet.compiler.machine.eltwise import EltwiseOp
from falconet.compiler.machine.op import Tile
from falconet.compiler.machine.place import Slot

__all__ = ["BetweenOp"]


@dataclass(frozen=True, eq=False)
class BetweenOp(EltwiseOp):
    """An element-wise operation whose inputs are rows or columns of a tensor
    (:class:`falconet.compiler.machine.lattice.Stepped`): they say themselves what is repeated."""

    def _rows(self, slot: Slot, y0: int, y1: int) -> tuple[int, int]:
        return y0, y1

    def _view(self, prefix: str, slot: Slot, tile: Tile) -> dict[str, int]:
        return slot.view(prefix, tile.y0, tile.b0)
