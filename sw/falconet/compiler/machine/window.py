"""Depthwise convolutions and pooling: the vector engine's windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from falconet.compiler.machine import cost, pack
from falconet.compiler.machine.op import Emitted, Tile
from falconet.compiler.machine.place import MASK, Array, wrapped
from falconet.compiler.machine.slide import Slide, slide_of
from falconet.compiler.machine.spatial import SpatialOp
from falconet.isa import Dst, Engine, Window

__all__ = ["WindowOp"]


@dataclass(frozen=True, eq=False)
class WindowOp(SpatialOp):
    """Depthwise convolution or pooling. ``weight``: int8 [lanes, ky, kx]; None: maximum."""

    weight: Array | None = None
    shared: bool = False  # all blocks have the same weights and parameters

    engine = Engine.VEC
    memory = Dst.VECTOR
    blockwise = True

    @property
    def slide(self) -> Slide | None:
        if self.weight is None or self.dilation[1] > 1 or self.stride[1] == 0:
            return None
        return slide_of(self.kernel[1], self.stride[1], self.width, self.arch.taps)

    @property
    def _words(self) -> int:
        """Words that are read in a step of a row."""
        return self.slide.words if self.slide else self.kernel[1]

    @property
    def columns(self) -> int:
        """Steps of a row."""
        return self.slide.steps(self.width) if self.slide else self.width

    @property
    def _uniform(self) -> bool:
        """One tap word serves the whole window."""
        return self.weight is None or (not self.slide and bool(np.all(self.weight == 1)))

    @property
    def _chain(self) -> int:
        """Columns that a result with equal weights is the sum of."""
        return 1

    def _tap_words(self) -> int:
        return 1 if self._uniform else self.kernel[0] * self._words

    def block_words(self, block: int) -> int:
        words = self.arch.vector_param_words + self._tap_words()
        return words if not self.shared or block == 0 else 0

    def chunk_words(self, b0: int, b1: int) -> int:
        return self.block_words(0) * (1 if self.shared else b1 - b0)

    def weights(self, b0: int, b1: int) -> bytes:
        n, parts = self.arch.lanes, []
        for b in range(b0, b0 + 1 if self.shared else b1):
            lanes = slice(b * n, (b + 1) * n)
            parts.append(pack.vector_words(self.arch, self._taps(lanes), self.stage.params(lanes)))
        return b"".join(parts)

    def _taps(self, lanes: slice) -> Array:
        """Tap words int8 [words, taps, lanes] of a block."""
        n, taps = self.arch.lanes, self.arch.taps
        words = np.zeros((self._tap_words(), taps, n), np.int8)
        if self._uniform:
            words[:, taps - self._chain:] = 1
            return words
        assert self.weight is not None
        rows = self.weight[lanes].transpose(1, 2, 0)
        if self.slide:
            return self.slide.taps(rows, taps)
        words[:, -1] = rows.reshape(-1, n)
        return words

    def cycles(self, tile: Tile) -> int:
        reads = (tile.y1 - tile.y0) * self.columns * self.kernel[0] * self._words
        return cost.vector(self.arch, reads, tile.b1 - tile.b0)

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src, dst = self.inputs[0], self.output
        assert dst is not None
        window = self._window_fields(tile)
        window["in_base"] = (window["in_base"] + tile.b0 * src.buffer.width) & MASK
        sx, dx, kw = self.stride[1], self.dilation[1], self.kernel[1]
        taps = self.arch.taps
        if (slide := self.slide) is not None:
            x = {"in_x_step": slide.pace, "stride_x": slide.pace, "dil_x": slide.apart,
                 "n_kx": slide.words, "in_kx_step": slide.apart if slide.words > 1 else 0,
                 "fresh": 1 << (taps - slide.reach), "skip": slide.reach - 1,
                 "every": slide.every}
        else:
            x = {"in_x_step": sx, "stride_x": self._pace(1), "dil_x": dx, "n_kx": kw,
                 "in_kx_step": dx if kw > 1 else 0,
                 "fresh": 1 << (taps - 1), "skip": 0, "every": 1}
        step = self.block_words(0)
        nb = tile.b1 - tile.b0
        # a tap list too long for w_b_step goes block by block
        pieces = [(0, nb)] if self.shared or step < 64 else [(i, i + 1) for i in range(nb)]
        rows = self.needs(tile.y0, tile.y1)[0]
        for p0, p1 in pieces:
            base = (w_base + (0 if self.shared else p0 * step)) % self.arch.vector_words
            ins = Window(
                **{**window, **x, **dst.view("out", tile.y0, tile.b0 + p0),
                   "in_base": (window["in_base"] + p0 * src.buffer.width) & MASK},
                in_w=src.buffer.width, ix0=self._ix0, n_b=p1 - p0, n_x=self.columns,
                op=self.weight is None, w_base=base,
                w_b_step=0 if self.shared or p1 - p0 == 1 else step,
                w_k_step=not self._uniform,
            )
            words = step if self.shared else (p1 - p0) * step
            yield Emitted(
                ins,
                src.regions(*rows, tile.b0 + p0, tile.b0 + p1)
                + wrapped(Dst.VECTOR, base, words, self.arch.vector_words)
                + ([(Dst.VEC_TABLE, 0, 1)] if self.table else []),
                dst.regions(tile.y0, tile.y1, tile.b0 + p0, tile.b0 + p1),
            )
