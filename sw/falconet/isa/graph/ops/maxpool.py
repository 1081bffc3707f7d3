from __future__ import annotations

from dataclasses import dataclass

from falconet.isa.graph.attribute import number
from falconet.isa.graph.operator import Cost
from falconet.isa.graph.stage import Staged
from falconet.isa.graph.tensor import LO
from falconet.isa.graph.windowed import Windowed
from falconet.isa.machine.instructions import Window

__all__ = ["MaxPool"]


@dataclass(frozen=True)
class MaxPool(Staged, Windowed):
    """The greatest stored value of a window, channel by channel; what lies outside is -128."""

    op = "maxpool"
    fuses = False
    onnx = ("MaxPool", "GlobalMaxPool", "ReduceMax")
    costs = (Cost(Window, "", "OB * (V + H * W * ky * kx)"),)

    pad: int = number("what is read outside the input", (LO, 127), LO)
