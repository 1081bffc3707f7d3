from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, many, number
from falconet.isa.graph.operator import Consts, Cost, Fault, Operator
from falconet.isa.graph.tensor import HI, LO, Range, Shape
from falconet.isa.machine.instructions import Elementwise

__all__ = ["Pick"]

_SIDE = Elementwise.field("n_y").hi
_INPUTS = 256


@dataclass(frozen=True)
class Pick(Operator):
    """Pixels by row and column, of a picture that the inputs make up together.

    The inputs are the tiles of that picture, ``across`` of them side by side, row by row. Pixel
    (y, x) of the output is its pixel (``rows[y]``, ``columns[x]``), or ``fill`` where one of the
    two is -1. Strides, crops, flips, tiles, padding, transposes, concatenation of rows or columns
    and interleaving (depth to space) are picks.
    """

    op = "pick"
    arity = 1, _INPUTS
    onnx = ("Slice", "Split", "Concat", "Gather", "Pad", "Tile", "Expand", "Transpose",
            "DepthToSpace", "SpaceToDepth")
    costs = (Cost(Elementwise, "rows and columns in equal steps", "OB * (V + H * W)"),)
    limits = ("Rows and columns are cut where their steps change, or another input begins; each "
              "piece of rows and columns is an instruction.",)

    across: int = number("inputs side by side", (1, _INPUTS), 1)
    rows: tuple[int, ...] = many("the picture's row of each row, or -1", (-1, 1 << 20), _SIDE)
    columns: tuple[int, ...] = many("the picture's column of each column, or -1", (-1, 1 << 20),
                                    _SIDE)
    fill: int = number("what is stored where there is no pixel", (LO, HI), 0)
    swap: bool = flag("rows and columns of each input change places first")

    def tiles(self, inputs: Sequence[Shape]) -> tuple[list[int], list[int]]:
        """Heights of the tiles along the picture, and widths across it."""
        sides = [(w, h) if self.swap else (h, w) for _, h, w in inputs]
        return [h for h, _ in sides[::self.across]], [w for _, w in sides[:self.across]]

    def shape(self, inputs: Sequence[Shape], consts: Consts) -> Shape:
        return inputs[0][0], len(self.rows), len(self.columns)

    def steps(self, inputs: Sequence[Shape], consts: Consts) -> int:
        return math.prod(self.shape(inputs, consts))

    @property
    def filled(self) -> bool:
        return min(self.rows) < 0 or min(self.columns) < 0

    def idle(self, inputs: Sequence[Shape]) -> bool:
        _, h, w = inputs[0]
        return (len(inputs) == 1 and not self.swap
                and (self.rows, self.columns) == (tuple(range(h)), tuple(range(w))))

    def reach(self, inputs: Sequence[Range], table: Sequence[int] | None) -> Range:
        lo, hi = super().reach(inputs, table)
        return (min(lo, self.fill), max(hi, self.fill)) if self.filled else (lo, hi)

    def mismatches(self, inputs: Sequence[Shape], consts: Consts) -> Iterator[Fault]:
        if len(inputs) % self.across:
            yield Fault("attrs.across", f"{len(inputs)} inputs are no rows of {self.across}; use a "
                                        "divisor")
            return
        heights, widths = self.tiles(inputs)
        wanted = [(inputs[0][0], h, w) for h in heights for w in widths]
        if wanted != [(c, w, h) if self.swap else (c, h, w) for c, h, w in inputs]:
            yield Fault("inputs", f"operands of shapes {[list(s) for s in inputs][:4]} are no "
                                  "tiles of a picture; make those of a row equally high, of a "
                                  "column equally wide, of all channels alike")
        for name, index, sizes in (("rows", self.rows, heights), ("columns", self.columns, widths)):
            if max(index) >= sum(sizes):
                yield Fault(f"attrs.{name}", f"{name[:-1]} {max(index)} of {sum(sizes)}; mend the "
                                             "index")
