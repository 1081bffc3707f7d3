"""Amaranth layouts derived from falconet.isa: the hardware never writes an offset down."""

from __future__ import annotations

from amaranth import Shape, signed, unsigned
from amaranth.lib import data

from falconet.isa import INSTRUCTION_BITS, Arch, Instruction

__all__ = ["LoadBus", "ParamLayout", "WriteBus", "instruction_layout"]


def instruction_layout(cls: type[Instruction]) -> data.Layout:
    """The fields of one instruction class over all bits of an instruction word."""
    fields = {
        f.name: data.Field(Shape(f.width, f.signed), f.offset) for f in cls.layout
    }
    return data.FlexibleLayout(INSTRUCTION_BITS, fields)


class ParamLayout(data.FlexibleLayout):
    """Requantisation parameters of one lane, as they lie in weight memory (16 bytes)."""

    def __init__(self, arch: Arch) -> None:
        super().__init__(8 * arch.PARAM_BYTES, {
            "bias": data.Field(signed(arch.acc_bits), 0),
            "mult": data.Field(unsigned(arch.mult_bits), 32),
            "mult_neg": data.Field(unsigned(arch.mult_bits), 64),
            "shift": data.Field(unsigned(6), 96),
        })


class WriteBus(data.StructLayout):
    """A word on its way into the scratchpad."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"addr": 16, "data": 8 * arch.lanes})


class LoadBus(data.StructLayout):
    """A lane word on its way into one of the on-chip memories."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"dst": 3, "addr": 16, "data": 8 * arch.lanes})
