"""Where tensors lie: rows of the scratchpad, in rings or whole, and rows of DDR."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from falconet.isa import SEGMENT_GRAIN, Arch, Dst, Load, Segment

__all__ = ["MASK", "Array", "Buffer", "DdrTensor", "Memory", "Region", "Slot", "aligned",
           "ring_pieces", "weight_depths", "wrapped"]

Array = NDArray[Any]
Memory = Dst | str  # an on-chip memory, or the name of a tensor in DDR
Region = tuple[Memory, int, int]  # memory, first unit, one past the last
MASK = Load.field("base").hi  # of an address on chip


@dataclass(frozen=True, eq=False)
class Buffer:
    """Rows of the scratchpad: ``[row][block][column]`` words, ``ring`` rows of them at a time
    (0: all), from word ``base`` on (-1: not placed yet)."""

    name: str
    height: int
    width: int
    blocks: int
    ring: int = 0
    base: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "ring", self.ring or self.height)

    @property
    def row_words(self) -> int:
        return self.blocks * self.width

    @property
    def words(self) -> int:
        return self.ring * self.row_words

    @property
    def whole(self) -> bool:
        return self.ring >= self.height

    def rows(self, n: int) -> int:
        """Address difference of ``n`` rows, as the machine wants it (modulo the ring)."""
        return n * self.row_words % (MASK + 1 if self.whole else self.words)


@dataclass(frozen=True, eq=False)
class Slot:
    """A tensor's place: some blocks of a buffer, and the position of each channel in them."""

    buffer: Buffer
    block0: int
    blocks: int
    lane_of: Array
    name: str = ""  # of the tensor

    def moved(self, where: Mapping[Buffer, Buffer]) -> Slot:
        return dataclasses.replace(self, buffer=where.get(self.buffer, self.buffer))

    def regions(self, y0: int, y1: int, b0: int = 0, b1: int | None = None) -> list[Region]:
        """Word ranges of rows ``[y0, y1)`` and blocks ``[b0, b1)`` of the tensor."""
        buf = self.buffer
        if y0 == y1:  # a window that sees nothing but padding
            return []
        b1 = self.blocks if b1 is None else b1
        lo = buf.base + (self.block0 + b0) * buf.width
        n = (b1 - b0) * buf.width
        if n == buf.row_words and (y0 % buf.ring) + y1 - y0 <= buf.ring:
            start = buf.base + (y0 % buf.ring) * buf.row_words
            return [(Dst.SCRATCHPAD, start, start + (y1 - y0) * buf.row_words)]
        starts = [lo + (y % buf.ring) * buf.row_words for y in range(y0, y1)]
        return [(Dst.SCRATCHPAD, s, s + n) for s in starts]

    def view(self, prefix: str, y: int, b: int = 0, *, y_step: int = 1, x_step: int = 1,
             x: int = 0) -> dict[str, int]:
        """Fields of an instruction's view that starts at row ``y``, column ``x``, block ``b``."""
        buf = self.buffer
        return {
            f"{prefix}_base": (buf.base + (self.block0 + b) * buf.width + x) & MASK,
            f"{prefix}_row": buf.rows(y),
            f"{prefix}_ring": 0 if buf.whole else buf.words,
            f"{prefix}_y_step": buf.rows(y_step),
            f"{prefix}_x_step": x_step,
            f"{prefix}_b_step": buf.width,
        }


@dataclass(frozen=True)
class DdrTensor:
    """A tensor in DDR: rows of ``[block][column][lane]`` bytes, or of interleaved pixels."""

    name: str
    segment: Segment
    offset: int
    pitch: int
    height: int

    def regions(self, y0: int, y1: int) -> list[Region]:
        return [(self.name, y0, y1)]


def ring_pieces(buf: Buffer, y0: int, y1: int) -> Iterator[tuple[int, int]]:
    """Split rows where the ring closes."""
    y = y0
    while y < y1:
        end = min(y1, (y // buf.ring + 1) * buf.ring)
        yield y, end
        y = end


def aligned(size: int) -> int:
    """Bytes that ``size`` bytes take in a DDR segment."""
    return -(-size // SEGMENT_GRAIN) * SEGMENT_GRAIN


def weight_depths(arch: Arch) -> dict[Dst, int]:
    """Words of each weight memory."""
    return {Dst.WEIGHTS: arch.weight_words, Dst.VECTOR: arch.vector_words}


def wrapped(memory: Dst, base: int, words: int, depth: int) -> list[Region]:
    base %= depth
    if base + words <= depth:
        return [(memory, base, base + words)]
    return [(memory, base, depth), (memory, 0, base + words - depth)]
