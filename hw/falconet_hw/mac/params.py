"""Requantisation parameters on their way from weight memory to the output stage."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import Arch
from falconet_hw.layout import ParamLayout
from falconet_hw.mac.weights import CHAIN, WeightSlice, byte_place
from falconet_hw.stream.delay import copies, delay

__all__ = ["MacParams"]


class MacParams(wiring.Component):
    """Two sets of parameters: one is in use while the next block's is read from weight memory.

    Members
    -------
    i_weights : In(ArrayLayout(WeightSlice, CHAIN))
        As WeightMemory gives them: slice ``s`` comes ``s`` cycles later.
    i_load : In(weight_param_words)
        Bit ``p``: two cycles from now slice 0 of the block's parameter word ``p`` is there.
        The set is complete ``LATENCY`` cycles after the last word's bit.
    i_switch : In(1)
        Three cycles from now ``o_params`` is the set that was complete a cycle before.
    o_params : Out(ArrayLayout(ParamLayout, lanes))
    """

    LATENCY = 2 + CHAIN
    SWITCH_LATENCY = 3

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "i_weights": In(data.ArrayLayout(WeightSlice(arch), CHAIN)),
            "i_load": In(arch.weight_param_words),
            "i_switch": In(1),
            "o_params": Out(data.ArrayLayout(ParamLayout(arch), arch.lanes)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.arch.lanes
        per_word = lanes // self.arch.weight_param_words
        load = [
            [
                copies(m, delay(m, bit, s, name=f"load{p}_{s}"), 2, name=f"load{p}_{s}")
                for s in range(CHAIN)
            ]
            for p, bit in enumerate(self.i_load)
        ]
        switch = copies(m, self.i_switch, 8, name="switch")
        layout = ParamLayout(self.arch)
        for lane in range(lanes):
            word, at = divmod(lane, per_word)
            shadow = Signal(layout.size, name=f"shadow{lane}", reset_less=True)
            active = Signal(layout, name=f"active{lane}", reset_less=True)
            for byte in range(layout.size // 8):
                s, pair, bit = byte_place(self.arch, at * self.arch.PARAM_BYTES + byte)
                with m.If(load[word][s][pair % 2]):
                    m.d.sync += shadow[8 * byte : 8 * byte + 8].eq(
                        self.i_weights[s][pair][bit : bit + 8]
                    )
            with m.If(switch[lane % len(switch)]):
                m.d.sync += active.eq(shadow)
            m.d.comb += self.o_params[lane].eq(active)
        return m
