"""Pooling over groups of channel blocks: blocks that lie one behind the other, read as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falconet.compiler.machine.op import Emitted, Tile
from falconet.compiler.machine.place import MASK, Slot, wrapped
from falconet.compiler.machine.window import WindowOp
from falconet.isa import Dst, Window

__all__ = ["StackOp"]


@dataclass(frozen=True, eq=False)
class StackOp(WindowOp):
    """Sum or maximum over ``stack`` groups of ``apart`` blocks each, and over a window.

    Kernel rows are the groups of a row, then those of the next one: with more than one row the
    groups must be all that a row of the buffer holds. ``chain``: parts of the rows, of a result of
    one pixel; the machine takes them for columns and adds these up.
    """

    stack: int = 1
    apart: int = 1
    chain: int = 1

    blockwise = False

    @property
    def slide(self) -> None:
        return None

    @property
    def _chain(self) -> int:
        return self.chain

    def blocks_read(self, tile: Tile, slot: Slot) -> list[int]:
        return [slot.block0 + k * self.apart + b for k in range(self.stack)
                for b in range(tile.b0, tile.b1)]

    def cycles(self, tile: Tile) -> int:
        return super().cycles(tile) * self.stack

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src, dst = self.inputs[0], self.output
        assert dst is not None
        (ky, kx), (sy, sx) = self.kernel, self.stride
        buf, base, step = src.buffer, w_base % self.arch.vector_words, self.block_words(0)
        assert ky == 1 or buf.blocks == self.stack * self.apart
        (y0, y1), rows = self.needs(tile.y0, tile.y1)[0], tile.y1 - tile.y0
        assert self.chain == 1 or (buf.whole and self.width == rows == 1)
        part = ky // self.chain
        view = src.view("in", tile.y0 * sy, y_step=sy if rows > 1 else 0,
                        x_step=sx if self.chain == 1 else buf.rows(part))
        # Nothing is read outside, so that the machine need not know which row it reads.
        ins = Window(
            **{**view, **dst.view("out", tile.y0, tile.b0),
               "in_base": (view["in_base"] + tile.b0 * buf.width) & MASK},
            in_ky_step=self.apart * buf.width if self.stack * ky > 1 else 0,
            in_kx_step=1 if kx > 1 else 0, in_h=Window.field("in_h").hi,
            in_w=Window.field("in_w").hi, dil_y=1, dil_x=1, n_b=tile.b1 - tile.b0, n_y=rows,
            n_x=self.width * self.chain, n_ky=self.stack * part, n_kx=kx, op=self.weight is None,
            fresh=1 << (self.arch.taps - self.chain), skip=self.chain - 1, every=1, w_base=base,
            w_b_step=0 if self.shared or tile.b1 - tile.b0 == 1 else step, **self.stage.fields(),
        )
        words = step if self.shared else (tile.b1 - tile.b0) * step
        reads = [r for k in range(self.stack)
                 for r in src.regions(y0, y1, k * self.apart + tile.b0, k * self.apart + tile.b1)]
        yield Emitted(
            ins, reads + wrapped(Dst.VECTOR, base, words, self.arch.vector_words)
            + ([(Dst.VEC_TABLE, 0, 1)] if self.table else []),
            dst.regions(tile.y0, tile.y1, tile.b0, tile.b1))
