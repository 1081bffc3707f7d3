"""Outputs in parts: each part has a window of its own and writes pixels that lie at steps.

The phases of a transposed convolution are such parts, and so are the borders of a layer whose
weights or multipliers differ there. All parts are one operation: one place in the order, one piece
of the weight memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from falconet.compiler.machine.eltwise import EltwiseOp
from falconet.compiler.machine.mac import MacOp
from falconet.compiler.machine.op import Emitted, Op, Tile
from falconet.compiler.machine.place import Region, Slot
from falconet.compiler.machine.window import WindowOp
from falconet.isa import Dst, Engine

__all__ = ["Axis", "Lattice", "MacLattice", "Stepped", "VecLattice", "banks_of"]

Part = MacOp | WindowOp | EltwiseOp


@dataclass(frozen=True)
class Axis:
    """Rows or columns: the first one, and how far it is to the next."""

    first: int = 0
    step: int = 1


@dataclass(frozen=True, eq=False)
class Stepped(Slot):
    """Some rows and columns of a tensor, counted as if there were no others."""

    y: Axis = Axis()
    x: Axis = Axis()

    @classmethod
    def of(cls, slot: Slot, y: Axis, x: Axis) -> Stepped:
        return cls(slot.buffer, slot.block0, slot.blocks, slot.lane_of, slot.name, y, x)

    def inside(self, y0: int, y1: int) -> tuple[int, int]:
        """Which of its rows lie in rows ``[y0, y1)`` of the tensor."""
        first, step = self.y.first, self.y.step
        return max(0, -(-(y0 - first) // step)), max(0, -(-(y1 - first) // step))

    def rows(self, y0: int, y1: int) -> tuple[int, int]:
        """The rows of the tensor that its rows ``[y0, y1)`` lie in."""
        return self.y.first + y0 * self.y.step, self.y.first + (y1 - 1) * self.y.step + 1

    def regions(self, y0: int, y1: int, b0: int = 0, b1: int | None = None) -> list[Region]:
        if self.y.step <= 1 or y1 - y0 <= 1:
            return super().regions(*self.rows(y0, y1), b0, b1)
        rows = range(*self.rows(y0, y1), self.y.step)
        return [r for y in rows for r in super(Stepped, self).regions(y, y + 1, b0, b1)]

    def view(self, prefix: str, y: int, b: int = 0, *, y_step: int = 1, x_step: int = 1,
             x: int = 0) -> dict[str, int]:
        return super().view(prefix, self.y.first + y * self.y.step, b,
                            y_step=y_step * self.y.step, x_step=x_step * self.x.step,
                            x=self.x.first + x * self.x.step)


@dataclass(frozen=True, eq=False)
class Lattice(Op):
    """``parts`` write disjoint pixels (:class:`Stepped`) of the output and read the input.

    ``banks``: parts of one number have the same weights. ``grain``: rows of the output in which
    the parts take turns.
    """

    parts: tuple[Part, ...] = ()
    banks: tuple[int, ...] = ()
    grain: int = 1

    @property
    def table(self) -> bytes | None:
        return self.parts[0].table

    @property
    def row_grain(self) -> int:
        return min(self.grain, self.height)

    @cached_property
    def _placed(self) -> tuple[Part, ...]:
        """The parts where the operation's tensors lie: an operation is moved without them."""
        assert self.output is not None
        source, output = self.inputs[0], self.output
        return tuple(dataclasses.replace(
            p, output=_as(p.output, output), inputs=tuple(_as(s, source) for s in p.inputs))
            for p in self.parts)

    @cached_property
    def _holders(self) -> dict[int, Part]:
        """One part of each bank, in the order in which the banks lie in the weight memory."""
        found: dict[int, Part] = {}
        for bank, part in zip(self.banks, self._placed):
            found.setdefault(bank, part)
        return found

    def _inner(self, part: Part, y0: int, y1: int) -> tuple[int, int]:
        assert isinstance(part.output, Stepped)
        first, end = part.output.inside(y0, y1)
        return min(first, part.height), min(end, part.height)

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        found = []
        for part in self._placed:
            first, end = self._inner(part, y0, y1)
            if first < end:
                for slot, rows in zip(part.inputs, part.needs(first, end)):
                    found.append(slot.rows(*rows) if isinstance(slot, Stepped) else rows)
        seen = [(lo, hi) for lo, hi in found if lo < hi]
        return [(min(lo for lo, _ in seen), max(hi for _, hi in seen)) if seen else (0, 0)]

    def block_words(self, block: int) -> int:
        return sum(p.block_words(block) for p in self._holders.values())

    def chunk_words(self, b0: int, b1: int) -> int:
        return sum(p.chunk_words(b0, b1) for p in self._holders.values())

    def weights(self, b0: int, b1: int) -> bytes:
        return b"".join(p.weights(b0, b1) for p in self._holders.values())

    def blocks_read(self, tile: Tile, slot: Slot) -> list[int]:
        return sorted({b for p in self._placed for b in p.blocks_read(tile, slot)})

    def _tiles(self, tile: Tile) -> Iterator[tuple[int, Part, Tile]]:
        for bank, part in zip(self.banks, self._placed):
            first, end = self._inner(part, tile.y0, tile.y1)
            if first < end:
                yield bank, part, Tile(first, end, tile.b0, tile.b1)

    def cycles(self, tile: Tile) -> int:
        return sum(part.cycles(inner) for _, part, inner in self._tiles(tile))

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        at = {}
        for bank, part in self._holders.items():
            at[bank] = w_base
            w_base += part.chunk_words(tile.b0, tile.b1)
        between = self._between(tile)
        for bank, part, inner in self._tiles(tile):
            for emitted in part.emit(inner, at[bank]):
                yield dataclasses.replace(emitted, reads=emitted.reads + between)
                between = []

    def _between(self, tile: Tile) -> list[Region]:
        """Rows that no part reads, between those that some do: they are free with these."""
        (source,), ((y0, y1),) = self.inputs, self.needs(tile.y0, tile.y1)
        left = set(range(y0, y1))
        for _, part, inner in self._tiles(tile):
            for slot, (lo, hi) in zip(part.inputs, part.needs(inner.y0, inner.y1)):
                step = slot.y.step if isinstance(slot, Stepped) else 1
                first, end = slot.rows(lo, hi) if isinstance(slot, Stepped) else (lo, hi)
                left -= set(range(first, end, max(1, step)))
        blocks = self.blocks_read(tile, source)
        b0, b1 = blocks[0] - source.block0, blocks[-1] + 1 - source.block0
        return [r for y in sorted(left) for r in source.regions(y, y + 1, b0, b1)]


@dataclass(frozen=True, eq=False)
class MacLattice(Lattice):
    """Parts that are convolutions on the MAC array."""

    engine: ClassVar[Engine] = Engine.MAC
    memory: ClassVar[Dst | None] = Dst.WEIGHTS


@dataclass(frozen=True, eq=False)
class VecLattice(Lattice):
    """Parts of the vector engine."""

    engine: ClassVar[Engine] = Engine.VEC
    memory: ClassVar[Dst | None] = Dst.VECTOR
    blockwise: ClassVar[bool] = True


def _as(part: Slot | None, whole: Slot) -> Slot:
    """Where ``part`` of a tensor is if the tensor is at ``whole``."""
    return Stepped.of(whole, part.y, part.x) if isinstance(part, Stepped) else whole


def banks_of(keys: Sequence[object]) -> tuple[int, ...]:
    """A number for each key, the same for equal ones."""
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(key, len(numbers)) for key in keys)
