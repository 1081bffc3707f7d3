"""From a netlist to figures: what clock it could have, and which paths decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from falconet_hw.build.timing.graph import PORTS, Graph, Pin, build
from falconet_hw.build.timing.names import Names
from falconet_hw.build.timing.propagate import Arrival, Levels, arrive, levelise, net_delays

__all__ = ["NETS", "analyse"]

NETS = (0.45, 0.60, 0.70)
"""Ns a net that clocks are given for."""


def analyse(
    module: Mapping[str, Any], net: float = 0.60, period: float = 1000 / 150, paths: int = 12,
) -> dict[str, Any]:
    """Figures of a flattened module of yosys' JSON, as JSON; delays in ns.

    ``clocks``: ends of the paths within each, how many are later than ``period`` with ``net`` ns a
    net, and MHz by ns a net. ``crossings``: paths from one clock to another, ports among them.
    ``groups``: paths within a clock, of each register that they start in the worst, and the
    registers that they end in; at most ``paths`` of them.
    """
    graph = build(module)
    levels = levelise(graph)
    names = Names(module)
    clocks, crossings, groups = [], [], []
    for clock in graph.clocks:
        arrival = arrive(graph, levels, clock, net)
        late = _delays(graph, arrival, net)
        for other, to in enumerate(graph.clocks):
            ends = np.flatnonzero((graph.end_clock == other) & np.isfinite(late))
            if to == clock != PORTS:
                mhz = {f"{n:.2f}": round(_mhz(graph, levels, clock, n), 1)
                       for n in sorted({*NETS, net})}
                clocks.append({"clock": clock, "ends": len(ends), "mhz": mhz,
                               "late": int((late[ends] > period).sum())})
                worst = _groups(graph, names, arrival, late, ends, period)[:paths]
                groups += [_told(graph, names, arrival, group) for group in worst]
            elif ends.size:
                crossings.append({"from": clock, "to": to, "ends": len(ends),
                                  "ns": round(float(late[ends].max()), 3)})
    groups.sort(key=lambda group: -group["ns"])
    return {"net": net, "period": round(period, 3), "clocks": clocks, "crossings": crossings,
            "groups": groups[:paths]}


def _delays(graph: Graph, arrival: Arrival, net: float) -> npt.NDArray[np.float64]:
    """Of the longest path to each end; -inf where there is none."""
    last = graph.end_far * net_delays(graph, net)[graph.end_net]
    return arrival.time[graph.end_net] + last + graph.end_setup


def _mhz(graph: Graph, levels: Levels, clock: str, net: float) -> float:
    """Clock that the longest path within a domain allows; inf if there is none."""
    delays = _delays(graph, arrive(graph, levels, clock, net), net)
    own = delays[graph.end_clock == graph.clocks.index(clock)]
    inside = [ns for at, ns, _ in graph.inside if at == clock]
    longest = max([*inside, float(own.max(initial=0.0))])
    return 1000 / longest if longest else float("inf")


def _groups(graph: Graph, names: Names, arrival: Arrival, late: npt.NDArray[np.float64],
            ends: npt.NDArray[np.int64], period: float) -> list[dict[str, Any]]:
    """One for each register that paths start in, the worst first, pins and not yet told."""
    found: dict[str, dict[str, Any]] = {}
    registers: dict[str, str] = {}

    def register(pin: Pin) -> str:
        return registers.setdefault(pin[0] or pin[1], names.register(pin))

    for end in ends[np.argsort(-late[ends], kind="stable")].tolist():
        net, pin, ns = int(graph.end_net[end]), graph.end_pin[end], round(float(late[end]), 3)
        start = graph.start_pin[int(arrival.origin[net])]
        group = found.setdefault(register(start), {
            "register": register(start), "pin": start, "net": net, "ns": ns, "ends": 0, "late": 0,
            "to": {},
        })
        to = group["to"].setdefault(
            register(pin), {"register": register(pin), "pin": pin, "ns": ns, "ends": 0, "late": 0})
        for part in (group, to):
            part["ends"] += 1
            part["late"] += int(late[end] > period)
    return list(found.values())


def _told(graph: Graph, names: Names, arrival: Arrival, group: dict[str, Any]) -> dict[str, Any]:
    """A group with its files, where it leads to and its worst path."""
    def place(at: dict[str, Any]) -> dict[str, Any]:
        return at | {"pin": at["pin"][1], "file": names.file(at["pin"])}

    path = _path(graph, names, arrival, group.pop("net"))
    return place(group) | {
        "to": [place(to) for to in group["to"].values()],
        "levels": sum(step["level"] for step in path), "path": path,
    }


def _path(graph: Graph, names: Names, arrival: Arrival, net: int) -> list[dict[str, Any]]:
    """Nets of the path to ``net``, each with the cell that drives it, when it stands and its sinks.

    A level is a cell; those of one carry chain are one.
    """
    steps = []
    while True:
        edge = int(arrival.edge[net])
        cell, pin = graph.through[edge] if edge >= 0 else graph.start_pin[net][:2]
        chained = edge >= 0 and pin == "CI" and not graph.far[edge]
        steps.append({
            "net": names.net(net), "cell": names.kind(cell), "pin": pin,
            "ns": round(float(arrival.time[net]), 3), "sinks": int(graph.sinks[net]),
            "level": int(edge >= 0 and not chained),
        })
        if edge < 0:
            return steps[::-1]
        net = int(graph.source[edge])
