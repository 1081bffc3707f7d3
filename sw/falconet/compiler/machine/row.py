"""Softmax and norms: what the vector engine makes of all channels of a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from falconet.compiler.machine import cost
from falconet.compiler.machine.op import Emitted, Op, Tile, Tiling
from falconet.compiler.machine.place import Array, wrapped
from falconet.compiler.machine.stage import OutputStage
from falconet.isa import Arch, Dst, Engine, Row, RowMode

__all__ = ["RowOp"]

_LONGER = 3


@dataclass(frozen=True, eq=False)
class RowOp(Op):
    """``channels`` in the lanes of their numbers. ``exponential``: uint32 [256], of a softmax.

    Other members are fields of the instruction. All blocks come in one tile, and so do their
    weights: the table, or the parameters of each.
    """

    arch: Arch = None  # type: ignore[assignment]
    stage: OutputStage = None  # type: ignore[assignment]
    mode: RowMode = RowMode.SOFTMAX
    channels: int = 0
    width: int = 0
    exponential: Array | None = None
    scale: int = 1
    shift: int = 0
    masked: bool = False
    ref: int = 0
    epsilon: int = 0

    engine = Engine.VEC
    memory = Dst.VECTOR
    whole = True

    @property
    def table(self) -> bytes | None:
        return self.stage.table

    def tiling(self, busy: int) -> Tiling:
        """Longer ones: the first pixel of each waits for its own statistics."""
        return super().tiling(_LONGER * busy)

    def block_words(self, block: int) -> int:
        if self.mode is not RowMode.SOFTMAX:
            return self.arch.vector_param_words
        return 256 * 4 // self.arch.lanes if block == 0 else 0

    def weights(self, b0: int, b1: int) -> bytes:
        n = self.arch.lanes
        if self.exponential is None:
            return self.stage.params(slice(b0 * n, b1 * n))
        words = self.exponential.astype("<u4").reshape(-1, n // 4)
        return np.repeat(words[:, None], self.arch.taps, 1).tobytes()

    def cycles(self, tile: Tile) -> int:
        return cost.row(self.mode, (tile.y1 - tile.y0) * self.width, self.blocks)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src, dst = self.inputs[0], self.output
        assert dst is not None
        step = 0 if self.mode is RowMode.SOFTMAX or self.blocks == 1 else self.block_words(0)
        ins = Row(
            **src.view("in", tile.y0), **dst.view("out", tile.y0), **self.stage.fields(),
            n_b=self.blocks, n_y=tile.y1 - tile.y0, n_x=self.width, n_channels=self.channels,
            mode=self.mode, masked=self.masked, ref=self.ref, scale=self.scale, shift=self.shift,
            epsilon=self.epsilon, w_base=w_base % self.arch.vector_words, w_b_step=step)
        yield Emitted(
            ins,
            src.regions(tile.y0, tile.y1)
            + wrapped(Dst.VECTOR, w_base, self.chunk_words(0, self.blocks), self.arch.vector_words)
            + ([(Dst.VEC_TABLE, 0, 1)] if self.table else []),
            dst.regions(tile.y0, tile.y1))
