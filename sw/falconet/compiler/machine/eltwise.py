"""Sums, products, rescaling and look-ups: the vector engine, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falconet.compiler.machine import cost, pack
from falconet.compiler.machine.op import Emitted, Op, Tile
from falconet.compiler.machine.place import Array, Slot, wrapped
from falconet.compiler.machine.stage import OutputStage
from falconet.isa import Arch, Dst, Elementwise, Engine

__all__ = ["EltwiseOp"]


@dataclass(frozen=True, eq=False)
class EltwiseOp(Op):
    """Scaled sum, product, rescaling or look-up. ``coef``: int32 [n_src, lanes].

    Of an input with one row, column or block less than the output has, that one is read again.
    """

    arch: Arch = None  # type: ignore[assignment]
    stage: OutputStage = None  # type: ignore[assignment]
    coef: Array = None  # type: ignore[assignment]
    width: int = 0
    shared: bool = True
    product: bool = False  # of the two inputs, added to the sum

    engine = Engine.VEC
    memory = Dst.VECTOR
    blockwise = True

    @property
    def table(self) -> bytes | None:
        return self.stage.table

    def block_words(self, block: int) -> int:
        words = self.arch.vector_param_words + len(self.inputs)
        return words if not self.shared or block == 0 else 0

    def chunk_words(self, b0: int, b1: int) -> int:
        return self.block_words(0) * (1 if self.shared else b1 - b0)

    def weights(self, b0: int, b1: int) -> bytes:
        n, parts = self.arch.lanes, []
        for b in range(b0, b0 + 1 if self.shared else b1):
            lanes = slice(b * n, (b + 1) * n)
            words = pack.coefficient_taps(self.arch, self.coef[:, lanes])
            parts.append(pack.vector_words(self.arch, words, self.stage.params(lanes)))
        return b"".join(parts)

    def cycles(self, tile: Tile) -> int:
        reads = (tile.y1 - tile.y0) * self.width * len(self.inputs)
        return cost.vector(self.arch, reads, tile.b1 - tile.b0)

    def _rows(self, slot: Slot, y0: int, y1: int) -> tuple[int, int]:
        return (0, 1) if slot.buffer.height == 1 else (y0, y1)

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [self._rows(slot, y0, y1) for slot in self.inputs]

    def _view(self, prefix: str, slot: Slot, tile: Tile) -> dict[str, int]:
        buf, (b0, _) = slot.buffer, self.block_range(tile, slot)
        view = slot.view(prefix, self._rows(slot, tile.y0, tile.y1)[0], b0,
                         y_step=int(buf.height > 1 or self.height == 1),
                         x_step=int(buf.width == self.width))
        return view if slot.blocks == self.blocks else {**view, f"{prefix}_b_step": 0}

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        step = self.block_words(0)
        ins = Elementwise(
            **self._view("a", self.inputs[0], tile), **self._view("b", self.inputs[-1], tile),
            **dst.view("out", tile.y0, tile.b0), **self.stage.fields(), product=self.product,
            n_src=len(self.inputs), n_b=tile.b1 - tile.b0, n_y=tile.y1 - tile.y0,
            n_x=self.width, w_base=w_base % self.arch.vector_words,
            w_b_step=0 if self.shared else step,
        )
        words = step if self.shared else (tile.b1 - tile.b0) * step
        reads = [r for s in self.inputs for r in s.regions(
            *self._rows(s, tile.y0, tile.y1), *self.block_range(tile, s))]
        yield Emitted(
            ins,
            reads + wrapped(Dst.VECTOR, w_base % self.arch.vector_words, words,
                             self.arch.vector_words)
            + ([(Dst.VEC_TABLE, 0, 1)] if self.table else []),
            dst.regions(tile.y0, tile.y1, tile.b0, tile.b1),
        )
