"""The flows up to their tools: what is written, called and refused.

Vivado's script is run by a Tcl interpreter in which Vivado's commands are procedures that record
their calls; programs of the open flow are stand-ins that check what they are given.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from falconet.isa import Board, FalconetError, board
from falconet_hw.build.bitstream import openxc7, tools, vivado
from falconet_hw.build.bitstream.__main__ import main, make
from falconet_hw.build.bitstream.openxc7 import check, clock_net
from falconet_hw.build.bitstream.report import Report

Z2, ZU3, ECP5 = board("pynq-z2"), board("aup-zu3"), board("ecp5")
TINY = dataclasses.replace(Z2, preset="tiny")

# --------------------------------------------------------------------------- Tcl

MOCK = """
set calls {}
proc record {name arguments} { global calls; lappend calls [concat $name $arguments] }
proc must_exist {path} { if {![file exists $path]} { error "$path does not exist" } }
proc write {path text} { set f [open $path w]; puts -nonewline $f $text; close $f }
foreach name {synth_design opt_design place_design phys_opt_design route_design} {
  proc $name {args} "record $name \\$args"
}
proc read_verilog {args} { record read_verilog $args; must_exist [lindex $args end] }
proc read_xdc {args} { record read_xdc $args; must_exist [lindex $args end] }
proc report_utilization {args} { record report_utilization $args; write [lindex $args end] ok }
proc report_timing_summary {args} {
  record report_timing_summary $args; write [lindex $args end] ok }
proc write_checkpoint {args} { record write_checkpoint $args; write [lindex $args end] ok }
proc write_bitstream {args} { record write_bitstream $args; write [lindex $args end] ok }
proc get_timing_paths {args} { global paths; record get_timing_paths $args; return $paths }
proc get_property {name object} { global slacks; set s [lindex $slacks 0]
  set slacks [lrange $slacks 1 end]; return $s }
"""

TKINTER = """
import os, sys, tkinter
tcl = tkinter.Tcl()  # has no exit
tcl.createcommand("exit", lambda code: (tcl.eval("flush stdout"), os._exit(int(code))))
tcl.eval(open(sys.argv[1]).read())
"""


def tclsh() -> list[str]:
    """A Tcl interpreter: tclsh, or the one inside Python."""
    found = shutil.which("tclsh")
    if found:
        return [found]
    ready = subprocess.run([sys.executable, "-c", "import tkinter"], check=False).returncode == 0
    # no package of PyPI brings a sound one
    assert ready, "there is no Tcl interpreter; apt-get install tcl, or python3-tk"
    return [sys.executable, "-c", TKINTER]


def run_tcl(described: Board, folder: Path, *, slacks: str = "0.1 0.05", paths: str = "a"
            ) -> tuple[int, str, list[str]]:
    """Exit code, output and calls of the script."""
    (folder / "falconet.v").write_text("module falconet_top; endmodule\n")
    (folder / "falconet.xdc").write_text(vivado.constraints(described))
    script = folder / "run.tcl"
    script.write_text(
        f"{MOCK}\nset slacks {{{slacks}}}\nset paths {{{paths}}}\n"
        "rename exit leave\n"
        "proc exit {code} { global calls; set f [open calls.txt w]; puts $f [join $calls \\n]; "
        "close $f; leave $code }\n" + vivado.script(described))
    done = subprocess.run([*tclsh(), "run.tcl"], cwd=folder, capture_output=True, text=True,
                          timeout=60, check=False)
    calls = folder / "calls.txt"
    return done.returncode, done.stdout + done.stderr, (
        calls.read_text().splitlines() if calls.exists() else [])


@pytest.mark.parametrize("described", [Z2, ZU3], ids=lambda b: b.name)
def test_the_script_goes_from_verilog_to_a_bitstream(described: Board, tmp_path: Path) -> None:
    code, said, calls = run_tcl(described, tmp_path)
    assert code == 0, said
    assert [c.split()[0] for c in calls] == [
        "read_verilog", "read_xdc", "synth_design", "opt_design", "place_design",
        "phys_opt_design", "route_design", "phys_opt_design", "report_utilization",
        "report_timing_summary", "write_checkpoint", "get_timing_paths", "get_timing_paths",
        "write_bitstream",
    ]
    assert f"-top falconet_top -part {described.part}" in calls[2]
    assert calls[-1].endswith("falconet.bit") and (tmp_path / "falconet.bit").exists()


@pytest.mark.parametrize(("slacks", "kind"), [("-0.25 0.1", "setup"), ("0.25 -0.1", "hold")])
def test_negative_slack_gives_no_bitstream(slacks: str, kind: str, tmp_path: Path) -> None:
    code, said, calls = run_tcl(Z2, tmp_path, slacks=slacks)
    assert code == 2
    assert f"falconet: timing is not met at 125 MHz: {kind} slack is -0." in said
    assert not any(c.startswith("write_bitstream") for c in calls)


def test_a_clock_that_was_not_found_is_not_met(tmp_path: Path) -> None:
    code, said, calls = run_tcl(Z2, tmp_path, paths="")
    assert code == 3 and "the clock constraint has not been applied" in said
    assert not any(c.startswith("write_bitstream") for c in calls)


def test_the_clock_constraint_is_tcl(tmp_path: Path) -> None:
    (tmp_path / "xdc.tcl").write_text(
        "proc get_pins {name} { return pin:$name }\n"
        "proc create_clock {args} { puts [lindex $args 3]; puts [lindex $args 4] }\n"
        + vivado.constraints(Z2))
    done = subprocess.run([*tclsh(), "xdc.tcl"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, check=True)
    assert done.stdout.split() == ["8.000", "pin:ps7/FCLKCLK[0]"]


# --------------------------------------------------------------------------- programs


def program(folder: Path, name: str, code: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys, pathlib\nargs = sys.argv[1:]\n{code}\n")
    path.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others on PATH; no variable names a tool."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("VIVADO", "NEXTPNR_XILINX", "FASM2FRAMES", "XC7FRAMES2BIT", "CHIPDB",
                 "PRJXRAY_DB_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


UTILISATION = "| Slice LUTs | 100 |\\n| Slice Registers | 200 |\\n"
TIMING = "Slack (MET) : 0.5ns\\n Source: a/C\\n Destination: b/D\\n Data Path Delay: 7.1ns\\n"


def test_vivado_flow(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(  # the whole design: test_stop_before_vivado
        vivado, "write_board_verilog",
        lambda board, path: path.write_text("module falconet_top; endmodule"))
    program(bin_folder, "vivado", f"""
assert args == ["-mode", "batch", "-nojournal", "-nolog", "-source", "falconet.tcl"], args
assert "module falconet_top" in open("falconet.v").read()
open("utilisation.rpt", "w").write("{UTILISATION}")
open("timing.rpt", "w").write("{TIMING}")
open("falconet.bit", "w").write("bits")""")
    out = tmp_path / "out"
    report = make(TINY, "vivado", None, out)
    assert report is not None and report.met and report.lut == 100
    assert report.fmax_mhz == pytest.approx(1000 / 7.5)
    assert Report.load(out / "report.json") == report
    assert (out / "falconet.hwh").exists() and (out / "falconet.bit").exists()
    assert "133.333 MHz" in capsys.readouterr().out


def test_vivado_says_that_timing_is_not_met(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vivado, "write_board_verilog", lambda board, path: path.write_text("//"))
    program(bin_folder, "vivado",
            'print("falconet: timing is not met at 125 MHz: setup slack is -0.25 ns"); sys.exit(2)')
    with pytest.raises(FalconetError, match=r"^timing is not met at 125 MHz.*timing\.rpt"):
        make(TINY, "vivado", None, tmp_path / "out")
    program(bin_folder, "vivado", 'print("ERROR: [Common 17-69] no licence"); sys.exit(1)')
    with pytest.raises(FalconetError, match=r"vivado failed: ERROR: .* no licence .*vivado\.log"):
        make(TINY, "vivado", None, tmp_path / "out")


@pytest.fixture
def open_tools(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins of the open flow, a database and a chip; synthesis is replaced by one cell."""
    database = tmp_path / "db"
    (database / "zynq7" / Z2.part).mkdir(parents=True)
    (database / "zynq7" / Z2.part / "part.yaml").write_text("part")
    chip = tmp_path / "xc7z020.bin"
    chip.write_text("chip")
    monkeypatch.setenv("PRJXRAY_DB_DIR", str(database))
    monkeypatch.setenv("CHIPDB", str(chip))
    program(bin_folder, "nextpnr-xilinx", """
given = dict(zip(args[::2], args[1::2]))
assert open(given["--chipdb"]).read() == "chip" and given["--freq"] == "125"
assert "create_clock" in open(given["--xdc"]).read() and open(given["--json"]).read()
open(given["--fasm"], "w").write("fasm")
print("Info: \\t SLICE_LUTX: 12/106400 0%")
assert "--timing-allow-fail" in args
print("Info: Max frequency for clock 'machine': 200 MHz (PASS at 125 MHz)", flush=True)
speed = float(open("../speed").read())
level, word = ("Info", "PASS") if speed > 125 else ("Warning", "FAIL")
print(f"{level}: Max frequency for clock 'machine': {speed:.2f} MHz ({word} at 125 MHz)",
      file=sys.stderr)""")
    program(bin_folder, "fasm2frames", """
assert args[:2] == ["--part", "xc7z020clg400-1"] and args[2] == "--db-root"
assert pathlib.Path(args[3], args[1], "part.yaml").exists()
assert open(args[4]).read() == "fasm"
print("frames")""")
    program(bin_folder, "xc7frames2bit", """
given = dict(zip(args[::2], args[1::2]))
assert open(given["--part_file"]).read() == "part" and given["--part_name"] == "xc7z020clg400-1"
assert open(given["--frm_file"]).read() == "frames\\n"
open(given["--output_file"], "w").write("bits")""")

    def netlist(described: Board, out: Path) -> None:
        (out / "falconet.json").write_text("{}x")
        (out / "falconet.xdc").write_text("create_clock -period 8 [get_nets {clk}]\n")

    monkeypatch.setattr(openxc7, "netlist", netlist)
    (tmp_path / "speed").write_text("131.5")
    return bin_folder


def test_open_flow(open_tools: Path, tmp_path: Path) -> None:
    report = make(TINY, "openxc7", None, tmp_path / "out")
    assert report is not None and report.met and (report.lut, report.fmax_mhz) == (12, 131.5)
    assert (tmp_path / "out/falconet.bit").read_text() == "bits"


def test_open_flow_below_its_clock(open_tools: Path, tmp_path: Path) -> None:
    (tmp_path / "speed").write_text("99.5")
    with pytest.raises(FalconetError, match=r"not met at 125 MHz: nextpnr reached 99\.5 MHz"):
        make(TINY, "openxc7", None, tmp_path / "out")
    assert not (tmp_path / "out/falconet.bit").exists()


def test_a_build_that_fails_leaves_no_older_bitstream(open_tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(TINY, "openxc7", None, out)
    assert (out / "falconet.bit").exists() and (out / "report.json").exists()
    (open_tools / "fasm2frames").write_text("#!/bin/sh\necho no such feature >&2; exit 1\n")
    with pytest.raises(FalconetError, match=r"fasm2frames failed: no such feature"):
        make(TINY, "openxc7", None, out)
    assert not (out / "falconet.bit").exists() and not (out / "report.json").exists()


@pytest.mark.parametrize("name", ["xc7z020clg400-1", "xc7z020clg400", "xc7z020"])
def test_chip_in_a_folder(
    name: str, open_tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    chips = tmp_path / "chips"
    chips.mkdir()
    monkeypatch.setenv("CHIPDB", str(chips))
    with pytest.raises(FalconetError, match=r"CHIPDB=.*: there is no xc7z020clg400-1\.bin or "):
        make(TINY, "openxc7", None, tmp_path / "out")
    (chips / f"{name}.bin").write_text("chip")
    assert make(TINY, "openxc7", None, tmp_path / "out") is not None


@pytest.mark.parametrize(("tool", "variable"), [
    ("nextpnr-xilinx", "NEXTPNR_XILINX"), ("fasm2frames", "FASM2FRAMES"),
    ("xc7frames2bit", "XC7FRAMES2BIT"),
])
def test_absent_open_tools_are_named(
    tool: str, variable: str, open_tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (open_tools / tool).rename(open_tools / "elsewhere")
    with pytest.raises(FalconetError) as error:
        make(TINY, "openxc7", None, tmp_path / "out")
    assert str(error.value).startswith(f"{tool} is not installed; ")
    assert variable in str(error.value) and "TOOLCHAIN=vivado" in str(error.value)
    monkeypatch.setenv(variable, str(open_tools / "elsewhere"))
    assert make(TINY, "openxc7", None, tmp_path / "out") is not None
    monkeypatch.setenv(variable, "/nowhere")
    with pytest.raises(FalconetError, match=f"{variable}=/nowhere: no such program"):
        make(TINY, "openxc7", None, tmp_path / "out")


@pytest.mark.parametrize("variable", ["CHIPDB", "PRJXRAY_DB_DIR"])
def test_absent_databases_are_named(
    variable: str, open_tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    with pytest.raises(FalconetError, match=f"{variable}=.*nowhere: no such file or folder"):
        make(TINY, "openxc7", None, tmp_path / "out")
    monkeypatch.delenv(variable)
    with pytest.raises(FalconetError, match=f"{variable} is not set; set it to"):
        make(TINY, "openxc7", None, tmp_path / "out")


def test_absent_vivado(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bin_folder))
    for described, instead in ((Z2, True), (ZU3, False)):
        with pytest.raises(FalconetError) as error:
            make(described, None, None, tmp_path / "out")
        assert str(error.value).startswith("vivado is not installed; install Vivado and source")
        assert ("TOOLCHAIN=openxc7" in str(error.value)) == instead


@pytest.mark.parametrize(("described", "toolchain", "missing"), [
    (Z2, "vivado", "VIVADO"), (TINY, "openxc7", "XC7FRAMES2BIT"), (TINY, "openxc7", "CHIPDB"),
    (TINY, "openxc7", "yosys"), (ECP5, "ecp5", "ECPPACK"), (ECP5, "ecp5", "yosys"),
])
def test_an_older_bitstream_stays_if_a_tool_is_missing(
    described: Board, toolchain: str, missing: str, open_tools: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> str:
        raise FalconetError("yosys: no such program")

    out = tmp_path / "out"
    out.mkdir()
    for name in ("falconet.bit", "report.json"):
        (out / name).write_text("of an earlier build")
    monkeypatch.setenv(missing, "/nowhere")
    if missing == "yosys":
        monkeypatch.setattr(tools, "find_yosys", none)
    with pytest.raises(FalconetError, match="no such"):
        make(described, toolchain, None, out)
    for name in ("falconet.bit", "report.json"):
        assert (out / name).read_text() == "of an earlier build"


@pytest.mark.parametrize(("arguments", "says"), [
    (["--board", "pynq-z3"], "board 'pynq-z3' is unknown"),
    (["--board", "aup-zu3", "--toolchain", "openxc7"], "use TOOLCHAIN=vivado"),
    (["--board", "pynq-z2", "--toolchain", "quartus"], "use TOOLCHAIN=vivado or openxc7"),
    (["--board", "pynq-z2", "--stop", "route"], "STOP=route is unknown"),
])
def test_refusals(arguments: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(FalconetError, match=says):
        main([*arguments, "--output", str(tmp_path)])


@pytest.mark.parametrize("described", [Z2, ZU3], ids=lambda b: b.name)
def test_stop_before_vivado(described: Board, tmp_path: Path) -> None:
    assert make(dataclasses.replace(described, preset="tiny"), "vivado", "netlist", tmp_path
                ) is None
    assert {p.name for p in tmp_path.iterdir()} == {
        "falconet.v", "falconet.xdc", "falconet.tcl", "falconet.hwh"}
    # The pin of the constraint is one of the top's own instances.
    (path,) = re.findall(r"get_pins \{(\S+)\[0\]\}", (tmp_path / "falconet.xdc").read_text())
    instance, pin = path.split("/")
    top = (tmp_path / "falconet.v").read_text().partition("module falconet_top")[2]
    (connected,) = re.findall(
        rf"^  {instance.upper()} {instance} \($(.*?)^  \);$", top.partition("endmodule")[0],
        re.MULTILINE | re.DOTALL)
    assert re.search(rf"^    \.{pin}\(\S", connected, re.MULTILINE)


def test_the_clock_is_the_net_behind_the_buffer() -> None:
    def cell(kind: str, out: int) -> dict[str, object]:
        return {"type": kind, "connections": {"O": [out]}}

    nets = {"$auto$1": {"bits": [5]}, "machine.clk": {"bits": [5]}, "clk": {"bits": [5]},
            "fclk": {"bits": [1, 2]}, "z": {"bits": [6]}}
    assert clock_net({"cells": {"b": cell("BUFG", 5), "l": cell("LUT1", 6)}, "netnames": nets}
                     ) == "clk"
    with pytest.raises(FalconetError, match="the netlist has 0 BUFG"):
        clock_net({"cells": {"l": cell("LUT1", 6)}, "netnames": nets})


def module(**changes: object) -> dict[str, object]:
    """A netlist of PS7, BUFG and a flip-flop."""
    pins = {"MAXIGP0ACLK": [5], "SAXIHP0ACLK": [5], "SAXIHP1ACLK": [5], "FCLKCLK": [1, 2, 3, 4]}
    cells = {
        "ps7": {"type": "PS7", "connections": {**pins, **changes.pop("pins", {})}},
        "bufg": {"type": "BUFG", "connections": {"I": [1], "O": [5]}},
        "ff": {"type": changes.pop("ff", "FDRE"), "connections": {"C": [5]}},
    }
    return {"cells": cells, "ports": {}, "netnames": {"clk": {"bits": [5]}}, **changes}


def test_netlists_that_cannot_be_placed_are_refused() -> None:
    check(module())
    with pytest.raises(FalconetError, match=r"nextpnr-xilinx does not place: \$mul"):
        check(module(ff="$mul"))
    with pytest.raises(FalconetError, match="ports without pins: led"):
        check(module(ports={"led": {}}))
    with pytest.raises(FalconetError, match="SAXIHP1ACLK of PS7 is not on the machine's clock"):
        check(module(pins={"SAXIHP1ACLK": ["x"]}))
    with pytest.raises(FalconetError, match=r"clock does not come from FCLKCLK\[0\]"):
        check(module(pins={"FCLKCLK": [2, 1, 3, 4]}))
    headless = module()
    del headless["cells"]["ps7"]
    with pytest.raises(FalconetError, match="the netlist has 0 PS7"):
        check(headless)


@pytest.mark.parametrize(("width", "high", "right"), [
    (72, [14, 15, 16, 17], True), (72, [10, 11, 12, 13], False), (36, [10, 11, 12, 13], True),
])
def test_memories_that_yosys_wired_wrong_are_refused(
    width: int, high: list[int], right: bool,
) -> None:
    netlist = module()
    netlist["cells"]["weights"] = {
        "type": "RAMB36E1", "parameters": {"WRITE_WIDTH_B": f"{width:032b}"},
        "connections": {"DIPADIP": [10, 11, 12, 13], "DIPBDIP": high}}
    if right:
        check(netlist)
    else:
        with pytest.raises(FalconetError, match="bits 68 to 71 of memory weights"):
            check(netlist)
