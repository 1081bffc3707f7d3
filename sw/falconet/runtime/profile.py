"""Where the cycles of a run went: each one is attributed to one layer and one cause.

A cycle belongs to the layer whose instruction runs on the MAC array in it; if that is idle, to the
one on the vector engine, then on the detect engine; else to the transfer under way (LOAD, then
STORE); if nothing runs, to the layer of the instruction that starts next. So layers sum up to the
total, whatever overlaps. An instruction runs from its start to its retirement; where one begins
while the former of its engine drains, the older one has the cycle. A transfer that the program
gives to no layer counts for the layer that waits for it (LOAD) or that it waits for (STORE).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, Engine, FalconetError, Instruction, Load, LoadImage, Program, Store

__all__ = ["CAUSES", "LayerProfile", "Span", "layer_profiles", "peak_macs", "spans"]

CAUSES = ("mac", "vec", "detect", "ddr", "wait")
"""What a cycle was spent on, in order of priority."""

_PRIORITY = (Engine.MAC, Engine.VEC, Engine.DETECT, Engine.LOAD, Engine.STORE)
_CAUSE = {
    Engine.MAC: 0, Engine.VEC: 1, Engine.DETECT: 2, Engine.LOAD: 3, Engine.STORE: 3,
}
_COMPUTING = _PRIORITY[:3]
_WAIT = CAUSES.index("wait")


@dataclass(frozen=True)
class LayerProfile:
    """One layer's share of a run.

    ``cycles`` are those attributed to it; ``busy`` those in which its own engine worked for it,
    overlapped or not; ``bytes`` go to and from DDR for it, weights included. ``utilisation`` is
    its MACs over what its engine could have done while busy. ``bound`` is the cause of most of its
    cycles, or ``hidden`` if other layers covered it entirely.
    """

    name: str
    op: str
    engine: str
    macs: int
    cycles: int
    busy: int
    bytes: int
    utilisation: float
    bound: str


@dataclass(frozen=True)
class Span:
    """An instruction in time: it ran on ``engine`` in cycles ``[start, retire)``."""

    index: int
    layer: int
    engine: Engine
    start: int
    retire: int
    bytes: int


def peak_macs(arch: Arch, engine: str) -> int:
    """Products a cycle that an engine can do; 0 for those that move data."""
    return {"MAC": arch.macs_per_cycle, "VEC": arch.taps * arch.lanes}.get(engine, 0)


def ddr_bytes(ins: Instruction, arch: Arch) -> int:
    """Bytes that an instruction moves between DDR and the chip."""
    if isinstance(ins, LoadImage):
        return ins.n_rows * ins.row_bytes
    if isinstance(ins, (Load, Store)):
        return ins.n1 * ins.n2 * ins.run * arch.lanes
    return 0


def spans(program: Program, start: Sequence[int], retire: Sequence[int]) -> list[Span]:
    """The run as one span per instruction (END excepted), layers filled in.

    ``start[i]`` and ``retire[i]`` are cycles since the start of the run.
    """
    instructions = program.instructions()
    if not len(start) == len(retire) == len(instructions):
        raise FalconetError(
            f"trace: {len(start)} starts and {len(retire)} retirements for {len(instructions)} "
            "instructions; trace the program that is profiled"
        )
    layers = _layers([int(s[0]) for s in program.header["steps"]], instructions)
    return [
        Span(i, layers[i], ins.engine, int(start[i]), int(retire[i]), ddr_bytes(ins, program.arch))
        for i, ins in enumerate(instructions) if ins.engine is not None
    ]


def _layers(of_step: list[int], instructions: list[Instruction]) -> list[int]:
    """The layer of every instruction; transfers of none take that of whom they serve."""
    ordinal: list[int] = []
    of_engine: dict[Engine, list[int]] = {e: [] for e in Engine}
    for i, ins in enumerate(instructions):
        own = of_engine[ins.engine] if ins.engine is not None else []
        own.append(i)
        ordinal.append(len(own))
    computing = [i for e in _COMPUTING for i in of_engine[e] if of_step[i] >= 0]
    found = list(of_step)
    for i, ins in enumerate(instructions):
        if of_step[i] >= 0:
            continue
        served: list[int] = []
        if ins.engine is Engine.STORE:
            waits = [(e, int(getattr(ins, f"wait_{e.name.lower()}"))) for e in _COMPUTING]
            served = [of_engine[e][n - 1] for e, n in waits if 0 < n <= len(of_engine[e])]
            served = [j for j in sorted(served, reverse=True) if of_step[j] >= 0]
        elif ins.engine is Engine.LOAD:
            users = [j for j in computing if j > i and instructions[j].wait_load >= ordinal[i]]
            served = sorted(users, key=lambda j: (instructions[j].wait_load, j))
        served += [j for j in sorted(computing) if j > i] + sorted(computing, reverse=True)
        found[i] = of_step[served[0]] if served else -1
    return found


def attribute(run: list[Span], cycles: int) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Layer and index into CAUSES of every cycle of the run."""
    layer = np.full(cycles, -1, np.int32)
    cause = np.full(cycles, _WAIT, np.int8)
    at = 0
    for s in sorted(run, key=lambda s: s.start):
        layer[at : s.start] = s.layer
        at = s.start
    if run:
        layer[at:] = max(run, key=lambda s: s.retire).layer
    for engine in reversed(_PRIORITY):
        for s in reversed([s for s in run if s.engine == engine]):
            layer[s.start : s.retire] = s.layer
            cause[s.start : s.retire] = _CAUSE[engine]
    return layer, cause


def _covered(run: list[Span]) -> int:
    """Cycles in which at least one of the spans is under way."""
    total = end = 0
    for s in sorted(run, key=lambda s: s.start):
        total += max(0, s.retire - max(s.start, end))
        end = max(end, s.retire)
    return total


def layer_profiles(
    program: Program, start: Sequence[int], retire: Sequence[int], cycles: int
) -> list[LayerProfile]:
    """One profile per layer of ``header["layers"]``, in order; their cycles add up to ``cycles``.

    Layers that need no instruction (a concatenation, say) appear with zeros.
    """
    run = spans(program, start, retire)
    layer, cause = attribute(run, cycles)
    profiles = []
    for i, described in enumerate(program.header["layers"]):
        own = [s for s in run if s.layer == i]
        counts = np.bincount(cause[layer == i], minlength=len(CAUSES))
        engine, macs = str(described["engine"]), int(described["macs"])
        busy = _covered([s for s in own if s.engine.name == engine])
        peak = busy * peak_macs(program.arch, engine)
        bound = CAUSES[int(counts.argmax())] if counts.any() else "hidden" if own else "-"
        profiles.append(LayerProfile(
            str(described["name"]), str(described["op"]), engine, macs, int(counts.sum()), busy,
            sum(s.bytes for s in own), macs / peak if peak else 0.0, bound,
        ))
    return profiles
