"""Bus signatures: AXI3 masters, AXI-Lite slave, load bus, and what a trace of the machine shows.

Names of the emitted Verilog ports are ``<port>__<signal>``, e.g. ``m0__araddr``.
"""

from __future__ import annotations

from amaranth import unsigned
from amaranth.lib.wiring import In, Out, Signature

from falconet.isa import Arch, Engine
from falconet_hw.layout import BEAT, DDR_ADDRESS, STROBES, WORD_ADDRESS, LoadBus

__all__ = [
    "BURST_LENGTH", "Axi3ReadSignature", "Axi3WriteSignature", "AxiLiteSignature", "LoadSignature",
    "TraceSignature",
]

BURST_LENGTH = unsigned(4)
"""Beats of an AXI3 burst, less one."""


class Axi3ReadSignature(Signature):
    """Read channels of a 64-bit AXI3 master (as seen by the master)."""

    def __init__(self) -> None:
        super().__init__({
            "araddr": Out(DDR_ADDRESS), "arlen": Out(BURST_LENGTH),
            "arsize": Out(3), "arburst": Out(2),
            "arcache": Out(4), "arprot": Out(3), "arid": Out(6),
            "arvalid": Out(1), "arready": In(1),
            "rdata": In(BEAT), "rresp": In(2), "rlast": In(1), "rid": In(6),
            "rvalid": In(1), "rready": Out(1),
        })


class Axi3WriteSignature(Signature):
    """Write channels of a 64-bit AXI3 master (as seen by the master)."""

    def __init__(self) -> None:
        super().__init__({
            "awaddr": Out(DDR_ADDRESS), "awlen": Out(BURST_LENGTH),
            "awsize": Out(3), "awburst": Out(2),
            "awcache": Out(4), "awprot": Out(3), "awid": Out(6),
            "awvalid": Out(1), "awready": In(1),
            "wdata": Out(BEAT), "wstrb": Out(STROBES), "wlast": Out(1), "wid": Out(6),
            "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bid": In(6), "bvalid": In(1), "bready": Out(1),
        })


class AxiLiteSignature(Signature):
    """32-bit AXI-Lite, as seen by the slave."""

    def __init__(self, addr_width: int = 8) -> None:
        super().__init__({
            "awaddr": In(addr_width), "awprot": In(3), "awvalid": In(1), "awready": Out(1),
            "wdata": In(32), "wstrb": In(4), "wvalid": In(1), "wready": Out(1),
            "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
            "araddr": In(addr_width), "arprot": In(3), "arvalid": In(1), "arready": Out(1),
            "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
        })


class LoadSignature(Signature):
    """The load bus, as seen by LOAD: the fields of LoadBus and ``valid``; always accepted."""

    def __init__(self, arch: Arch) -> None:
        fields = {name: Out(field.shape) for name, field in LoadBus(arch)}
        super().__init__({"valid": Out(1), **fields})


class TraceSignature(Signature):
    """What a simulator watches: words written on chip, and each engine's starts and retirements.

    ``<writer>_valid`` is high in the cycle in which the word is accepted by its memory.
    """

    def __init__(self, arch: Arch) -> None:
        members: dict[str, object] = {}
        for writer in ("load", "mac", "vec"):
            members[f"{writer}_valid"] = Out(1)
            members[f"{writer}_addr"] = Out(WORD_ADDRESS)
            members[f"{writer}_data"] = Out(8 * arch.lanes)
        members["load_dst"] = Out(3)
        members["start"] = Out(len(Engine))
        members["retire"] = Out(len(Engine))
        super().__init__(members)
