"""What every operation has: tiles, the rows they need, what they cost and emit.

An operation writes the rows of one tensor, in order, tile by tile. It is a value: how it is cut
into tiles is a :class:`Tiling` beside it, where its tensors lie the buffers of a copy of it
(:meth:`Op.moved`), so that one lowering serves every plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from falconet.compiler.machine.cost import ISSUE
from falconet.compiler.machine.place import Buffer, Region, Slot
from falconet.isa import Dst, Engine, Instruction

__all__ = ["Emitted", "Op", "Tile", "Tiling"]

O = TypeVar("O", bound="Op")


@dataclass(frozen=True)
class Tile:
    """Output rows ``[y0, y1)`` and blocks ``[b0, b1)``; ``chunk`` counts loads of weights."""

    y0: int
    y1: int
    b0: int
    b1: int
    chunk: int = 0


@dataclass(frozen=True)
class Tiling:
    """``rows`` a tile; ``chunks``: block ranges whose weights are loaded together.

    All rows of a chunk come before the next chunk; with ``striped`` all chunks of a stripe of
    ``rows`` before the next stripe, for which weights that are not to stay are loaded ``again``.
    """

    rows: int
    chunks: tuple[tuple[int, int], ...]
    striped: bool = False
    again: bool = False

    def tiles(self, height: int) -> list[Tile]:
        starts, n = range(0, height, self.rows), len(self.chunks)
        if self.striped:
            order = [(y, c, s * n + c if self.again else c)
                     for s, y in enumerate(starts) for c in range(n)]
        else:
            order = [(y, c, c) for c in range(n) for y in starts]
        return [Tile(y, min(y + self.rows, height), *self.chunks[c], load)
                for y, c, load in order]

    def loads(self, height: int) -> list[tuple[int, int]]:
        """The block ranges whose weights are loaded, in order; ``Tile.chunk`` is an index."""
        return list(self.chunks) * (-(-height // self.rows) if self.again else 1)


@dataclass(frozen=True)
class Emitted:
    """An instruction and the regions that it reads and writes."""

    instruction: Instruction
    reads: list[Region]
    writes: list[Region]


@dataclass(frozen=True, eq=False)
class Op:
    """Base. ``layer`` is the index of the graph node (-1: data movement); ``after`` names the
    operations of the detect engine that must be done, beside the inputs."""

    name: str
    layer: int
    inputs: tuple[Slot, ...]
    output: Slot | None
    height: int
    after: tuple[str, ...] = ()

    at_once: ClassVar[bool] = False  # one tile, all rows of all inputs, unless a plan cuts it
    blockwise: ClassVar[bool] = False  # block b of the output reads block b of each input alone
    engine: ClassVar[Engine] = Engine.LOAD
    memory: ClassVar[Dst | None] = None  # where weights go

    @property
    def table(self) -> bytes | None:
        """What the engine's table must hold."""
        return None

    @property
    def row_grain(self) -> int:
        """Rows of the output that only come together."""
        return 1

    @property
    def blocks(self) -> int:
        return self.output.blocks if self.output else self.inputs[0].blocks

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Of the inputs and of the output, if there is one."""
        return (*self.inputs, self.output) if self.output else self.inputs

    def moved(self: O, where: Mapping[Buffer, Buffer]) -> O:
        """The same work in other buffers."""
        return dataclasses.replace(
            self, inputs=tuple(s.moved(where) for s in self.inputs),
            output=self.output.moved(where) if self.output else None)

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        """For each input, the rows that output rows ``[y0, y1)`` read (clipped)."""
        return [(y0, y1) for _ in self.inputs]

    def blocks_read(self, tile: Tile, slot: Slot) -> list[int]:
        """Blocks of an input that the tile's instructions read, counted in its buffer."""
        return [slot.block0 + b for b in range(*self.block_range(tile, slot))]

    def block_range(self, tile: Tile, slot: Slot) -> tuple[int, int]:
        """First block of an input that the tile reads, and the one behind the last; all of one that
        has fewer than the output."""
        whole = not self.blockwise or slot.blocks != self.blocks
        return (0, slot.blocks) if whole else (tile.b0, tile.b1)

    def tiling(self, busy: int) -> Tiling:
        """Tiles that keep the engine busy for ``busy`` cycles or so."""
        whole = Tiling(self.height, ((0, self.blocks),))
        if self.at_once:
            return whole
        cycles = sum(self.cycles(t) - ISSUE for t in whole.tiles(self.height))
        rows = max(1, min(self.height, round(busy * self.height / max(1, cycles))))
        return dataclasses.replace(whole, rows=-(-rows // self.row_grain) * self.row_grain)

    def block_words(self, block: int) -> int:
        """Weight words (of this op's weight memory) of one output block."""
        return 0

    def chunk_words(self, b0: int, b1: int) -> int:
        """Weight words of :meth:`weights`."""
        return sum(self.block_words(b) for b in range(b0, b1))

    def weights(self, b0: int, b1: int) -> bytes:
        return b""

    def cycles(self, tile: Tile) -> int:
        """An estimate; every number in it is from :mod:`falconet.compiler.machine.cost`."""
        raise NotImplementedError

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        """Instructions of a tile, without waits; ``w_base``: word of the tile's chunk in the weight
        memory."""
        raise NotImplementedError
