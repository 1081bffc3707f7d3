"""Pixel repetition: element-wise copies whose output steps over pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falconet.compiler.machine.eltwise import EltwiseOp
from falconet.compiler.machine.op import Emitted, Tile

__all__ = ["CopyOp"]


@dataclass(frozen=True, eq=False)
class CopyOp(EltwiseOp):
    """Pixel repetition: the input is written ``fy * fx`` times, each time at another phase.

    ``width`` is the input's; ``height`` the output's; tiles are multiples of ``fy`` rows.
    """

    fy: int = 1
    fx: int = 1

    @property
    def row_grain(self) -> int:
        return self.fy

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [(y0 // self.fy, -(-y1 // self.fy))]

    def cycles(self, tile: Tile) -> int:
        inner = Tile(tile.y0 // self.fy, tile.y1 // self.fy, tile.b0, tile.b1)
        return self.fy * self.fx * super().cycles(inner)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        y0, y1 = tile.y0 // self.fy, tile.y1 // self.fy
        inner = Tile(y0, y1, tile.b0, tile.b1)
        base = next(super().emit(inner, w_base))
        for py in range(self.fy):
            for px in range(self.fx):
                view = dst.view("out", tile.y0 + py, tile.b0, y_step=self.fy, x_step=self.fx, x=px)
                yield Emitted(base.instruction.replace(**view), base.reads,
                              dst.regions(tile.y0, tile.y1, tile.b0, tile.b1))
