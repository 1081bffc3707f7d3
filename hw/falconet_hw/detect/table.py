"""The detect table: what the bytes of a head mean, the anchors, the options of the run."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In
from amaranth.utils import exact_log2

from falconet.isa import Arch, Dst
from falconet_hw.bus import LoadSignature
from falconet_hw.detect.forms import TABLE_LATENCY, TableReadSignature
from falconet_hw.stream.delay import delay

__all__ = ["Table"]

_BANK = 64  # rows: the depth of a RAM64M
_LAST = 32  # rows in the last bank


def _pair(m: Module, value: Value, name: str) -> list[Signal]:
    """Two registers that share the sinks: with different initial values synthesis keeps both."""
    pair = [Signal(len(value), name=f"{name}{i}", init=init, reset_less=True)
            for i, init in enumerate((0, (1 << len(value)) - 1))]
    m.d.sync += [register.eq(value) for register in pair]
    return pair


class Table(Component):
    """``Arch.TABLE_ROWS`` rows of 16 bytes in LUT RAM, in banks of 64, 64 and 32 rows.

    A row is ``row_words`` lane words, low half first. One row a cycle, ``TABLE_LATENCY`` cycles
    after its number, without back-pressure: copies of the number, then memory and multiplexer. A
    row whose number comes a cycle or more after a lane word's ``load`` has it. Numbers
    beyond the table give any data.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    load: In(LoadSignature(arch))
        Taken if ``dst`` is DETECT.
    read: In(TableReadSignature())
    """

    def __init__(self, *, arch: Arch) -> None:
        assert TABLE_LATENCY == 2 and 2 * _BANK + _LAST >= arch.TABLE_ROWS
        self.arch = arch
        super().__init__({"load": In(LoadSignature(arch)), "read": In(TableReadSignature())})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, width = self.arch, 8 * self.arch.lanes
        n_part = exact_log2(arch.row_words)
        bank_bits = exact_log2(_BANK)

        enable = delay(m, self.load.valid & (self.load.dst == Dst.DETECT), 1, name="w_en",
                       reset=True)
        w_data = delay(m, self.load.data, 1, name="w_data")
        w_addrs = _pair(m, self.load.addr, "w_addr")
        rows = _pair(m, self.read.row, "row")
        w_row, w_part = w_addrs[1][n_part:], w_addrs[1][:n_part]

        for part in range(arch.row_words):
            words = []
            for bank, depth in enumerate((_BANK, _BANK, _LAST)):
                memory = Memory(shape=width, depth=depth, init=[],
                                attrs={"ram_style": "distributed"})
                m.submodules[f"bank{bank}_{part}"] = memory
                wp = memory.write_port()
                rp = memory.read_port(domain="comb")
                m.d.comb += [
                    wp.addr.eq(w_addrs[bank % 2][n_part:]), wp.data.eq(w_data),
                    wp.en.eq(enable & (w_row[bank_bits:] == bank) & (w_part == part)),
                    rp.addr.eq(rows[bank % 2]),
                ]
                words.append(rp.data)
            bits = slice(width * part, width * (part + 1))
            word = Signal(width, name=f"word{part}", reset_less=True)
            which = rows[1][bank_bits:]
            m.d.sync += word.eq(Mux(which[1], words[2], Mux(which[0], words[1], words[0])))
            m.d.comb += self.read.data[bits].eq(word)
        return m
