"""Operations of the detect engine: SCANs of each level, SUPPRESS, one MARK a level with landmarks.

Each is a single tile that wants its heads whole, but for levels that a plan cuts: these are scanned
stripe by stripe. Levels may come in any order and run while later ones are still computed; the
detect table has one buffer, so each operation's rows are loaded when the one before it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from falconet.compiler.machine import cost
from falconet.compiler.machine.op import Emitted, Op, Tile, Tiling
from falconet.compiler.machine.place import MASK, Region, Slot
from falconet.isa import (
    Arch,
    Dst,
    Engine,
    Mark,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Suppression,
)
from falconet.isa.program.forms import DetectLevel

__all__ = ["ENTRIES", "RECORDS", "DetectOp", "MarkOp", "RecordsOp", "ScanOp", "SuppressOp"]

RECORDS = "RECORDS"  # Src.RECORDS as a memory; the number alone would be that of Dst.WEIGHTS
_RECORDS: list[Region] = [(RECORDS, 0, 1)]
_OPTIONS: Region = (Dst.DETECT, Arch.TABLE_OPTIONS, Arch.TABLE_OPTIONS + 1)
ENTRIES = Arch.TABLE_ANCHORS  # rows that the 256 entries take


@dataclass(frozen=True, eq=False)
class DetectOp(Op):
    """Base. ``table``: rows of the detect table from 0 on; ``hosted``: (byte offset in segment
    INPUT, first row, rows) of those that the driver writes."""

    arch: Arch = None  # type: ignore[assignment]
    level: DetectLevel = None  # type: ignore[assignment]  # SUPPRESS is of none
    number: int = 0
    hosted: tuple[int, int, int] | None = None
    table: bytes | None = None

    engine = Engine.DETECT
    at_once: ClassVar[bool] = True
    what: ClassVar[str] = ""

    @property
    def blocks(self) -> int:
        return self.inputs[0].blocks if self.inputs else 1

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [(0, s.buffer.height) for s in self.inputs]

    def _reads(self) -> list[Region]:
        """The heads and the rows of the table."""
        return self._stripe_reads(0, self.inputs[0].buffer.height)

    def _stripe_reads(self, y0: int, y1: int) -> list[Region]:
        regions = [r for s in self.inputs for r in s.regions(y0, y1)]
        return regions + _RECORDS + [(Dst.DETECT, 0, len(self.table or b"") // Arch.ROW_BYTES)]

    def _cells(self, shift: int) -> dict[str, int]:
        x, y = self.level.stride
        return {"level": self.number, "stride_x": x, "stride_y": y, "grid": self.level.grid,
                "centre_shift": shift}


@dataclass(frozen=True, eq=False)
class ScanOp(DetectOp):
    """One level: scores, boxes and, where the head has them, objectness. Rows are the level's."""

    what = "scan"

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        return [(y0, y1) for _ in self.inputs]

    def cycles(self, tile: Tile) -> int:
        level = self.level
        grouped = (level.n_class if level.softmax else 0) + 4 * (level.bins or 0)
        return cost.scan((tile.y1 - tile.y0) * level.width, self.blocks, grouped)

    def stripes(self, words: int) -> Tiling:
        """The level in stripes of up to ``words`` words of all heads, or of a row."""
        row = sum(s.blocks * s.buffer.width for s in self.inputs)
        return Tiling(min(self.height, max(1, words // row)), ((0, self.blocks),))

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        level, (scores, _, *rest) = self.level, self.inputs
        channels = len(level.anchors) * level.n_class
        x_lo, x_hi, y_lo, y_hi = level.clip
        ins = Scan(
            **self._cells(level.centre_shift), n_x=level.width,
            n_b=scores.blocks, n_channels=channels, n_class=level.n_class,
            objectness=bool(rest), form=level.form, size_shift=level.size_shift,
            x_lo=x_lo, x_hi=x_hi, y_lo=y_lo, y_hi=y_hi, bins=level.bins or 0,
            softmax=bool(level.softmax), background=level.background or 0,
        )
        for y0, y1 in self._pieces(tile):
            stripe = ins.replace(**self._views(y0), y0=y0, n_y=y1 - y0)
            yield Emitted(stripe, [*self._stripe_reads(y0, y1), _OPTIONS], _RECORDS)

    def _pieces(self, tile: Tile) -> Iterator[tuple[int, int]]:
        """A tile's rows, split where any of the heads' rings closes."""
        closes = {y for s in self.inputs for y in range(0, tile.y1, s.buffer.ring) if y > tile.y0}
        yield from pairwise([tile.y0, *sorted(closes), tile.y1])

    def _views(self, y: int) -> dict[str, int]:
        """Where the heads' rows lie from row ``y`` on."""
        scores, boxes, *rest = self.inputs
        views = {**_view("score", scores, y), **_view("box", boxes, y)}
        if not self.level.bins:
            del views["box_b_step"]  # the table says where an anchor's channels are
        if rest:
            views |= {k: v for k, v in _view("obj", rest[0], y).items() if k != "obj_b_step"}
        return views


@dataclass(frozen=True, eq=False)
class SuppressOp(DetectOp):
    """Non-maximum suppression of what the SCANs found."""

    mode: Suppression = Suppression.GREEDY
    agnostic: bool = False
    limit: int = 1

    what = "suppress"

    def cycles(self, tile: Tile) -> int:
        return cost.suppress()

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        ins = Suppress(mode=self.mode, agnostic=self.agnostic, limit=self.limit)
        weights: list[Region] = [(Dst.DETECT, 0, ENTRIES)] if self.hosted else []
        yield Emitted(ins, [*_RECORDS, *weights, _OPTIONS], _RECORDS)


@dataclass(frozen=True, eq=False)
class MarkOp(DetectOp):
    """Landmarks of one level."""

    limit: int = 1
    n_values: int = 2

    what = "mark"

    def cycles(self, tile: Tile) -> int:
        return cost.mark()

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        (marks,) = self.inputs
        assert marks.buffer.whole  # any row may be asked for
        view = {k.removeprefix("in_"): v for k, v in _view("in", marks).items()}
        ins = Mark(**view, **self._cells(self.level.mark_shift), n_values=self.n_values,
                   limit=self.limit)
        yield Emitted(ins, self._reads(), _RECORDS)


@dataclass(frozen=True, eq=False)
class RecordsOp(Op):
    """The counts, the records and their landmarks to DDR, at ``offset`` in segment OUTPUT."""

    arch: Arch = None  # type: ignore[assignment]
    rows: int = 1
    offset: int = 0

    engine = Engine.STORE
    at_once: ClassVar[bool] = True

    @property
    def blocks(self) -> int:
        return 1

    def cycles(self, tile: Tile) -> int:
        return cost.records(self.rows)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        for first, rows, at in ((self.arch.candidates, 1, 0), (0, self.rows, Arch.ROW_BYTES)):
            ins = Store(segment=Segment.OUTPUT, offset=self.offset + at, src=Src.RECORDS,
                        run=rows * self.arch.row_words, base=first * self.arch.row_words)
            yield Emitted(ins, _RECORDS, [])


def _view(prefix: str, slot: Slot, y: int = 0) -> dict[str, int]:
    """Base and steps of a tensor, channel c in lane c, from row ``y`` on to where its ring closes.
    """
    buf = slot.buffer
    assert np.array_equal(slot.lane_of, np.arange(len(slot.lane_of)))
    base = buf.base + slot.block0 * buf.width + y % buf.ring * buf.row_words
    return {f"{prefix}_base": base & MASK, f"{prefix}_y_step": buf.row_words & MASK,
            f"{prefix}_b_step": buf.width}
