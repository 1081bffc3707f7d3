"""Delays of the cells of a Xilinx 7-series netlist (yosys synth_xilinx), slow corner, grade -1.

Every number is from xc7-speed-1.json (see ``about`` there); this module knows which of them belong
to which pins. A pin is ``D``, for all its bits, or ``CO[3]``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from falconet.isa import FalconetError

__all__ = ["CARRY", "LUTS", "MUXES", "Timing", "delays", "parameter", "timing_of"]

LUTS = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV")
MUXES = ("MUXF7", "MUXF8")
CARRY = "CARRY4"


@dataclass
class Timing:
    """What a cell does to time, in ns: from a clock pin to an output, from an input to an output,
    and how long before the edge of a clock pin an input must stand. ``inside``: the longest way
    from register to register in the cell. ``outside``: pins that belong to no clock here."""

    launch: list[tuple[str, str, float]] = field(default_factory=list)
    arcs: list[tuple[str, str, float]] = field(default_factory=list)
    capture: list[tuple[str, str, float]] = field(default_factory=list)
    inside: float = 0.0
    outside: tuple[str, ...] = ()

    @property
    def clocks(self) -> set[str]:
        return {c for c, _, _ in self.launch} | {c for _, c, _ in self.capture}


@cache
def delays() -> dict[str, Any]:
    """The file of delays."""
    path = Path(__file__).with_name("xc7-speed-1.json")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def parameter(value: str) -> str | int:
    """Of yosys' JSON: numbers are written in binary; a trailing space marks a text of digits."""
    return int(value, 2) if value and set(value) <= {"0", "1"} else value.removesuffix(" ")


def _lut(kind: str, _: Mapping[str, Any]) -> Timing:
    inputs = ["I"] if kind == "INV" else [f"I{i}" for i in range(int(kind[3:]))]
    return Timing(arcs=[(pin, "O", delays()["LUT"]["any_input_to_O6"]) for pin in inputs])


def _mux(kind: str, _: Mapping[str, Any]) -> Timing:
    return Timing(arcs=[(pin, "O", ns) for pin, ns in delays()[kind]["arc"].items()])


def _carry(_: str, __: Mapping[str, Any]) -> Timing:
    def pin(name: str) -> str:
        return name if name[-1] not in "0123" else f"{name[:-1]}[{name[-1]}]"

    return Timing(arcs=[(pin(start), pin(end), ns) for arc, ns in delays()[CARRY]["arc"].items()
                        for start, end in [arc.split(">")]])


def _flip_flop(kind: str, _: Mapping[str, Any]) -> Timing:
    """Of a SLICEL. The set-up of R and S is that of Vivado's reports, which the measured data has
    not; CLR and PRE have the recovery."""
    of = delays()["FF"]
    setup = of["SLICEL"]["setup"]
    reset = {"FDRE": "R", "FDSE": "S", "FDCE": "CLR", "FDPE": "PRE"}[kind]
    ns = setup["SR"] if kind in ("FDCE", "FDPE") else of["SR_in_Vivado_reports"]["SLICEL"]
    return Timing(
        launch=[("C", "Q", of["SLICEL"]["clk_to_q"])],
        capture=[("D", "C", setup["D"]), ("CE", "C", setup["CE"]), (reset, "C", ns)],
    )


def _shift_register(kind: str, _: Mapping[str, Any]) -> Timing:
    of = delays()["SRL"]
    address = ["A"] if kind == "SRLC32E" else ["A0", "A1", "A2", "A3"]
    return Timing(
        launch=[("CLK", "Q", of["clk_to_Q"]), ("CLK", "Q31", of["clk_to_Q31"])],
        arcs=[(a, "Q", of["A_to_Q"]) for a in address],
        capture=[("D", "CLK", of["setup"]["D"]), ("CE", "CLK", of["setup"]["CE"])],
    )


def _lut_ram(kind: str, _: Mapping[str, Any]) -> Timing:
    """RAM32M and RAM64M have three or four ports with an address each; the last one's is that of
    writing. The others have A, which writes, and DPRA."""
    of = delays()["LUTRAM"]["RAM32M" if kind.startswith("RAM32") else "RAM64M"]
    read, setup = of["read_address_to_O"], of["setup"]
    timing = Timing(capture=[("WE", "WCLK", setup["WE"])])
    if kind.endswith("M"):
        ports = [(f"ADDR{p}", f"DO{p}", f"DI{p}") for p in "ABCD"]
        write = ["ADDRD"]
    else:
        bits = 5 if kind.startswith("RAM32") else 6
        write = [f"A{i}" for i in range(bits)]
        ports = [(a, "SPO", "D") for a in write] + [(f"DPR{a}", "DPO", "") for a in write]
    for address, out, data in ports:
        timing.arcs.append((address, out, read))
        if ("WCLK", out, of["clk_to_O"]) not in timing.launch:
            timing.launch.append(("WCLK", out, of["clk_to_O"]))
            if data:
                timing.capture.append((data, "WCLK", setup["D"]))
    timing.capture += [(address, "WCLK", setup["WADR"]) for address in write]
    return timing


def _block_ram(_: str, parameters: Mapping[str, Any]) -> Timing:
    """Simple dual port (SDP) reads with the clock and enables of A and writes with those of B."""
    of, simple = delays()["BRAM"], parameters.get("RAM_MODE", "TDP") == "SDP"
    setup, timing = of["setup"], Timing()
    pins = {
        "A": ("CLKARDCLK", "ARD", "ENARDEN", "WEA", "RSTRAMARSTRAM", "RSTREGARSTREG",
              "REGCEAREGCE"),
        "B": ("CLKBWRCLK", "BWR", "ENBWREN", "WEBWE", "RSTRAMB", "RSTREGB", "REGCEB"),
    }
    clocks = {port: names[0] for port, names in pins.items()}
    for port, (clock, letters, enable, write, reset, reset_register, register) in pins.items():
        timing.capture += [
            (f"ADDR{letters}ADDR", clock, setup["ADDR"]), (enable, clock, setup["EN"]),
            (write, clock, setup["WE"]), (reset, clock, setup["RSTRAM"]),
            (reset_register, clock, setup["RSTREG"]), (register, clock, setup["REGCE"]),
        ]
        writes, reads = ("B", "A") if simple else (port, port)
        mode = parameters.get(f"WRITE_MODE_{writes}", "WRITE_FIRST")
        out = of["clock_to_out"]["output_register" if parameters.get(f"DO{reads}_REG", 0)
                                 else "no_output_register"]
        for data in (f"{port}DI", f"P{port}DIP"):
            timing.capture.append((f"DI{data}", clocks[writes], setup[f"DI_{mode}"]))
        for data in (f"DO{port}DO", f"DOP{port}DOP"):
            timing.launch.append((clocks[reads], data, out))
    return timing


def _dsp(_: str, parameters: Mapping[str, Any]) -> Timing:
    of = delays()["DSP48E1"]
    has = {**of["default"], **parameters}
    arcs: dict[str, float] = {}
    launch: dict[str, float] = {}
    capture: dict[str, float] = {}
    for rule in of["rules"]:
        if all(has[name] == value for name, value in rule["if"].items()):
            for found, kind in ((arcs, "arc"), (launch, "clk_to"), (capture, "setup")):
                for pin, ns in rule.get(kind, {}).items():
                    found[pin] = max(ns, found.get(pin, ns))
    return Timing(
        launch=[("CLK", pin, ns) for pin, ns in launch.items()],
        arcs=[(*pins.split(">"), ns) for pins, ns in arcs.items()],  # type: ignore[misc]
        capture=[(pin, "CLK", ns) for pin, ns in capture.items()],
        inside=max((of["inside"][way] for way in _inside_dsp(has)), default=0.0),
    )


def _inside_dsp(has: Mapping[str, Any]) -> list[str]:
    """Ways between the registers of a DSP. B's without a multiplier's register is not in the data;
    that of A, which is longer wherever both are, stands for it."""
    registers = [name for name in ("AREG", "BREG") if has[name]]
    ways = [f"{name}>PREG" for name in ("CREG", "OPMODEREG", "PREG") if has[name] and has["PREG"]]
    if has["USE_MULT"] == "NONE":
        return ways
    if not has["MREG"]:
        return ways + (["AREG>PREG (no MREG)"] if registers and has["PREG"] else [])
    ways += [f"{name}>MREG" for name in registers]
    if has["USE_DPORT"] == "TRUE":
        direct = has["AREG"] or has["DREG"]
        ways += ["ADREG>MREG"] if has["ADREG"] else (
            ["AREG>MREG (pre-adder, no ADREG)"] if direct else [])
    return ways + (["MREG>PREG"] if has["PREG"] else [])


def _buffer(kind: str, _: Mapping[str, Any]) -> Timing:
    return Timing(arcs=[("I", "O", delays()[kind]["I>O"])])


def _processor(_: str, __: Mapping[str, Any]) -> Timing:
    timing = Timing(outside=("FCLKCLK", "FCLKRESETN", "IRQF2P"))
    for clock, of in delays()["PS7"]["ports"].items():
        timing.launch += [(clock, pin, ns) for pin, ns in of["clk_to"].items()]
        timing.capture += [(pin, clock, ns) for pin, ns in of["setup"].items()]
    return timing


_KINDS: dict[str, Callable[[str, Mapping[str, Any]], Timing]] = {
    **dict.fromkeys(LUTS, _lut), **dict.fromkeys(MUXES, _mux), CARRY: _carry,
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), _flip_flop),
    **dict.fromkeys(("SRL16E", "SRLC32E"), _shift_register),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM32X1D", "RAM64X1D"), _lut_ram),
    **dict.fromkeys(("RAMB18E1", "RAMB36E1"), _block_ram), "DSP48E1": _dsp,
    **dict.fromkeys(("BUFG", "BUFH"), _buffer), "PS7": _processor,
}


def timing_of(name: str, kind: str, parameters: Mapping[str, str]) -> Timing:
    """Of cell ``name``; FalconetError if nothing is known of its kind."""
    if kind not in _KINDS:
        raise FalconetError(f"cell {name}: no delays are known of {kind}; add them to "
                            "falconet_hw/build/timing/cells.py")
    inverted = [p for p, value in parameters.items() if p.startswith("IS_") and "1" in value]
    if inverted:
        raise FalconetError(f"cell {name}: {kind} with {inverted[0]} is not timed; use the rising "
                            "edge and plain pins")
    return _cached(kind, tuple(sorted((p, value) for p, value in parameters.items()
                                      if not p.startswith("INIT"))))


@cache
def _cached(kind: str, parameters: tuple[tuple[str, str], ...]) -> Timing:
    return _KINDS[kind](kind, {name: parameter(value) for name, value in parameters})
