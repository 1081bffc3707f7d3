"""Arrival times through a graph, level by level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from falconet.isa import FalconetError
from falconet_hw.build.timing.graph import Graph

__all__ = ["PER_SINK", "Arrival", "Levels", "arrive", "levelise", "net_delays"]

PER_SINK = 0.0035
"""Ns that each further sink adds to a net."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass
class Levels:
    """``order``: edges by the level of their target, then by target. ``bounds``: where each level
    begins in it; one more than there are levels."""

    order: Ints
    bounds: Ints


@dataclass
class Arrival:
    """Of the paths from one clock: when each net stands (-inf: none reaches it), the edge that it
    waited for (-1: it starts here) and the net where that path starts."""

    time: Floats
    edge: Ints
    origin: Ints


def levelise(graph: Graph) -> Levels:
    """FalconetError names the nets of a combinational loop."""
    waiting = np.bincount(graph.target, minlength=graph.n)
    level = np.zeros(graph.n, np.int64)
    by_source = np.argsort(graph.source, kind="stable")
    first = np.searchsorted(graph.source[by_source], np.arange(graph.n + 1))
    ready = np.flatnonzero(waiting == 0)
    n_levels = 0
    while ready.size:
        level[ready] = n_levels
        n_levels += 1
        counts = first[ready + 1] - first[ready]
        offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        reached = graph.target[by_source[np.repeat(first[ready], counts) + offset]]
        np.subtract.at(waiting, reached, 1)
        ready = np.unique(reached[waiting[reached] == 0])
    if waiting.any():
        raise FalconetError(f"combinational loop through {_loop(graph, waiting)}; put a register "
                            "into it")
    order = np.lexsort((graph.target, level[graph.target]))
    return Levels(order, np.searchsorted(level[graph.target[order]], np.arange(1, n_levels + 1)))


def _loop(graph: Graph, waiting: Ints) -> str:
    """Nets of one loop: from any that still waits, back along those that wait too."""
    inside = (waiting[graph.source] > 0) & (waiting[graph.target] > 0)
    before = dict(zip(graph.target[inside].tolist(), graph.source[inside].tolist()))
    at, seen = next(iter(before)), []
    while at not in seen:
        seen.append(at)
        at = before[at]
    return " <- ".join(graph.names[i] for i in [*seen[seen.index(at):], at])


def net_delays(graph: Graph, net: float) -> Floats:
    """Ns of each net where it is routed: ``net``, and PER_SINK for each sink but the first."""
    return net + PER_SINK * np.maximum(graph.sinks - 1, 0)


def arrive(graph: Graph, levels: Levels, clock: str, net: float) -> Arrival:
    """Paths that start at ``clock``, with ``net`` ns a routed net."""
    found = Arrival(np.full(graph.n, -np.inf), np.full(graph.n, -1, np.int64),
                    np.full(graph.n, -1, np.int64))
    for bit, ns, _ in graph.starts.get(clock, []):
        found.time[bit] = max(ns, found.time[bit])
        found.origin[bit] = bit
    delay = graph.delay + graph.far * net_delays(graph, net)[graph.source]
    for begin, end in zip(levels.bounds, levels.bounds[1:]):
        edges = levels.order[begin:end]
        times = found.time[graph.source[edges]] + delay[edges]
        targets = graph.target[edges]
        group = np.flatnonzero(np.r_[True, targets[1:] != targets[:-1]])
        own = targets[group]
        latest = np.maximum.reduceat(times, group)
        later = latest > found.time[own]
        wins = np.repeat(np.where(later, latest, np.nan), np.diff(np.r_[group, len(edges)]))
        chosen = edges[times == wins]
        found.time[own] = np.maximum(found.time[own], latest)
        found.edge[graph.target[chosen]] = chosen
        won = own[later]
        found.origin[won] = found.origin[graph.source[found.edge[won]]]
    return found
