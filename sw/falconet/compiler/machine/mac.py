"""Dense, pointwise and grouped convolutions: the MAC array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falconet.compiler.machine import cost, pack
from falconet.compiler.machine.op import Emitted, Tile
from falconet.compiler.machine.place import MASK, Array, Slot, wrapped
from falconet.compiler.machine.spatial import SpatialOp
from falconet.isa import Dst, Engine, Mac

__all__ = ["MacOp"]


@dataclass(frozen=True, eq=False)
class MacOp(SpatialOp):
    """A dense, pointwise or grouped convolution on the MAC array.

    ``weight``: int8 [output lanes, input lanes, ky, kx], zero where there is nothing.
    ``image_group``: for a first layer on im2col words, columns of words that one kx spans;
    0 otherwise.
    """

    weight: Array = None  # type: ignore[assignment]
    in_range: tuple[tuple[int, int], ...] = ()  # input blocks per output block
    image_group: int = 0

    engine = Engine.MAC
    memory = Dst.WEIGHTS

    @property
    def _ix0(self) -> int:
        return 0 if self.image_group else super()._ix0

    def block_words(self, block: int) -> int:
        b0, b1 = self.in_range[block]
        products = self.kernel[0] * self.kernel[1] * (b1 - b0) * self.arch.word_steps
        return self.arch.weight_param_words + products

    def weights(self, b0: int, b1: int) -> bytes:
        n, parts = self.arch.lanes, []
        for b in range(b0, b1):
            lo, hi = self.in_range[b]
            rows = slice(b * n, (b + 1) * n)
            parts.append(pack.mac_block(self.arch, self.weight[rows, lo * n:hi * n],
                                        self.stage.params(rows)))
        return b"".join(parts)

    def cycles(self, tile: Tile) -> int:
        pixels = (tile.y1 - tile.y0) * self.width
        return cost.mac(self.arch, pixels, self.chunk_words(tile.b0, tile.b1), tile.b1 - tile.b0)

    def blocks_read(self, tile: Tile, slot: Slot) -> list[int]:
        read = {b for lo, hi in self.in_range[tile.b0:tile.b1] for b in range(lo, hi)}
        return [slot.block0 + b for b in sorted(read)]

    def emit(self, tile: Tile, w_base: int) -> Iterator[Emitted]:
        src, dst = self.inputs[0], self.output
        assert dst is not None
        sx, dx = self.stride[1], self.dilation[1]
        if self.image_group:
            x = {"in_x_step": 1, "in_kx_step": self.image_group if self.kernel[1] > 1 else 0,
                 "in_w": 1}
        else:
            x = {"in_x_step": sx, "in_kx_step": dx if self.kernel[1] > 1 else 0,
                 "in_w": src.buffer.width, "ix0": self._ix0, "stride_x": self._pace(1), "dil_x": dx}
        rows = self.needs(tile.y0, tile.y1)[0]
        b = tile.b0
        while b < tile.b1:
            lo, hi = self.in_range[b]
            end = b + 1
            while end < tile.b1 and self.in_range[end] == (lo, hi):
                end += 1
            words = sum(self.block_words(i) for i in range(b, end))
            window = self._window_fields(tile)
            window["in_base"] = (window["in_base"] + lo * src.buffer.width) & MASK
            ins = Mac(
                **{**window, **x, **dst.view("out", tile.y0, b)},
                n_ob=end - b, n_x=self.width, n_kx=self.kernel[1], n_ib=hi - lo,
                w_base=w_base % self.arch.weight_words,
            )
            yield Emitted(
                ins,
                src.regions(*rows, lo, hi) + wrapped(Dst.WEIGHTS, w_base, words,
                                                      self.arch.weight_words)
                + ([(Dst.MAC_TABLE, 0, 1)] if self.table else []),
                dst.regions(tile.y0, tile.y1, b, end),
            )
            w_base += words
            b = end
