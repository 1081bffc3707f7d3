from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from falconet.isa.graph.attribute import flag, number
from falconet.isa.graph.grouped import Grouped
from falconet.isa.graph.operator import Constant, Consts, Cost
from falconet.isa.graph.tensor import Range, Shape
from falconet.isa.graph.windowed import Windowed
from falconet.isa.machine.instructions import Mac, Window

__all__ = ["Conv"]


@dataclass(frozen=True)
class Conv(Grouped, Windowed):
    """Convolution: stored inputs times weights, summed over a window and the channels of a group.

    Depthwise (each channel by itself), average pooling (``pool``) and a matrix product (the window
    is the whole input) are convolutions too. ``pad`` is the zero point of the input.
    """

    op = "conv"
    onnx = ("Conv", "Gemm", "MatMul", "AveragePool", "GlobalAveragePool", "ReduceMean", "Pad",
            "BatchNormalization")
    costs = (
        Cost(Mac, "dense or grouped", "OB * max(9, P + H * W * ky * kx * IB * S)"),
        Cost(Window, "depthwise", "OB * (V + H * W * ky * kx)"),
        Cost(Window, "depthwise, 1 < kx <= taps, no dilation, sx < kx",
             "OB * (V + H * ((W - 1) * sx + kx) * ky)"),
        Cost(Window, "depthwise, kx > T, no dilation, where these are fewer",
             "OB * (V + H * ((W - 1) * sx + T) * ky * ((kx + T - 1) // T))"),
        Cost(Window, "depthwise, T < kx <= sx * T, sx > 1, no dilation, where these are fewer",
             "OB * (V + H * (W + (kx - 1) // sx) * ky * sx)"),
    )
    limits = (
        "The weights and parameters of one block of output channels fit the weight memory; those "
        "of a depthwise one the vector engine's.",
        "Of a depthwise layer with kx > T and no table some blocks may be a grouped convolution "
        "on the MAC array, where that is estimated to be faster.",
        "No sum can leave the accumulator, whatever the input: `acc_bits` bits.",
    )

    groups: int = number("groups of channels; of C and O a divisor", (1, 1 << 24), 1)
    pool: bool = flag("all weights are 1")

    def macs(self, inputs: Sequence[Shape], consts: Consts) -> int:
        o, per_group, ky, kx = consts["weight"].shape
        _, h, w = self.shape(inputs, consts)
        return o * per_group * ky * kx * h * w

    def bounds(self, constant: Constant) -> Range:
        if constant.name == "weight" and self.pool:
            return 1, 1
        return super().bounds(constant)
