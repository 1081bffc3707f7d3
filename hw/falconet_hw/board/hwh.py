"""The hardware handoff file: what PYNQ reads beside a bitstream to know what is in it.

Vivado writes such a file for a block design. There is none here, so it is written from the
contract: the registers, their address, the clock, and the settings of the processing system that
PYNQ applies when it loads the bitstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path
from xml.etree import ElementTree

from falconet.isa import (
    ISA_VERSION,
    MAGIC,
    REGISTERS,
    Board,
    Control,
    FalconetError,
    Register,
    Status,
    clock_divisors,
)
from falconet.isa.files import written
from falconet_hw.board import host_of
from falconet_hw.board.host import ProcessingSystem

__all__ = ["IP", "VLNV", "hwh", "write_hwh"]

IP = "falconet"
"""Name of the machine in an overlay: ``overlay.falconet``."""

VLNV = "falconet:accelerator:falconet:1.0"
_AXI = "xilinx.com:interface:aximm:1.0"


def _clocks(system: ProcessingSystem, board: Board) -> dict[str, str]:
    """Settings of the four clocks; the first is the machine's.

    PYNQ 3 sets the divisors. PYNQ 4 sets the frequency, which pynqmetadata 0.2 looks up under the
    UltraScale's name on both.
    """
    first, second = clock_divisors(system.pll_mhz, board.clock_mhz)
    mhz = system.pll_mhz / (first * second)
    settings = {"PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ": f"{mhz:.6f}"}
    settings |= system.clock(0, first, second, mhz)
    for number in range(1, 4):
        settings |= system.clock(number, 1, 1, 0.0)
    return settings


def _parameters(parent: ElementTree.Element, values: Mapping[str, str]) -> None:
    group = ElementTree.SubElement(parent, "PARAMETERS")
    for name, value in values.items():
        ElementTree.SubElement(group, "PARAMETER", NAME=name, VALUE=value)


def _module(parent: ElementTree.Element, name: str, kind: str, vlnv: str,
            parameters: Mapping[str, str]) -> ElementTree.Element:
    version = vlnv.rsplit(":", 1)[1]
    module = ElementTree.SubElement(
        parent, "MODULE", FULLNAME=f"/{name}", HWVERSION=version, INSTANCE=name,
        IPTYPE="PERIPHERAL", IS_ENABLE="1", IS_PL="TRUE" if name == IP else "FALSE",
        MODCLASS="PERIPHERAL", MODTYPE=kind, VLNV=vlnv,
    )
    _parameters(module, parameters)
    ElementTree.SubElement(module, "PORTS")
    return module


def _bus(module: ElementTree.Element, name: str, kind: str, width: int) -> None:
    buses = ElementTree.SubElement(module, "BUSINTERFACES")
    bus = ElementTree.SubElement(
        buses, "BUSINTERFACE", BUSNAME="registers", DATAWIDTH=str(width), NAME=name, TYPE=kind,
        VLNV=_AXI,
    )
    ElementTree.SubElement(bus, "PORTMAPS")


def _properties(parent: ElementTree.Element, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, "PROPERTY", NAME=name, VALUE=value)


_FLAGS: dict[str, type[IntFlag]] = {"CONTROL": Control, "STATUS": Status}


def _register(parent: ElementTree.Element, r: Register) -> None:
    access = "read-write" if r.access == "rw" else "read-only"
    register = ElementTree.SubElement(parent, "REGISTER", NAME=r.name)
    _properties(register, {
        "DESCRIPTION": r.doc, "ADDRESS_OFFSET": f"0x{r.offset:02X}", "SIZE": "32",
        "ACCESS": access, "IS_ENABLED": "true", "RESET_VALUE": f"0x{r.reset:X}",
    })
    bits = [(f.name or "", f.value.bit_length() - 1, 1) for f in _FLAGS.get(r.name, ())]
    fields = ElementTree.SubElement(register, "FIELDS")
    for name, offset, width in bits or [(r.name, 0, 32)]:
        field = ElementTree.SubElement(fields, "FIELD", NAME=name)
        _properties(field, {
            "DESCRIPTION": r.doc, "BIT_OFFSET": str(offset), "BIT_WIDTH": str(width),
            "ACCESS": access,
        })


def hwh(board: Board) -> str:
    """The file's text; the same board always gives the same.

    Raises
    ------
    FalconetError
        for a board without a processing system.
    """
    system = host_of(board).system
    if system is None:
        raise FalconetError(f"board '{board.name}' has no processing system, so PYNQ cannot use it")
    device, package = board.part.split("-")[0][2:], board.part.split("-", 1)[0]
    root = ElementTree.Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="2022.1")
    ElementTree.SubElement(
        root, "SYSTEMINFO", ARCH=system.arch, DEVICE=device, NAME=IP, PACKAGE=package,
    )
    ElementTree.SubElement(root, "EXTERNALPORTS")
    ElementTree.SubElement(root, "EXTERNALINTERFACES")
    modules = ElementTree.SubElement(root, "MODULES")

    ps = _module(modules, "ps", system.ip, f"xilinx.com:ip:{system.ip}:{system.version}",
                 {**_clocks(system, board), **system.ports})
    _bus(ps, system.master, "MASTER", 32)
    memory = ElementTree.SubElement(ps, "MEMORYMAP")
    ElementTree.SubElement(
        memory, "MEMRANGE", ADDRESSBLOCK="registers", BASENAME="C_BASEADDR",
        BASEVALUE=f"0x{board.registers:08X}", HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"0x{board.registers + board.span - 1:08X}", INSTANCE=IP, IS_DATA="TRUE",
        MASTERBUSINTERFACE=system.master, MEMTYPE="REGISTER", SLAVEBUSINTERFACE="S_AXI",
    )

    machine = _module(modules, IP, IP, VLNV, {
        "PRODUCT": f"0x{MAGIC:08X}", "ISA_VERSION": str(ISA_VERSION),
        "ARCH_HASH": f"0x{board.arch.hash:08X}", "PRESET": board.preset, "BOARD": board.name,
        "C_BASEADDR": f"0x{board.registers:08X}",
        "C_HIGHADDR": f"0x{board.registers + board.span - 1:08X}",
    })
    _bus(machine, "S_AXI", "SLAVE", 32)
    blocks = ElementTree.SubElement(machine, "ADDRESSBLOCKS")
    block = ElementTree.SubElement(
        blocks, "ADDRESSBLOCK", ACCESS="read-write", INTERFACE="S_AXI", NAME="registers",
        RANGE=str(board.span), USAGE="register",
    )
    registers = ElementTree.SubElement(block, "REGISTERS")
    for r in REGISTERS:
        _register(registers, r)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def write_hwh(board: Board, path: str | Path) -> None:
    """Write it; PYNQ wants it beside the bitstream, with the same name."""
    with written(Path(path)) as part:
        part.write_text(hwh(board), encoding="utf-8")
