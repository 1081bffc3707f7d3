"""Processing systems: the table of a vendor's block's pins, and our AXI interfaces on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth import Const, Module, Signal
from amaranth.lib.wiring import In

__all__ = ["AxiPort", "Block", "Pin", "axi_port", "pins"]

_SLAVES = {"arready", "awready", "wready", "bid", "bresp", "bvalid",
           "rdata", "rid", "rlast", "rresp", "rvalid"}


@dataclass(frozen=True)
class Pin:
    """A pin of the block, or several as one; ``out`` as the block sees it."""

    name: str
    width: int
    out: bool


@dataclass(frozen=True)
class AxiPort:
    """An AXI port of a block: as much of it as a design needs.

    Parameters
    ----------
    name:
        What the names of its pins begin with, then the field's name in capitals.
    master:
        Whether the block sends addresses.
    fields:
        Width of the pins of each field, ``araddr`` and so on.
    data:
        Bits of data that are used, where the pins are more.
    clocks:
        What its clock pins are called.
    held:
        Inputs that are 0 always, with their widths.
    """

    name: str
    master: bool
    fields: Mapping[str, int]
    data: int
    clocks: tuple[str, ...]
    held: Mapping[str, int] = field(default_factory=dict)

    def out(self, name: str) -> bool:
        """Whether a field is an output of the block."""
        return (name in _SLAVES) is not self.master

    def used(self, name: str) -> int:
        """Bits of a field that the simulated system has: addresses of 32 bits, data as set up."""
        narrowed = {"araddr": 32, "awaddr": 32, "rdata": self.data, "wdata": self.data,
                    "wstrb": self.data // 8}
        return narrowed.get(name, self.fields[name])

    def pins(self) -> Iterator[Pin]:
        for name, width in self.fields.items():
            yield Pin(self.name + name.upper(), width, self.out(name))
        for name, width in (dict.fromkeys(self.clocks, 1) | dict(self.held)).items():
            yield Pin(self.name + name.upper(), width, False)


def axi_port(name: str, *, master: bool, version: int, addr: int, ident: int, pins: int, data: int,
             clocks: tuple[str, ...], hints: bool = False, held: Mapping[str, int] | None = None
             ) -> AxiPort:
    """A port of AXI3 or AXI4 (``version``), with ``pins`` bits of data of which ``data`` are used.

    ``hints``: with cache and protection; lock and quality of service are held. What the Zynq-7000
    calls SIZE has 2 bits.
    """
    old = version == 3
    address = {"addr": addr, "burst": 2, "id": ident, "len": 4 if old else 8, "ready": 1,
               "size": 2 if old else 3, "valid": 1, **({"cache": 4, "prot": 3} if hints else {})}
    fields = {f"{c}{n}": width for c in ("ar", "aw") for n, width in address.items()}
    fields |= {
        "bid": ident, "bready": 1, "bresp": 2, "bvalid": 1,
        "rdata": pins, "rid": ident, "rlast": 1, "rready": 1, "rresp": 2, "rvalid": 1,
        "wdata": pins, "wlast": 1, "wready": 1, "wstrb": pins // 8, "wvalid": 1,
    }
    if old:
        fields["wid"] = ident
    locks = {"arlock": 2 if old else 1, "awlock": 2 if old else 1, "arqos": 4, "awqos": 4}
    return AxiPort(name, master, fields, data, clocks,
                   {**(locks if hints else {}), **(held or {})})


@dataclass(frozen=True)
class Block:
    """A vendor's block: the ports of the machine's registers, ``m0`` and ``m1``; other pins."""

    name: str
    registers: AxiPort
    m0: AxiPort
    m1: AxiPort
    others: tuple[Pin, ...]

    def pins(self) -> tuple[Pin, ...]:
        """Every pin that the designs use."""
        ports = (self.registers, self.m0, self.m1)
        return (*self.others, *(pin for port in ports for pin in port.pins()))


def pins(m: Module, port: AxiPort, *interfaces: Any, clock: Any) -> dict[str, Any]:
    """Arguments of an Instance for an AXI port, with its clocks and what is held.

    Parameters
    ----------
    interfaces:
        Of components; what is an input of them is an output of the block. Where the pins are
        wider, they are filled with zeros; where they are narrower, ours is cut off. Inputs that
        none has are left open, but for a write channel that is not there: nothing is valid on it.
    """
    ports: dict[str, Any] = {f"i_{port.name}{name.upper()}": clock for name in port.clocks}
    for name, width in port.held.items():
        ports[f"i_{port.name}{name.upper()}"] = Const(0, width)
    for axi in interfaces:
        for name, member in axi.signature.members.items():
            if name == "wid" and name not in port.fields:  # AXI4 has none
                continue
            ours, out = getattr(axi, name), port.out(name)
            assert out is (member.flow is In), name
            pin = Signal(port.fields[name], name=f"{port.name.lower()}_{name}")
            m.d.comb += ours.eq(pin) if out else pin.eq(ours)
            ports[f"{'o' if out else 'i'}_{port.name}{name.upper()}"] = pin
    for name in ("awvalid", "wvalid", "bready"):
        if not port.master:
            ports.setdefault(f"i_{port.name}{name.upper()}", Const(0))
    return ports
