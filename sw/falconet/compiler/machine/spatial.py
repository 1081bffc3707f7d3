"""What operations with a window share: which rows they read, and where from."""

from __future__ import annotations

from dataclasses import dataclass

from falconet.compiler.machine.op import Op, Tile
from falconet.compiler.machine.stage import OutputStage
from falconet.isa import Arch, Window

__all__ = ["STRIDE_MAX", "SpatialOp"]

STRIDE_MAX = Window.field("stride_y").hi
"""Of what reads padding; otherwise an address step will do."""


def _window_rows(y0: int, y1: int, stride: int, dil: int, k: int, top: int, h: int
                 ) -> tuple[int, int]:
    lo = y0 * stride - top
    hi = (y1 - 1) * stride - top + (k - 1) * dil + 1
    return max(0, min(lo, h)), max(0, min(hi, h))


@dataclass(frozen=True, eq=False)
class SpatialOp(Op):
    """An operation with a window; x geometry as the machine sees it."""

    arch: Arch = None  # type: ignore[assignment]
    stage: OutputStage = None  # type: ignore[assignment]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad: int = 0
    width: int = 0  # of the output

    @property
    def table(self) -> bytes | None:
        return self.stage.table

    def needs(self, y0: int, y1: int) -> list[tuple[int, int]]:
        h = self.inputs[0].buffer.height
        return [_window_rows(y0, y1, self.stride[0], self.dilation[0], self.kernel[0],
                             self.pads[0], h)]

    def _pace(self, axis: int) -> int:
        """The stride as the machine's test for padding needs it: nothing of a layer with a greater
        one than its field holds may lie outside."""
        return self.stride[axis] if self.stride[axis] <= STRIDE_MAX else 0

    @property
    def _ix0(self) -> int:
        """Input column of the first read."""
        return -self.pads[1]

    def _window_fields(self, tile: Tile) -> dict[str, int]:
        src = self.inputs[0]
        buf = src.buffer
        sy, dy = self.stride[0], self.dilation[0]
        iy0 = tile.y0 * sy - self.pads[0]
        return {
            **src.view("in", iy0, y_step=sy if tile.y1 - tile.y0 > 1 else 0, x=self._ix0),
            "in_ky_step": buf.rows(dy) if self.kernel[0] > 1 else 0,
            "iy0": iy0, "in_h": buf.height, "stride_y": self._pace(0), "dil_y": dy,
            "pad": self.pad, "n_y": tile.y1 - tile.y0, "n_ky": self.kernel[0],
            **self.stage.fields(),
        }
