"""Which part of which tensor an instruction writes: ``header["steps"]`` and ``["tensors"]``.

Instructions in a row with the same step write its tile together: each some of its channel blocks,
rows and columns, which the addresses tell that it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Elementwise, Instruction, Mac, Program, Window
from falconet.runtime.device import Int8
from falconet.runtime.tensors import pack_blocks

__all__ = ["Part", "describe", "output_shape", "parts"]


def output_shape(ins: Instruction) -> tuple[int, int, int] | None:
    """Blocks, rows, columns that an instruction writes, in this order; None for transfers."""
    if isinstance(ins, Mac):
        return ins.n_ob, ins.n_y, ins.n_x
    if isinstance(ins, Window):
        return ins.n_b, ins.n_y, max(0, -(-(ins.n_x - ins.skip) // ins.every))
    if isinstance(ins, Elementwise):
        return ins.n_b, ins.n_y, ins.n_x
    return None


@dataclass(frozen=True)
class Part:
    """What instruction ``index`` writes of a tensor; words are counted as it writes them.

    ``tensor`` is the entry of ``header["tensors"]``; ``rows``, ``blocks`` and ``columns`` are
    positions in it.
    """

    index: int
    layer: str
    tensor: dict[str, Any]
    blocks: range
    rows: range
    columns: range

    def __str__(self) -> str:
        return (
            f"layer '{self.layer}', tensor '{self.tensor['name']}' rows {self.rows.start} to "
            f"{self.rows[-1]}, blocks {self.blocks.start} to {self.blocks[-1]}"
        )

    @property
    def lane_of(self) -> NDArray[np.int64]:
        return np.asarray(self.tensor["lane_of"], np.int64)

    def element(self, word: int, lane: int, lanes: int) -> str:
        """Row, column and channel of a lane of the instruction's ``word``-th word."""
        b, rest = divmod(word, len(self.rows) * len(self.columns))
        y, x = divmod(rest, len(self.columns))
        found = np.flatnonzero(self.lane_of == self.blocks[b] * lanes + lane)
        channel = str(found[0]) if found.size else "unused"
        return f"row {self.rows[y]}, column {self.columns[x]}, channel {channel}"

    def expected(self, tensor: Int8, lanes: int) -> tuple[Int8, NDArray[np.bool_]]:
        """The words of a tensor [C, H, W] that belong here [words, lanes]; which lanes count."""
        n, position = int(self.tensor["blocks"]), self.lane_of
        stored = pack_blocks(tensor, position, n, lanes, 0)
        part = stored[np.ix_(self.rows, self.blocks, self.columns)].transpose(1, 0, 2, 3)
        used = np.isin(np.arange(n * lanes), position).reshape(n, 1, 1, lanes)[list(self.blocks)]
        return part.reshape(-1, lanes), np.broadcast_to(used, part.shape).reshape(-1, lanes)


def parts(program: Program) -> dict[int, Part]:
    """The Part of every computing instruction that the steps describe, by its index."""
    header, found = program.header, {}
    tiles: list[list[tuple[int, Instruction]]] = []
    step = None
    for i, (ins, now) in enumerate(zip(program.instructions(), header["steps"])):
        if output_shape(ins) is not None and now[1] >= 0:
            if now != step:
                tiles.append([])
            tiles[-1].append((i, ins))
        step = now
    for tile in tiles:
        layer, index, y0, y1, b0, b1 = header["steps"][tile[0][0]]
        tensor = header["tensors"][index]
        name = header["layers"][layer]["name"] if layer >= 0 else "-"
        places = _places([ins for _, ins in tile], tensor["width"], range(y0, y1), range(b0, b1))
        for (i, _), part in zip(tile, places or []):
            found[i] = Part(i, name, tensor, *part)
    return found


def _places(tile: list[Instruction], width: int, rows: range, blocks: range
            ) -> list[tuple[range, range, range]] | None:
    """Blocks, rows and columns of a tile's instructions, from where they write.

    Together they write each row of the tile, so the least distance between two is a row's words;
    the least base is that of the first block's first column.
    """
    bases = [_field(ins, "base") for ins in tile]
    offsets = [_row_offsets(ins) for ins in tile]
    around = _field(tile[0], "ring") or 1 << 16
    seen = np.unique(np.concatenate(offsets) % around)
    if len(seen) != len(rows):
        return None
    words = int(np.diff(seen).min()) if len(seen) > 1 else 1
    first = rows.start * words if len(seen) > 1 else int(seen[0])
    found = []
    for ins, base, offset in zip(tile, bases, offsets):
        shape = output_shape(ins)
        assert shape is not None
        n_b, _, n_x = shape
        at = (offset - first) % around // words
        b, x = divmod(base - min(bases), width)
        y_step = int(at[1] - at[0]) if len(at) > 1 else 1
        x_step = _field(ins, "x_step") if n_x > 1 else 1
        last_x = x + x_step * (n_x - 1)
        if y_step < 1 or at[-1] >= len(rows) or last_x >= width or b + n_b > len(blocks):
            return None
        found.append((blocks[b:b + n_b], rows[int(at[0]):int(at[-1]) + 1:y_step],
                      range(x, last_x + 1, x_step)))
    return found


def _field(ins: Instruction, name: str) -> int:
    return int(getattr(ins, f"out_{name}"))


def _row_offsets(ins: Instruction) -> NDArray[np.int64]:
    shape = output_shape(ins)
    assert shape is not None
    return _field(ins, "row") + np.arange(shape[1], dtype=np.int64) * _field(ins, "y_step")


def describe(program: Program, known: dict[int, Part], index: int, word: int, lane: int
             ) -> tuple[str, str]:
    """Tile and element of a word that instruction ``index`` wrote on chip."""
    part = known.get(index)
    if part is not None:
        return str(part), part.element(word, lane, program.arch.lanes)
    layer = program.header["steps"][index][0]
    name = f"layer '{program.header['layers'][layer]['name']}'" if layer >= 0 else "no layer"
    return name, f"word {word}, lane {lane}"
