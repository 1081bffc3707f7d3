"""Bitstreams by Vivado: a Tcl script for batch mode, without a project.

The script has been run by a Tcl interpreter with Vivado's commands replaced, not by Vivado.
"""

from __future__ import annotations

from pathlib import Path

from falconet.isa import Board, FalconetError
from falconet_hw.board import TOP, host_of, write_board_verilog
from falconet_hw.build.bitstream.report import Report, vivado_timing, vivado_utilisation
from falconet_hw.build.bitstream.tools import begin, find_tool, run, step

__all__ = ["build", "script", "write_inputs"]


def constraints(board: Board) -> str:
    """The XDC file: the clock. All other signals end at the processing system."""
    system = host_of(board).system
    assert system is not None  # no other host has Vivado among its toolchains
    return (
        f"create_clock -name machine -period {1000 / board.clock_mhz:.3f} "
        f"[get_pins {{{system.clock_pin}}}]\n"
    )


def script(board: Board) -> str:
    """The Tcl script; it is run in the folder that holds falconet.v and falconet.xdc.

    It exits with 0 and a bitstream if timing is met, else with 2 and reports.
    """
    return f"""\
# {board.title}: synthesis to bitstream, without a project.
read_verilog falconet.v
read_xdc falconet.xdc
synth_design -top {TOP} -part {board.part} -flatten_hierarchy rebuilt
opt_design
place_design -directive Explore
phys_opt_design -directive AggressiveExplore
route_design -directive Explore
phys_opt_design
report_utilization -file utilisation.rpt
report_timing_summary -delay_type min_max -max_paths 10 -file timing.rpt
write_checkpoint -force falconet.dcp
foreach kind {{setup hold}} {{
  set paths [get_timing_paths -max_paths 1 -$kind]
  if {{[llength $paths] == 0}} {{
    puts "falconet: there is no timed $kind path; the clock constraint has not been applied"
    exit 3
  }}
  set slack [get_property SLACK [lindex $paths 0]]
  if {{$slack < 0}} {{
    puts "falconet: timing is not met at {board.clock_mhz:g} MHz: $kind slack is $slack ns"
    exit 2
  }}
}}
write_bitstream -force falconet.bit
exit 0
"""


def write_inputs(board: Board, out: Path) -> None:
    """falconet.v, falconet.xdc and falconet.tcl."""
    write_board_verilog(board, out / "falconet.v")
    (out / "falconet.xdc").write_text(constraints(board))
    (out / "falconet.tcl").write_text(script(board))


def build(board: Board, out: Path, stop: str | None) -> Report | None:
    """falconet.bit in ``out``; with stop="netlist" only what Vivado reads."""
    others = [t for t in host_of(board).toolchains if t != "vivado"]
    instead = "".join(f" or use TOOLCHAIN={other}" for other in others)
    tool = None if stop else find_tool(
        "vivado", "VIVADO", f"install Vivado and source its settings64.sh,{instead}".rstrip(","))
    begin(out)
    step("write Verilog and Tcl", lambda: write_inputs(board, out))
    if tool is None:
        return None
    for old in ("timing.rpt", "utilisation.rpt"):
        (out / old).unlink(missing_ok=True)
    try:
        step("Vivado", lambda: run(
            [tool, "-mode", "batch", "-nojournal", "-nolog", "-source", "falconet.tcl"],
            out / "vivado.log", folder=out))
    except FalconetError:
        said = [line for line in (out / "vivado.log").read_text(errors="replace").splitlines()
                if line.startswith("falconet: ")]
        if said:
            where = (f"; see {out / 'timing.rpt'}, or lower clock_mhz of board '{board.name}' in "
                     "falconet/isa/machine/boards.py")
            raise FalconetError(said[-1].removeprefix("falconet: ") + where) from None
        raise
    figures = {
        **vivado_utilisation((out / "utilisation.rpt").read_text()),
        **vivado_timing((out / "timing.rpt").read_text(), board.clock_mhz),
    }
    return Report(board.name, "vivado", board.clock_mhz, **figures)  # type: ignore[arg-type]
