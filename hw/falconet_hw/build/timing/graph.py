"""A flattened netlist as arrays: which net waits for which, and where paths start and end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from falconet.isa import FalconetError
from falconet_hw.build.timing.cells import CARRY, LUTS, MUXES, Timing, delays, timing_of

__all__ = ["PORTS", "Graph", "Pin", "build"]

PORTS = "ports"
"""The clock of what belongs to no clock of the module: inputs stand at its edge, outputs must."""

_CASCADES = {f"{p}OUT": f"{p}IN" for p in ("AC", "BC", "PC", "CARRYCASC", "MULTSIGN")}
_BUFFERS = ("BUFG", "BUFH")

Pin = tuple[str, str, int]
"""Cell, pin, bit; a port of the module has no cell."""


@dataclass
class Graph:
    """Nets are numbers below ``n``. An edge goes from net to net through a cell, an end is a pin
    with a set-up; ``far`` are those that a routed net leads to. ``inside``: clock, ns and name of
    cells with a way from register to register. Delays in ns, without nets."""

    n: int
    names: list[str]
    clocks: list[str]
    sinks: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    delay: npt.NDArray[np.float64]
    far: npt.NDArray[np.bool_]
    through: list[tuple[str, str]]
    starts: dict[str, list[tuple[int, float, Pin]]]
    end_net: npt.NDArray[np.int64]
    end_setup: npt.NDArray[np.float64]
    end_far: npt.NDArray[np.bool_]
    end_clock: npt.NDArray[np.int64]
    end_pin: list[Pin]
    start_pin: dict[int, Pin]
    inside: list[tuple[str, float, str]]


def _bits(cell: Mapping[str, Any], pin: str) -> list[tuple[int, int]]:
    """Nets of a pin with the bit that each is at, constants left out."""
    name, _, index = pin.partition("[")
    connected = cell["connections"].get(name, [])
    chosen = [int(index[:-1])] if index else range(len(connected))
    return [(connected[i], i) for i in chosen if i < len(connected)
            and isinstance(connected[i], int)]


class _Builder:
    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells = {name: cell for name, cell in module["cells"].items()
                      if cell["type"] != "$scopeinfo"}
        self.ports = module["ports"]
        self.timings = {name: timing_of(name, cell["type"], cell["parameters"])
                        for name, cell in self.cells.items()}
        self.driver: dict[int, Pin] = {}
        self.sinks: dict[int, int] = {}
        for name, port in self.ports.items():
            for i, bit in enumerate(port["bits"]):
                if isinstance(bit, int):
                    self._connect(port["direction"] == "input", bit, ("", name, i))
        for name, cell in self.cells.items():
            for pin in cell["connections"]:
                for bit, i in _bits(cell, pin):
                    self._connect(cell["port_directions"][pin] == "output", bit, (name, pin, i))
        given_last = sorted(module["netnames"].items(), key=lambda item: item[0][0] != "$")
        labels = ((bit, label) for label, net in given_last for bit in net["bits"]
                  if isinstance(bit, int))
        self.label: dict[int, str] = dict(labels)

    def _connect(self, drives: bool, bit: int, pin: Pin) -> None:
        if not drives:
            self.sinks[bit] = self.sinks.get(bit, 0) + 1
        elif bit in self.driver:
            raise FalconetError(f"net {bit} has two drivers, {self.driver[bit]} and {pin}; a "
                                "netlist with buses of three states is not timed")
        else:
            self.driver[bit] = pin

    def kind(self, bit: int) -> tuple[str, str, int]:
        """Type, pin and bit of the cell that drives a net; ("", ...) for a port."""
        cell, pin, i = self.driver.get(bit, (None, "", 0))
        if cell is None:
            raise FalconetError(f"net {self.label.get(bit, bit)} has no driver; the netlist is "
                                "not whole")
        return (self.cells[cell]["type"] if cell else ""), pin, i

    def clock(self, bit: int) -> str:
        """The net that a clock comes from, before buffers."""
        while self.kind(bit)[0] in _BUFFERS:
            bit = self.cells[self.driver[bit][0]]["connections"]["I"][0]
        cell, pin, _ = self.driver[bit]
        return self.label.get(bit, pin) if cell else pin

    def wire(self, bit: int, kind: str, pin: str) -> tuple[bool, float]:
        """Is the way from net ``bit`` into ``pin`` of a ``kind`` routed; ns of fixed wires, and of
        the LUT that a foreign signal must pass on its way to a carry or a multiplexer."""
        of, (source, out, i) = delays(), self.kind(bit)
        if _CASCADES.get(out) == pin and source == kind == "DSP48E1":
            return False, 0.0
        if kind == CARRY and pin == "CI" and (source, out, i) == (CARRY, "CO", 3):
            return False, 0.0
        if (kind == CARRY and pin.startswith("S")) or (kind == "MUXF7" and pin != "S"):
            wire = of[CARRY]["lut_to_S_wire"] if kind == CARRY else of["MUXF7"]["lut_to_I_wire"]
            if source in LUTS:
                return False, wire
            return True, self.leave(source, out, i) + of["LUT"]["any_input_to_O6"] + wire
        if kind == "MUXF8" and pin != "S" and source == "MUXF7":
            return False, 0.0
        return True, self.leave(source, out, i)

    @staticmethod
    def leave(source: str, out: str, i: int) -> float:
        """Ns from the output of a multiplexer or carry to the edge of the slice."""
        if source in MUXES:
            return float(delays()[source]["exit_to_xMUX_pin"])
        return float(delays()[CARRY]["exit_to_xMUX_pin"][f"{out}{i}"]) if source == CARRY else 0.0

    def arcs(self, name: str, timing: Timing) -> Iterable[tuple[str, str, float]]:
        """A CARRY4's CI that is not a carry enters as CYINIT."""
        cell = self.cells[name]
        foreign = cell["type"] == CARRY and any(
            self.kind(bit) != (CARRY, "CO", 3) for bit, _ in _bits(cell, "CI"))
        for start, end, ns in timing.arcs:
            if foreign and start == "CI":
                continue
            yield start, end, ns
            if foreign and start == "CYINIT":
                yield "CI", end, ns

    def outside(self) -> Iterable[tuple[bool, int, Pin]]:
        """Pins without a clock, ports of the module among them: does it drive, net, pin."""
        for name, port in self.ports.items():
            for i, bit in enumerate(port["bits"]):
                if isinstance(bit, int):
                    yield port["direction"] == "input", bit, ("", name, i)
        for name, timing in self.timings.items():
            cell = self.cells[name]
            for pin in timing.outside:
                for bit, i in _bits(cell, pin):
                    yield cell["port_directions"][pin] == "output", bit, (name, pin, i)

    def check(self, name: str, timing: Timing) -> None:
        """Every pin that something is connected to has a delay."""
        cell = self.cells[name]
        inputs = {pin.partition("[")[0] for pin, _, _ in timing.arcs + timing.capture}
        outputs = {pin.partition("[")[0] for _, pin, _ in timing.arcs + timing.launch}
        for pin in cell["connections"]:
            out = cell["port_directions"][pin] == "output"
            if pin in timing.outside or pin in (outputs if out else inputs | timing.clocks):
                continue
            if any(not out or bit in self.sinks for bit, _ in _bits(cell, pin)):
                raise FalconetError(
                    f"cell {name}: no delay is known {'to' if out else 'from'} pin {pin} of "
                    f"{cell['type']}; add it to falconet_hw/build/timing/cells.py")


def build(module: Mapping[str, Any]) -> Graph:
    """Of a module of yosys' JSON, flattened; FalconetError names what has no known delay."""
    b = _Builder(module)
    edges: list[tuple[int, int, float, bool]] = []
    through: list[tuple[str, str]] = []
    starts: dict[str, list[tuple[int, float, Pin]]] = {}
    ends: list[tuple[int, float, bool, str]] = []
    end_pin: list[Pin] = []
    inside: list[tuple[str, float, str]] = []
    for name, cell in b.cells.items():
        kind, timing = cell["type"], b.timings[name]
        b.check(name, timing)
        clock = {pin: b.clock(bit) for pin in timing.clocks for bit, _ in _bits(cell, pin)}
        for pin, out, ns in timing.launch:
            if pin in clock:
                starts.setdefault(clock[pin], []).extend(
                    (bit, ns, (name, out, i)) for bit, i in _bits(cell, out))
        for pin, at, setup in timing.capture:
            if at not in clock:
                continue
            for bit, i in _bits(cell, pin):
                far, extra = b.wire(bit, kind, pin)
                ends.append((bit, setup + extra, far, clock[at]))
                end_pin.append((name, pin, i))
        inside += [(at, timing.inside, name) for at in set(clock.values()) if timing.inside]
        for start, end, ns in b.arcs(name, timing):
            for bit, _ in _bits(cell, start):
                far, extra = b.wire(bit, kind, start)
                for target, _ in _bits(cell, end):
                    edges.append((bit, target, ns + extra, far))
                    through.append((name, start))
    for drives, bit, port in b.outside():
        if drives:
            starts.setdefault(PORTS, []).append((bit, 0.0, port))
        else:
            ends.append((bit, b.wire(bit, "", "")[1], True, PORTS))
            end_pin.append(port)
    return _arrays(b, edges, through, starts, ends, end_pin, inside)


def _arrays(b: _Builder, edges: list[tuple[int, int, float, bool]],
            through: list[tuple[str, str]],
            starts: dict[str, list[tuple[int, float, Pin]]],
            ends: list[tuple[int, float, bool, str]], end_pin: list[Pin],
            inside: list[tuple[str, float, str]]) -> Graph:
    n = max([*b.driver, *b.sinks], default=-1) + 1
    sinks = np.zeros(n, np.int64)
    sinks[list(b.sinks)] = list(b.sinks.values())
    clocks = [*sorted({*starts, *(end[3] for end in ends)} - {PORTS}), PORTS]

    def column(rows: list[Any], i: int, kind: Any) -> npt.NDArray[Any]:
        return np.array([row[i] for row in rows], kind)

    return Graph(
        n=n, names=[b.label.get(i, str(i)) for i in range(n)], clocks=clocks, sinks=sinks,
        source=column(edges, 0, np.int64), target=column(edges, 1, np.int64),
        delay=column(edges, 2, np.float64), far=column(edges, 3, np.bool_), through=through,
        starts=starts, end_net=column(ends, 0, np.int64), end_setup=column(ends, 1, np.float64),
        end_far=column(ends, 2, np.bool_),
        end_clock=np.array([clocks.index(end[3]) for end in ends], np.int64), end_pin=end_pin,
        start_pin={bit: pin for rows in starts.values() for bit, _, pin in rows}, inside=inside,
    )
