"""Which part of which tensor an instruction writes: ``header["steps"]`` and ``["tensors"]``.

Instructions in a row with the same step write its tile together: either each some of its channel
blocks, or each one phase of a repetition of pixels (``fy * fx`` instructions, x fastest).
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
    step, at, phase = None, 0, 0
    for i, (ins, now) in enumerate(zip(program.instructions(), header["steps"])):
        at, phase = (at, phase) if now == step else (0, 0)
        step, shape = now, output_shape(ins)
        layer, index, y0, y1, b0, b1 = now
        if shape is None or index < 0:
            continue
        tensor = header["tensors"][index]
        part = _part(shape, tensor["width"], range(y0, y1), range(b0, b1), at, phase)
        if part is not None:
            name = header["layers"][layer]["name"] if layer >= 0 else "-"
            found[i] = Part(i, name, tensor, *part)
        at, phase = at + shape[0], phase + 1
    return found


def _part(
    shape: tuple[int, int, int], width: int, rows: range, blocks: range, at: int, phase: int
) -> tuple[range, range, range] | None:
    """Blocks, rows and columns of the ``phase``-th instruction of a tile, ``at`` blocks into it."""
    n_b, n_y, n_x = shape
    if (n_y, n_x) == (len(rows), width):
        return (blocks[at : at + n_b], rows, range(width)) if at + n_b <= len(blocks) else None
    if n_b != len(blocks) or not n_y or not n_x or len(rows) % n_y or width % n_x:
        return None
    fy, fx = len(rows) // n_y, width // n_x
    py, px = divmod(phase, fx)
    return (blocks, rows[py::fy], range(px, width, fx)) if py < fy else None


def describe(program: Program, known: dict[int, Part], index: int, word: int, lane: int
             ) -> tuple[str, str]:
    """Tile and element of a word that instruction ``index`` wrote on chip."""
    part = known.get(index)
    if part is not None:
        return str(part), part.element(word, lane, program.arch.lanes)
    layer = program.header["steps"][index][0]
    name = f"layer '{program.header['layers'][layer]['name']}'" if layer >= 0 else "no layer"
    return name, f"word {word}, lane {lane}"
