"""Timing of netlists of a few cells; every delay is added up here from the file of delays."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from falconet.isa import FalconetError
from falconet_hw.build import synth, timing
from falconet_hw.build.timing import __main__ as command
from falconet_hw.build.timing.analyse import analyse
from falconet_hw.build.verilog import find_yosys
from falconet_hw.stream.credits import Credits

D: dict[str, Any] = json.loads(
    Path(timing.__file__).with_name("xc7-speed-1.json").read_text(encoding="utf-8"))
NET, SINK = 0.6, 0.0035
Q = D["FF"]["SLICEL"]["clk_to_q"]
SETUP = D["FF"]["SLICEL"]["setup"]
LUT = D["LUT"]["any_input_to_O6"]
CARRY, DSP, BRAM = D["CARRY4"], D["DSP48E1"]["summary"], D["BRAM"]
SRL, RAM = D["SRL"], D["LUTRAM"]

# A flip-flop from a to b; its other pins are quiet.
FF = "FDRE {name}_ (.C({clk}), .CE(1'b1), .R(1'b0), .D({a}), .Q({b}));"


def ff(name: str, a: str, b: str, clk: str = "clk") -> str:
    return FF.format(name=name, a=a, b=b, clk=clk)


# Verilog in a module with ports clk, other, i, o and wires a to e, v[63:0]; its longest path.
CASES: dict[str, tuple[str, float]] = {
    # a has two sinks
    "luts": (
        ff("f", "i", "a") + "LUT2 l_ (.I0(a), .I1(1'b1), .O(b)); LUT3 m_ (.I0(a), .I1(b), .O(c));"
        + ff("g", "c", "o"),
        Q + (NET + SINK) + LUT + NET + LUT + NET + SETUP["D"]),
    "enable": (
        ff("f", "i", "a") + "FDRE g_ (.C(clk), .CE(a), .R(1'b0), .D(1'b1), .Q(o));",
        Q + NET + SETUP["CE"]),
    "reset": (
        ff("f", "i", "a") + "FDSE g_ (.C(clk), .CE(1'b1), .S(a), .D(1'b1), .Q(o));",
        Q + NET + D["FF"]["SR_in_Vivado_reports"]["SLICEL"]),
    "multiplexers": (
        ff("f", "i", "a") + "LUT1 l_ (.I0(a), .O(b));"
        "MUXF7 m_ (.I0(b), .I1(1'b0), .S(1'b0), .O(c));"
        "MUXF8 n_ (.I0(c), .I1(1'b0), .S(1'b0), .O(d)); LUT1 k_ (.I0(d), .O(e));"
        + ff("g", "e", "o"),
        Q + NET + LUT + D["MUXF7"]["lut_to_I_wire"] + D["MUXF7"]["arc"]["I0"]
        + D["MUXF8"]["arc"]["I0"] + D["MUXF8"]["exit_to_xMUX_pin"] + NET + LUT
        + NET + SETUP["D"]),
    # into a chain by the LUT of its slice, along it without nets
    "carry": (
        ff("f", "i", "a") + "LUT1 l_ (.I0(a), .O(b));"
        "CARRY4 x_ (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({3'b0, b}), .CO(v[3:0]));"
        "CARRY4 y_ (.CI(v[3]), .CYINIT(1'b0), .DI(4'b0), .S(4'b0), .CO(v[7:4]));"
        "CARRY4 z_ (.CI(v[7]), .CYINIT(1'b0), .DI(4'b0), .S(4'b0), .O(v[11:8]));"
        + ff("g", "v[9]", "o"),
        Q + NET + LUT + CARRY["lut_to_S_wire"] + CARRY["arc"]["S0>CO3"] + CARRY["arc"]["CI>CO3"]
        + CARRY["arc"]["CI>O1"] + CARRY["exit_to_xMUX_pin"]["O1"] + NET + SETUP["D"]),
    # by a net: data, a carry that is none, a signal that passes a LUT; and out by one
    "carry_from_a_net": (
        ff("f", "i", "a") + "CARRY4 x_ (.CI(a), .CYINIT(1'b0), .DI(4'b0), .S(4'b0), .O(v[3:0]));"
        "LUT1 l_ (.I0(v[3]), .O(b));" + ff("g", "b", "o"),
        Q + NET + CARRY["arc"]["CYINIT>O3"] + CARRY["exit_to_xMUX_pin"]["O3"] + NET + LUT
        + NET + SETUP["D"]),
    "select_from_a_net": (
        ff("f", "i", "a")
        + "CARRY4 x_ (.CI(1'b0), .CYINIT(1'b0), .DI(4'b0), .S({2'b0, a, 1'b0}), .CO(v[3:0]));"
        + ff("g", "v[3]", "o"),
        Q + NET + LUT + CARRY["lut_to_S_wire"] + CARRY["arc"]["S1>CO3"]
        + CARRY["exit_to_xMUX_pin"]["CO3"] + NET + SETUP["D"]),
    "data_of_a_carry": (
        ff("f", "i", "a") + "LUT1 l_ (.I0(a), .O(b));"
        "CARRY4 x_ (.CI(1'b0), .CYINIT(1'b0), .DI({2'b0, b, 1'b0}), .S(4'b0), .O(v[3:0]));"
        + ff("g", "v[2]", "o"),
        Q + NET + LUT + NET + CARRY["arc"]["DI1>O2"]
        + CARRY["exit_to_xMUX_pin"]["O2"] + NET + SETUP["D"]),
    "shift_register": (
        "SRL16E s_ (.CLK(clk), .CE(1'b1), .A0(1'b1), .A1(1'b0), .A2(1'b0), .A3(1'b0), .D(i), "
        ".Q(a));"
        "SRLC32E t_ (.CLK(clk), .CE(1'b1), .A(5'b1), .D(a), .Q(o));",
        SRL["clk_to_Q"] + NET + SRL["setup"]["D"]),
    "address_of_a_shift_register": (
        ff("f", "i", "a") + "SRLC32E t_ (.CLK(clk), .CE(1'b1), .A({4'b0, a}), .D(1'b0), .Q(b));"
        "SRL16E s_ (.CLK(clk), .CE(b), .A0(1'b1), .A1(1'b0), .A2(1'b0), .A3(1'b0), .D(i), .Q(o));",
        max(Q + NET + SRL["A_to_Q"], SRL["clk_to_Q"]) + NET + SRL["setup"]["CE"]),
    "read_of_ram32m": (
        "RAM32M r_ (.WCLK(clk), .WE(1'b1), .ADDRA(5'b0), .ADDRD({4'b0, i}), .DIA({1'b0, i}), "
        ".DOA(v[1:0]));" + ff("g", "v[1]", "o"),
        RAM["RAM32M"]["clk_to_O"] + NET + SETUP["D"]),
    "address_of_ram64m": (
        ff("f", "i", "a") + "LUT1 l_ (.I0(a), .O(b)); LUT1 m_ (.I0(b), .O(c));"
        "RAM64M r_ (.WCLK(clk), .WE(1'b0), .ADDRA({5'b0, c}), .ADDRD(6'b0), .DIA(1'b0), .DOA(d));"
        + ff("g", "d", "o"),
        Q + 2 * (NET + LUT) + NET + RAM["RAM64M"]["read_address_to_O"] + NET + SETUP["D"]),
    "write_to_ram64x1d": (
        ff("f", "i", "a") + "RAM64X1D r_ (.WCLK(clk), .WE(a), .A0(1'b0), .A1(1'b0), .A2(1'b0), "
        ".A3(1'b0), .A4(1'b0), .A5(1'b0), .DPRA0(1'b0), .DPRA1(1'b0), .DPRA2(1'b0), .DPRA3(1'b0), "
        ".DPRA4(1'b0), .DPRA5(1'b0), .D(1'b0));",
        Q + NET + RAM["RAM64M"]["setup"]["WE"]),
    **{
        f"block_ram_register_{has}": (
            f"RAMB18E1 #(.DOA_REG({has})) r_ (.CLKARDCLK(clk), .ENARDEN(1'b1), .DOADO(v[15:0]));"
            + ff("g", "v[5]", "o"),
            BRAM["clock_to_out"]["output_register" if has else "no_output_register"] + NET
            + SETUP["D"])
        for has in (0, 1)
    },
    # both halves of a simple dual port are read by port A
    "wide_block_ram": (
        'RAMB36E1 #(.RAM_MODE("SDP"), .DOA_REG(1), .DOB_REG(0)) r_ (.CLKARDCLK(clk), '
        ".CLKBWRCLK(other), .DOBDO(v[31:0]));" + ff("g", "v[31]", "o"),
        BRAM["clock_to_out"]["output_register"] + NET + SETUP["D"]),
    "write_to_a_block_ram": (
        ff("f", "i", "a")
        + 'RAMB36E1 #(.WRITE_MODE_A("READ_FIRST"), .WRITE_MODE_B("NO_CHANGE")) r_ '
        "(.CLKARDCLK(clk), .CLKBWRCLK(clk), .DIADI({31'b0, a}), .DIBDI({31'b0, a}));",
        Q + (NET + SINK) + BRAM["setup"]["DI_NO_CHANGE"]),
    "registered_dsp": (
        ff("f", "i", "a") + "DSP48E1 d_ (.CLK(clk), .A({29'b0, a}), .P(v[47:0]));"
        "LUT1 l_ (.I0(v[9]), .O(b)); LUT1 m_ (.I0(b), .O(c)); LUT1 n_ (.I0(c), .O(d));"
        + ff("g", "d", "o"),
        DSP["PREG>P"] + 3 * (NET + LUT) + NET + SETUP["D"]),
    "dsp_without_input_registers": (
        ff("f", "i", "a") + "DSP48E1 #(.AREG(0), .ACASCREG(0)) d_ (.CLK(clk), .A({29'b0, a}));",
        Q + NET + DSP["A>MREG (no AREG, no pre-adder)"]),
    "dsp_without_registers": (
        ff("f", "i", "a") + "DSP48E1 #(.AREG(0), .ACASCREG(0), .MREG(0)) d_ (.CLK(clk), "
        ".A({29'b0, a}));",
        Q + NET + DSP["A>PREG (no AREG, MREG)"]),
    "cascade_of_dsps": (
        "DSP48E1 #(.PREG(0), .MREG(0), .INMODEREG(0)) x_ (.CLK(clk), .PCOUT(v[47:0]));"
        "DSP48E1 y_ (.CLK(clk), .PCIN(v[47:0]));",
        next(rule["clk_to"]["PCOUT"] for rule in D["DSP48E1"]["rules"] if rule["if"] == {
            "AREG": 1, "MREG": 0, "PREG": 0, "USE_DPORT": "FALSE", "USE_MULT": "MULTIPLY"})
        + DSP["PCIN>PREG"]),
    "inside_a_dsp": ("DSP48E1 x_ (.CLK(clk), .P(v[47:0]));", D["DSP48E1"]["inside"]["MREG>PREG"]),
    "inside_a_dsp_without_its_multiplier_register": (
        "DSP48E1 #(.MREG(0)) x_ (.CLK(clk), .P(v[47:0]));",
        D["DSP48E1"]["inside"]["AREG>PREG (no MREG)"]),
}


def verilog() -> str:
    """All of them, a module each."""
    bodies = {name: body for name, (body, _) in [*CASES.items(), *REFUSED.items()]} | OTHERS
    ports = "(input clk, input other, input i, output o)"
    return "".join(
        f"module {name}{ports}; wire a, b, c, d, e; wire [63:0] v;\n{body}\n"
        f"{'' if '(o)' in body else 'assign o = 0;'} endmodule\n" for name, body in bodies.items())


REFUSED = {
    "latch": ("LDCE odd (.G(clk), .GE(1'b1), .CLR(1'b0), .D(i), .Q(o));",
              "cell odd: no delays are known of LDCE"),
    "pin": ("RAMB36E1 odd (.CLKARDCLK(clk), .CASCADEINA(i));",
            "cell odd: no delay is known from pin CASCADEINA of RAMB36E1"),
    "out": ("RAMB36E1 odd (.CLKARDCLK(clk), .CASCADEOUTA(o));",
            "cell odd: no delay is known to pin CASCADEOUTA of RAMB36E1"),
    "edge": ("FDRE #(.IS_C_INVERTED(1'b1)) odd (.C(clk), .CE(1'b1), .R(1'b0), .D(i), .Q(o));",
             "cell odd: FDRE with IS_C_INVERTED is not timed"),
    "loop": ("LUT2 x_ (.I0(i), .I1(b), .O(a)); LUT1 y_ (.I0(a), .O(b));" + ff("g", "b", "o"),
             "combinational loop through (a <- b <- a|b <- a <- b); put a register"),
    "loose": (ff("f", "a", "o"), "net a has no driver"),
    "two": (ff("f", "i", "o") + ff("g", "i", "o"), "has two drivers"),
}
OTHERS = {
    "clocks": ff("f", "i", "a") + "LUT1 l_ (.I0(a), .O(b));" + ff("g", "b", "c", "e")
              + "LUT1 m_ (.I0(c), .O(d)); LUT1 n_ (.I0(d), .O(v[0]));" + ff("h", "v[0]", "o", "e")
              + "BUFG buffer (.I(other), .O(e));" + ff("k", "a", "v[1]"),
    "groups": ff("f", "i", "a") + ff("g", "a", "b") + "LUT2 l_ (.I0(a), .I1(b), .O(v[0]));"
              "LUT1 m_ (.I0(v[0]), .O(c)); LUT1 n_ (.I0(c), .O(d));" + ff("h", "d", "o")
              + ff("k", "c", "e") + "LUT1 p_ (.I0(e), .O(v[1]));" + ff("q", "v[1]", "v[2]"),
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of yosys, which only reads: the cells stay as they are written above."""
    folder = tmp_path_factory.mktemp("timing")
    (folder / "t.v").write_text(verilog())
    script = ("read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v; read_verilog t.v; "
              "proc; write_json -selected t.json")
    subprocess.run([find_yosys(), "-q", "-p", script], cwd=folder, check=True)
    loaded: dict[str, Any] = json.loads((folder / "t.json").read_text())["modules"]
    return loaded


def of_clock(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(of for of in found["clocks"] if of["clock"] == name)


@pytest.mark.parametrize("name", CASES)
def test_path_is_the_sum_of_its_cells(name: str, modules: dict[str, Any]) -> None:
    clock = of_clock(analyse(modules[name], NET), "clk")
    assert 1000 / clock["mhz"]["0.60"] == pytest.approx(CASES[name][1], rel=1e-3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(name: str, modules: dict[str, Any]) -> None:
    with pytest.raises(FalconetError, match=REFUSED[name][1]):
        analyse(modules[name])


def test_clocks_are_apart(modules: dict[str, Any]) -> None:
    """Between clk and other, which comes through a buffer, there is one path; it is no limit."""
    found = analyse(modules["clocks"], NET)
    inner = Q + NET + LUT + NET + LUT + NET + SETUP["D"]
    assert 1000 / of_clock(found, "other")["mhz"]["0.60"] == pytest.approx(inner, rel=1e-3)
    alone = Q + (NET + SINK) + SETUP["D"]
    assert 1000 / of_clock(found, "clk")["mhz"]["0.60"] == pytest.approx(alone, rel=1e-3)
    assert of_clock(found, "clk")["ends"] == of_clock(found, "other")["ends"] == 1
    across = Q + (NET + SINK) + LUT + NET + SETUP["D"]
    assert {"from": "clk", "to": "other", "ends": 1, "ns": pytest.approx(across, abs=1e-3)} in (
        found["crossings"])
    assert {(of["from"], of["to"]) for of in found["crossings"]} == {
        ("clk", "other"), ("other", "ports"), ("ports", "clk")}


def test_more_for_a_net_and_a_shorter_period(modules: dict[str, Any]) -> None:
    body, expected = CASES["luts"]
    assert body
    for net, period in ((0.45, 2.0), (0.7, 1.0)):
        found = analyse(modules["luts"], net, period)
        (clock,) = found["clocks"]
        assert clock["mhz"] == {
            f"{n:.2f}": pytest.approx(1000 / (expected + 3 * (n - NET)), abs=0.1)
            for n in (0.45, 0.6, 0.7)}
        assert clock["late"] == (expected + 3 * (net - NET) > period)


def test_worst_paths_by_register(modules: dict[str, Any]) -> None:
    """a and b lead to o through three LUTs and to e through two; a's net has two sinks, and it
    leads to b. An end counts for the register that its longest path begins in."""
    groups = analyse(modules["groups"], NET, period=3.0)["groups"]
    assert [(of["register"], of["ends"], of["late"], of["levels"]) for of in groups] == [
        ("a", 3, 1, 3), ("e", 1, 0, 1)]
    assert [(to["register"], to["pin"], to["ends"], to["late"]) for to in groups[0]["to"]] == [
        ("o", "D", 1, 1), ("e", "D", 1, 0), ("b", "D", 1, 0)]
    assert [(step["net"], step["cell"], step["sinks"]) for step in groups[0]["path"]] == [
        ("a", "FDRE", 2), ("v", "LUT2", 1), ("c", "LUT1", 2), ("d", "LUT1", 1)]
    each = [Q, NET + SINK + LUT, NET + LUT, NET + SINK + LUT]
    assert [step["ns"] for step in groups[0]["path"]] == [
        pytest.approx(sum(each[:n]), abs=1e-3) for n in range(1, 5)]
    assert len(analyse(modules["groups"], NET, paths=1)["groups"]) == 1


def test_names_and_files_of_a_design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What yosys makes of a counter says where it is from; it is made again when that changed."""
    def of(depth: int) -> synth.Design:
        return synth.Design("counter", "a counter", "credits", "xc7",
                            "-noiopad -noclkbuf -nobram -nolutram -nosrl -nodsp", {},
                            lambda: Credits(depth=depth))

    found = analyse(synth.netlist(of(100), tmp_path), paths=100)
    named = [at for group in found["groups"] for at in (group, *group["to"])]
    assert {at["file"] for at in named} == {"stream/credits.py", "stream/in_flight.py"}
    assert {at["register"] for at in named} == {"count", "given", "room"}

    def refuse(script: Path, log: Path) -> None:
        raise FalconetError("ran")

    monkeypatch.setattr(synth, "_run_yosys", refuse)
    assert analyse(synth.netlist(of(100), tmp_path), paths=100) == found
    for _ in range(2):  # a run that failed has left nothing that the next one would take
        with pytest.raises(FalconetError, match="ran"):
            synth.netlist(of(99), tmp_path)


def test_command(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                 capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "netlist", lambda of: modules["groups"])
    command.main(["--preset", "tiny", "--net", "0.5", "--clock", "300", "--paths", "1"])
    report = json.loads((tmp_path / "build/timing/tiny.json").read_text())
    assert (report["title"], report["net"], report["period"]) == ("tiny on XC7Z020", 0.5, 3.333)
    assert sorted(report["clocks"][0]["mhz"]) == ["0.45", "0.50", "0.60", "0.70"]
    out = capsys.readouterr().out
    assert "an estimate from the netlist, not placed, not routed" in out
    assert "3 levels, from a: 3 ends, 0 late" in out and " from e " not in out
    with pytest.raises(FalconetError, match=r"AUP-ZU3.*: the delays are of 7-series chips"):
        command.main(["--board", "aup-zu3"])
    for wrong in (["--net", "-1"], ["--net", "nan"], ["--clock", "0"], ["--paths", "-1"]):
        with pytest.raises(SystemExit):
            command.main(wrong)
