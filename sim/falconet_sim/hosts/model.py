"""Verilog of a simulated processing system around a board's design, made of its table of pins.

NAME_ports holds the design (module falconet_top) with the vendor's block inside, whose pins are the
ports of NAME_ports: what the processor and the memory controller do is up to the test bench.
NAME_board puts AXI-Lite in front of the port of the registers, so that its ports are those of the
bare machine (falconet_hw.top).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import Template

from falconet.isa import Board
from falconet_hw.board import host_of
from falconet_hw.board.ps import AxiPort, Block
from falconet_hw.bus import AxiLiteSignature
from falconet_sim.hosts import SimulatedSystem, system_of

__all__ = ["model_text"]


@dataclass(frozen=True)
class _Wire:
    """A field of an AXI port between block and test bench; ``out`` as the block sees it."""

    name: str
    pin: str
    width: int
    pins: int
    out: bool

    def port(self) -> str:
        return _port("input" if self.out else "output", self.width, self.name)

    def driven(self, ports: str) -> str:
        """What the block's pins are: addresses filled with zeros, data with what is unknown."""
        more, source = self.pins - self.width, f"{ports}.{self.name}"
        fill = "d0" if self.name.endswith("addr") else "hx"
        return f"  assign {self.pin} = " + (f"{{{more}'{fill}, {source}}};" if more
                                            else f"{source};")


def _port(direction: str, width: int, name: str) -> str:
    return f"    {direction} {f'[{width - 1}:0] ' if width > 1 else ''}{name}"


def _module(name: str, ports: list[str], body: list[str]) -> str:
    return f"\nmodule {name} (\n" + ",\n".join(ports) + ");\n" + "\n".join(body) + "\nendmodule\n"


def _wires(port: AxiPort, name: str) -> Iterator[_Wire]:
    """``name``, or its side (``m0__read``), goes before a field."""
    for key, pins in port.fields.items():
        side = "" if port.master else "read__" if key.startswith(("ar", "r")) else "write__"
        yield _Wire(f"{name}__{side}{key}", port.name + key.upper(), port.used(key), pins,
                    port.out(key))


def _block(system: SimulatedSystem, block: Block, wires: list[_Wire]) -> str:
    """The block. The test bench's ports are reached by the name of the module around the design, so
    that the design needs none. Outputs that nothing drives are 0."""
    ports = f"{system.name}_ports"
    driven = {w.pin: w.driven(ports) for w in wires if w.out}
    driven |= {pin: f"  assign {pin} = {Template(value).substitute(ports=ports)};"
               for pin, value in system.pins.items()}
    return _module(
        block.name, [_port("output" if p.out else "input", p.width, p.name) for p in block.pins()],
        [driven.get(p.name, f"  assign {p.name} = '0;") for p in block.pins() if p.out])


_COMMON = ["    input clk", "    input rst", "    output irq"]
_WID = "m0__write__wid"


def _memory_ports(wires: list[_Wire]) -> list[str]:
    """Those of m0 and m1 as the machine has them, with AXI3's ID of write data."""
    ports = [w.port() for w in wires if not w.name.startswith("gp0")]
    width = next(w.width for w in wires if w.name == "m0__write__awid")
    return ports + ([] if any(w.name == _WID for w in wires) else [_port("output", width, _WID)])


def _ports(system: SimulatedSystem, block: Block, wires: list[_Wire]) -> str:
    inside = f"dut.{block.name.lower()}"
    body = ["  falconet_top dut ();", f"  assign irq = {inside}.{system.interrupt};"]
    body += [f"  assign {w.name} = {inside}.{w.pin}[{w.width - 1}:0];" if w.pins > w.width
             else f"  assign {w.name} = {inside}.{w.pin};" for w in wires if not w.out]
    if all(w.name != _WID for w in wires):
        # AXI4 has none: data belong to the oldest address.
        body.append(f"  assign {_WID} = {inside}.{block.m0.name}AWID;")
    registers = [w.port() for w in wires if w.name.startswith("gp0")]
    return _module(f"{system.name}_ports", [*_COMMON, *registers, *_memory_ports(wires)], body)


# An access to a register is a burst of one beat, with another ID each time; an answer with a wrong
# ID or without RLAST is never passed on, so the access fails.
_ACCESS = """\
  logic [$high:0] id = $width'h$first;
  wire [$high:0] bid, rid;
  wire rlast, bvalid, rvalid;
  always @(posedge clk)
    if ((axil__bvalid && axil__bready) || (axil__rvalid && axil__rready)) id <= id * 5 + 7;
  assign axil__bvalid = bvalid && bid == id;
  assign axil__rvalid = rvalid && rid == id && rlast;
  ${name}_ports ports (
$connected,
      .*);"""


def _access(board: Board, system: SimulatedSystem, port: AxiPort) -> str:
    offset = AxiLiteSignature().members["awaddr"].shape
    base = f"{32 - offset}'h{board.registers >> offset:x}"
    given = {name: name for name in ("bid", "rid", "bvalid", "rvalid", "rlast")}
    given |= {"awid": "id", "arid": "id", "wid": "id", "wlast": "1'b1"}
    for channel in ("aw", "ar"):
        given[f"{channel}addr"] = f"{{{base}, axil__{channel}addr}}"
        for name, value in (("len", 0), ("size", 2), ("burst", 1)):  # one beat of 4 bytes
            given[channel + name] = f"{port.fields[channel + name]}'d{value}"
    width = port.fields["awid"]
    return Template(_ACCESS).substitute(
        high=width - 1, width=width, first=f"{system.first_id:x}", name=system.name,
        connected=",\n".join(f"      .gp0__{f}({given.get(f, f'axil__{f}')})"
                             for f in port.fields))


def _board(board: Board, system: SimulatedSystem, block: Block, wires: list[_Wire]) -> str:
    lite = [_port(member.flow.name.lower() + "put", member.shape, f"axil__{name}")
            for name, member in AxiLiteSignature().members.items()]
    return _module(f"{system.name}_board", [*_COMMON, *lite, *_memory_ports(wires)],
                   [_access(board, system, block.registers)])


def model_text(board: Board) -> str:
    """All of it: the clock's buffer, the block, NAME_ports and NAME_board."""
    system, real = system_of(board), host_of(board).system
    assert real is not None  # what is simulated is built, too
    block = real.block
    memory = [w for port, name in ((block.m0, "m0"), (block.m1, "m1"))
              for w in _wires(port, name) if not w.name.startswith("m1__write")]
    wires = [*_wires(block.registers, "gp0"), *memory]
    return (
        "`timescale 1ns / 1ps\n"
        + _module(system.buffer, ["    input I", "    output O"], ["  assign O = I;"])
        + _block(system, block, wires) + _ports(system, block, wires)
        + _board(board, system, block, wires)
    )
