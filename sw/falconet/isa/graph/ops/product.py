from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.attribute import numbers
from falconet.isa.graph.broadcast import Broadcast
from falconet.isa.graph.operator import Cost
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import HI, LO, Range
from falconet.isa.machine.instructions import Elementwise

__all__ = ["Product"]


@dataclass(frozen=True)
class Product(Staged, Broadcast):
    """Two tensors multiplied, value by value: a gate, a mask, squeeze and excitation.

    Channels, rows or columns of which an input has but one are repeated for the others'. What a
    function of one tensor is multiplied with that tensor is a table: an eltwise.
    """

    op = "product"
    arity = 2, 2
    onnx = ("Mul",)
    costs = (Cost(Elementwise, "", "OB * (V + H * W * n)"),)
    limits = ("An input of one channel is computed in all lanes where a convolution makes it, and "
              "copied there by another where none does.",)

    zeros: tuple[int, int] = numbers("zero points of the inputs", (LO, HI), (LO, HI),
                                     default=(0, 0))

    def sums(self) -> Range:
        ends = [(a - self.zeros[0]) * (b - self.zeros[1]) for a in (LO, HI) for b in (LO, HI)]
        return min(ends), max(ends)
