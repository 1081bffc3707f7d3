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
    Host,
    Register,
    Status,
    clock_divisors,
)

__all__ = ["IP", "VLNV", "hwh", "write_hwh"]

IP = "falconet"
"""Name of the machine in an overlay: ``overlay.falconet``."""

VLNV = "falconet:accelerator:falconet:1.0"
_AXI = "xilinx.com:interface:aximm:1.0"
_REFERENCE_MHZ = {Host.ZYNQ7: 1000.0, Host.ZYNQMP: 1500.0}  # the PLL that the clock comes from


def _clocks(board: Board) -> dict[str, str]:
    """Settings of the four clocks; the first is the machine's.

    PYNQ 3 sets the divisors. PYNQ 4 sets the frequency, which pynqmetadata 0.2 looks up under the
    UltraScale's name on both.
    """
    reference, settings = _REFERENCE_MHZ[board.host], dict[str, str]()
    for i in range(4):
        first, second = clock_divisors(reference, board.clock_mhz) if i == 0 else (1, 1)
        mhz = reference / (first * second) if i == 0 else 0.0
        on, ref = str(int(i == 0)), f"PSU__CRL_APB__PL{i}_REF_CTRL__"
        if i == 0:
            settings[f"{ref}ACT_FREQMHZ"] = f"{mhz:.6f}"
        if board.host is Host.ZYNQ7:
            settings |= {
                f"PCW_FPGA_FCLK{i}_ENABLE": on, f"PCW_FCLK{i}_PERIPHERAL_CLKSRC": "IO PLL",
                f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0": str(first),
                f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1": str(second),
                f"PCW_FPGA{i}_PERIPHERAL_FREQMHZ": f"{mhz:g}",
            }
        else:
            settings |= {
                f"PSU__FPGA_PL{i}_ENABLE": on, f"{ref}SRCSEL": "IOPLL",
                f"{ref}DIVISOR0": str(first), f"{ref}DIVISOR1": str(second),
            }
    return settings


def _ports(board: Board) -> dict[str, str]:
    """Settings of the AXI ports; on the UltraScale PYNQ sets their widths from these."""
    if board.host is Host.ZYNQ7:
        return {
            "PCW_USE_M_AXI_GP0": "1", "PCW_USE_S_AXI_HP0": "1", "PCW_USE_S_AXI_HP1": "1",
            "PCW_S_AXI_HP0_DATA_WIDTH": "64", "PCW_S_AXI_HP1_DATA_WIDTH": "64",
            "PCW_USE_FABRIC_INTERRUPT": "1", "PCW_IRQ_F2P_INTR": "1",
        }
    return {
        "PSU__USE__M_AXI_GP0": "1", "PSU__USE__S_AXI_GP2": "1", "PSU__USE__S_AXI_GP3": "1",
        "C_MAXIGP0_DATA_WIDTH": "32", "C_SAXIGP2_DATA_WIDTH": "64", "C_SAXIGP3_DATA_WIDTH": "64",
        "PSU__USE__IRQ0": "1",
    }


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
    if board.host not in _REFERENCE_MHZ:
        raise FalconetError(f"board '{board.name}' has no processing system, so PYNQ cannot use it")
    zynq7 = board.host is Host.ZYNQ7
    device, package = board.part.split("-")[0][2:], board.part.split("-", 1)[0]
    root = ElementTree.Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="2022.1")
    ElementTree.SubElement(
        root, "SYSTEMINFO", ARCH="zynq" if zynq7 else "zynquplus", DEVICE=device, NAME=IP,
        PACKAGE=package,
    )
    ElementTree.SubElement(root, "EXTERNALPORTS")
    ElementTree.SubElement(root, "EXTERNALINTERFACES")
    modules = ElementTree.SubElement(root, "MODULES")

    kind, version, master = (
        ("processing_system7", "5.5", "M_AXI_GP0") if zynq7
        else ("zynq_ultra_ps_e", "3.4", "M_AXI_HPM0_FPD")
    )
    ps = _module(modules, "ps", kind, f"xilinx.com:ip:{kind}:{version}",
                 {**_clocks(board), **_ports(board)})
    _bus(ps, master, "MASTER", 32)
    memory = ElementTree.SubElement(ps, "MEMORYMAP")
    ElementTree.SubElement(
        memory, "MEMRANGE", ADDRESSBLOCK="registers", BASENAME="C_BASEADDR",
        BASEVALUE=f"0x{board.registers:08X}", HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"0x{board.registers + board.span - 1:08X}", INSTANCE=IP, IS_DATA="TRUE",
        MASTERBUSINTERFACE=master, MEMTYPE="REGISTER", SLAVEBUSINTERFACE="S_AXI",
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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(hwh(board), encoding="utf-8")
