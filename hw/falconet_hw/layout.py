"""Amaranth layouts derived from falconet.isa: the hardware never writes an offset down."""

from __future__ import annotations

from amaranth import Shape, signed, unsigned
from amaranth.lib import data

from falconet.isa import INSTRUCTION_BITS, Arch, Instruction, Load, Mac

__all__ = [
    "BEAT", "BLOCK", "DDR_ADDRESS", "PIXEL", "STROBES", "WORD_ADDRESS", "LoadBus", "ParamLayout",
    "WriteBus", "field_shape", "instruction_layout",
]


def field_shape(cls: type[Instruction], name: str) -> Shape:
    """Of a field of an instruction."""
    f = cls.field(name)
    return Shape(f.width, f.signed)


WORD_ADDRESS = field_shape(Load, "base")
"""Of a lane word in a memory on chip. Sums of addresses and steps are modulo its range."""

DDR_ADDRESS = field_shape(Load, "offset")
"""Of a byte: in DDR, or from the begin of a segment."""

PIXEL = field_shape(Mac, "n_x")
"""A row or a column, and how many there are."""

BLOCK = field_shape(Mac, "n_ib")
"""A block of channels, and how many there are."""

BEAT = unsigned(8 * Arch.DATA_BYTES)
STROBES = unsigned(Arch.DATA_BYTES)


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
        super().__init__({"addr": WORD_ADDRESS, "data": 8 * arch.lanes})


class LoadBus(data.StructLayout):
    """A lane word on its way into one of the on-chip memories."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "dst": field_shape(Load, "dst"), "addr": WORD_ADDRESS, "data": 8 * arch.lanes,
        })
