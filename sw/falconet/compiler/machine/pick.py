"""Pixels that change places: element-wise copies whose views step over rows and columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from falconet.compiler.machine import cost
from falconet.compiler.machine.eltwise import EltwiseOp
from falconet.compiler.machine.op import Emitted, Tile
from falconet.compiler.machine.place import MASK, Region, Slot, wrapped
from falconet.compiler.machine.runs import Run
from falconet.isa import Dst, Elementwise

__all__ = ["PickOp"]


@dataclass(frozen=True, eq=False)
class PickOp(EltwiseOp):
    """Copies of ``rows`` x ``columns``, an instruction each; part ``i`` of the rows and ``j`` of
    the columns is input ``i * across + j``. What has no part is ``fill``."""

    rows: tuple[Run, ...] = ()
    columns: tuple[Run, ...] = ()
    across: int = 1
    swap: bool = False
    fill: int = 0

    def block_words(self, block: int) -> int:
        return self.arch.vector_param_words + 1 if block == 0 else 0

    @property
    def row_grain(self) -> int:
        return max(r.out_step for r in self.rows)

    @property
    def _filled(self) -> bool:
        return any(r.part < 0 for r in (*self.rows, *self.columns))

    @cached_property
    def _reach(self) -> list[tuple[list[int], list[int]]]:
        """For each row of parts: the least row that is read from output row y on, and one more than
        the greatest one up to it."""
        found = []
        for part in range(len(self.inputs) // self.across):
            side = self.inputs[part * self.across].buffer.height
            read = np.full(self.height, -1)
            for r in self.rows:
                if r.part == part:
                    at = r.out + r.out_step * np.arange(r.count)
                    read[at] = r.at + r.step * np.arange(r.count)
            last = int(read.max(initial=0))
            later = np.where(read < 0, last, read)
            least = np.minimum.accumulate(later[::-1])[::-1]
            most = np.maximum.accumulate(read) + 1
            found.append((np.minimum(least, side - 1).tolist(), most.tolist()))
        return found

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        if self.swap:
            return self._needs_swapped(y0, y1)
        rows = []
        for i in range(len(self.inputs)):
            part = i // self.across
            least, most = self._reach[part]
            lo, hi = least[y0], most[y1 - 1]
            if not any(r.part == part and r.within(y0, y1) for r in self.rows):
                hi = lo
            if i == 0 and self._filled:  # where the fill goes, something is read
                hi = max(hi, lo + 1)
            rows.append((min(lo, hi), hi))
        return rows

    def _needs_swapped(self, y0: int, y1: int) -> list[tuple[int, int]]:
        """All rows of the inputs that have a part in the tile, none of the others."""
        rows = {r.part for r in self.rows if r.within(y0, y1)}
        columns = {r.part for r in self.columns}
        ends = [s.buffer.height if i // self.across in rows and i % self.across in columns else 0
                for i, s in enumerate(self.inputs)]
        return [(0, max(end, int(i == 0 and self._filled))) for i, end in enumerate(ends)]

    def _pieces(self, tile: Tile) -> Iterator[tuple[Run, Run]]:
        for row in self.rows:
            part = row.within(tile.y0, tile.y1)
            for column in self.columns if part is not None else ():
                assert part is not None
                yield part, column

    def cycles(self, tile: Tile) -> int:
        return sum(cost.vector(self.arch, y.count * x.count, tile.b1 - tile.b0)
                   for y, x in self._pieces(tile))

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst, depth = self.output, self.arch.vector_words
        assert dst is not None
        weights = wrapped(Dst.VECTOR, w_base % depth, self.block_words(0), depth)
        weights += self._unread(tile)
        for y, x in self._pieces(tile):
            out = dst.view("out", y.out, tile.b0, y_step=y.out_step, x_step=x.out_step, x=x.out)
            a, slot, (lo, hi) = self._source(tile, y, x)
            stage = self.stage.fields()
            if y.part < 0 or x.part < 0:
                stage |= {"lo": self.fill, "hi": self.fill}
            ins = Elementwise(
                **a, **{f"b{k[1:]}": v for k, v in a.items()}, **out, **stage, n_src=1,
                n_b=tile.b1 - tile.b0, n_y=y.count, n_x=x.count, w_base=w_base % depth, w_b_step=0)
            end = y.out + y.out_step * (y.count - 1) + 1
            yield Emitted(ins, slot.regions(lo, hi, tile.b0, tile.b1) + weights,
                          dst.regions(y.out, end, tile.b0, tile.b1))

    def _unread(self, tile: Tile) -> list[Region]:
        """The last rows that the tile needs and does not read: those before it have been read."""
        found: list[Region] = []
        pieces = list(self._pieces(tile))
        read: dict[int, int] = {}
        for y, x in pieces:
            if y.part >= 0 and x.part >= 0 and not self.swap:
                i = y.part * self.across + x.part
                read[i] = max(read.get(i, 0), y.at, y.at + y.step * (y.count - 1))
        for i, (lo, hi) in enumerate(self.needs(tile.y0, tile.y1)):
            if i in read and lo < hi and read[i] + 1 < hi:
                found += self.inputs[i].regions(hi - 1, hi, tile.b0, tile.b1)
        return found

    def _source(self, tile: Tile, y: Run, x: Run) -> tuple[dict[str, int], Slot, tuple[int, int]]:
        """The view that a piece reads, of what, and which rows of it."""
        if y.part < 0 or x.part < 0:  # any word that is there
            slot, (at, _) = self.inputs[0], self.needs(tile.y0, tile.y1)[0]
            return slot.view("a", at, tile.b0, y_step=0, x_step=0), slot, (at, at + 1)
        slot = self.inputs[y.part * self.across + x.part]
        if not self.swap:
            ends = y.at, y.at + y.step * (y.count - 1)
            view = slot.view("a", y.at, tile.b0, y_step=y.step, x_step=x.step & MASK, x=x.at)
            return view, slot, (min(ends), max(ends) + 1)
        assert slot.buffer.whole
        view = slot.view("a", x.at, tile.b0, x=y.at) | {
            "a_y_step": y.step & MASK, "a_x_step": x.step * slot.buffer.row_words & MASK}
        return view, slot, (0, slot.buffer.height)
