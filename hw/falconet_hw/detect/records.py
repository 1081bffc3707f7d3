"""The memory of the boxes that were found, and their order."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from falconet.isa import Arch
from falconet_hw.detect.forms import RecordLayout, RecordPortSignature
from falconet_hw.stream.delay import delay

__all__ = ["RecordMemory", "better"]


def better(a: Any, b: Any) -> Value:
    """Record ``a`` comes before ``b``: 1 bit, two carry chains of 32 bits side by side."""
    up = [Cat(r.label, r.anchor, r.x, r.y, r.level) for r in (a, b)]
    (a_low, b_low), (a_high, b_high) = ((k[:32] for k in up), (k[32:] for k in up))
    high_a, high_b = Cat(b_high, a.score), Cat(a_high, b.score)  # level, y: less is better
    return (high_a > high_b) | ((high_a == high_b) & (a_low < b_low))


class RecordMemory(wiring.Component):
    """``candidates`` records: one read and one write a cycle, ``RECORD_LATENCY`` to read.

    With 512 candidates: four RAMB18 of 512 x 36.

    Members
    -------
    port : In(RecordPortSignature(arch))
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({"port": In(RecordPortSignature(arch))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=RecordLayout(), depth=self.arch.candidates, init=[], attrs={"ram_style": "block"},
        )
        wp = memory.write_port()
        rp = memory.read_port()
        m.d.comb += [
            wp.en.eq(self.port.write),
            wp.addr.eq(self.port.write_row),
            wp.data.eq(self.port.write_data),
            rp.en.eq(1),
            rp.addr.eq(self.port.read_row),
            self.port.read_data.eq(delay(m, rp.data.as_value(), 1, name="record")),
        ]
        return m
