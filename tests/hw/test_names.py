"""Every register of the emitted Verilog, and so of a waveform, has a name of ours."""

from __future__ import annotations

import re

import pytest
from amaranth import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from falconet.isa import preset
from falconet_hw.board.axi_lite import AxiToLite
from falconet_hw.board.memory import OnChipMemory
from falconet_hw.board.uart_bridge import UartBridge
from falconet_hw.build.verilog import to_verilog
from falconet_sim.rtl.library import machine_verilog

_MODULE = re.compile(r"^module +(\S+?) *\(", re.MULTILINE)
_ASSIGNED = re.compile(r"^ +(?:if \(.*\) )?(\\\S+|\w+) *(?:\[[^]]*\] *)?<= ", re.MULTILINE)


def nameless(text: str) -> list[str]:
    """Registers and signals that are called after what made them, by module."""
    found = []
    for module in text.split("\nendmodule"):
        inside = _MODULE.search(module)
        registers = {name for name in _ASSIGNED.findall(module) if name.startswith("\\$")}
        signals = set(re.findall(r"\\\$(?:signal|signature|like)[\w$]*", module))
        found += [f"{inside[1] if inside else ''}: {name}" for name in registers | signals]
    return sorted(found)


class Careless(Component):
    """Two registers; the assignment of a tuple loses the name of the first."""

    def __init__(self) -> None:
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Signal(), Signal()
        m.d.sync += [a.eq(self.i), b.eq(a), self.o.eq(b)]
        return m


def test_a_name_that_is_lost_is_found() -> None:
    assert nameless(to_verilog(Careless(), "careless")) == ["careless: \\$signal"]


def test_the_machine_has_names() -> None:
    text = machine_verilog(preset("tiny")).read_text()
    assert len(_ASSIGNED.findall(text)) > 2000, "what is a register?"
    assert not nameless(text)


@pytest.mark.parametrize("block", [
    AxiToLite(id_width=12, len_width=4), UartBridge(divisor=8), OnChipMemory(base=0, nbytes=4096),
], ids=lambda block: type(block).__name__)
def test_what_is_around_it_has_names(block: Component) -> None:
    assert not nameless(to_verilog(block, "block"))
