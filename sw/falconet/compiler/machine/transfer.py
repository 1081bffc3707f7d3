"""Rows between DDR and the scratchpad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falconet.compiler.machine import cost
from falconet.compiler.machine.op import Emitted, Op, Tile
from falconet.compiler.machine.place import DdrTensor, Slot, ring_pieces
from falconet.isa import Dst, Engine, Load, LoadImage, Store

__all__ = ["ImageOp", "LoadOp", "StoreOp"]


@dataclass(frozen=True, eq=False)
class LoadOp(Op):
    """Rows of a tensor from DDR into the scratchpad."""

    source: DdrTensor = None  # type: ignore[assignment]
    lanes: int = 16

    def cycles(self, tile: Tile) -> int:
        assert self.output is not None
        words = (tile.y1 - tile.y0) * self.output.blocks * self.output.buffer.width
        return cost.load(words * self.lanes)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        for y0, y1 in ring_pieces(dst.buffer, tile.y0, tile.y1):
            ins = Load(
                segment=self.source.segment, offset=self.source.offset + y0 * self.source.pitch,
                dst=Dst.SCRATCHPAD, **_box(dst, y0, y1, self.source.pitch),
            )
            yield Emitted(ins, self.source.regions(y0, y1), dst.regions(y0, y1))


@dataclass(frozen=True, eq=False)
class StoreOp(Op):
    """Rows of a tensor from the scratchpad to DDR."""

    target: DdrTensor = None  # type: ignore[assignment]
    lanes: int = 16

    engine = Engine.STORE

    def cycles(self, tile: Tile) -> int:
        src = self.inputs[0]
        return cost.store((tile.y1 - tile.y0) * src.blocks * src.buffer.width * self.lanes)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src = self.inputs[0]
        for y0, y1 in ring_pieces(src.buffer, tile.y0, tile.y1):
            ins = Store(
                segment=self.target.segment, offset=self.target.offset + y0 * self.target.pitch,
                **_box(src, y0, y1, self.target.pitch),
            )
            yield Emitted(ins, src.regions(y0, y1), self.target.regions(y0, y1))


@dataclass(frozen=True, eq=False)
class ImageOp(Op):
    """Rows of an image, as overlapping windows for a first layer (LDIMG)."""

    source: DdrTensor = None  # type: ignore[assignment]
    row_bytes: int = 0
    pad_left: int = 0
    pad: int = 0
    step: int = 1

    def cycles(self, tile: Tile) -> int:
        assert self.output is not None
        return cost.image(tile.y1 - tile.y0, self.output.buffer.width)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        dst = self.output
        assert dst is not None
        for y0, y1 in ring_pieces(dst.buffer, tile.y0, tile.y1):
            ins = LoadImage(
                segment=self.source.segment, offset=self.source.offset + y0 * self.source.pitch,
                n_rows=y1 - y0, pitch=self.source.pitch, row_bytes=self.row_bytes,
                pad_left=self.pad_left, pad=self.pad, step=self.step, n_x=dst.buffer.width,
                base=dst.buffer.base + (y0 % dst.buffer.ring) * dst.buffer.row_words,
                row_step=dst.buffer.row_words,
            )
            yield Emitted(ins, self.source.regions(y0, y1), dst.regions(y0, y1))


def _box(slot: Slot, y0: int, y1: int, pitch: int) -> dict[str, int]:
    buf = slot.buffer
    base = buf.base + (y0 % buf.ring) * buf.row_words + slot.block0 * buf.width
    return {"run": slot.blocks * buf.width, "n1": y1 - y0, "ddr_step1": pitch, "base": base,
            "step1": buf.row_words}
