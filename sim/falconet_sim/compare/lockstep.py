"""Lock-step comparison: the first instruction, tile and element in which two machines differ.

Golden model against instruction-set simulator: what each instruction wrote against the layer's
tensor. Instruction-set simulator against RTL: the words that each engine wrote on chip, one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Dst, Engine, FalconetError, Program
from falconet.runtime.detections import Options
from falconet.runtime.device import Int8
from falconet_sim.compare.differences import Difference, Extent, Stores
from falconet_sim.compare.tiles import Part, describe, parts
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.machine import Step
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice

__all__ = ["Difference", "compare_golden", "compare_rtl", "compare_writes"]


def compare_golden(
    program: Program, inputs: dict[str, Int8], options: Options | None = None
) -> Difference | None:
    """The first element that the instruction-set simulator writes unlike the golden model.

    Tensors that only the program has are passed over; so are transfers, which show in what is
    computed from their data; in the end the outputs and the boxes are compared.
    """
    golden = GoldenDevice(program, keep=True)
    want = golden.run(inputs, options)
    known, stores, found = parts(program), Stores(program), list[Difference]()

    def observe(step: Step) -> None:
        stores.observe(step)
        part = known.get(step.index)
        if part is None or found:
            return
        try:
            tensor = golden.tensor(part.tensor["name"])
        except FalconetError:
            return
        expected, used = part.expected(tensor, program.arch.lanes)
        data = step.writes[0].data
        assert data is not None
        different = (data != expected) & used
        if different.any():
            word, lane = (int(v) for v in np.argwhere(different)[0])
            found.append(Difference(
                "instruction-set simulator against golden model", step.index,
                str(step.instruction), str(part), part.element(word, lane, program.arch.lanes),
                str(expected[word, lane]), str(data[word, lane]),
                Extent.of_words(different, int(used.sum())),
            ))

    got = IssDevice(program, observer=observe).run(inputs, options)
    if found:
        return found[0]
    return stores.difference("instruction-set simulator against golden model", want, got)


def compare_rtl(
    program: Program, inputs: dict[str, Int8], device: RtlDevice | None = None,
    options: Options | None = None,
) -> Difference | None:
    """The first word that the RTL writes unlike the instruction-set simulator.

    ``device`` needs ``log_writes=True``; None makes one. If the machine stops or hangs, the first
    difference up to there is given; without one, its FalconetError is raised. What the detect
    engine writes shows only in the boxes that are stored.
    """
    device = device or RtlDevice(program.arch, log_writes=True)
    steps, stores = list[Step](), Stores(program)

    def observe(step: Step) -> None:
        steps.append(step)
        stores.observe(step)

    want = IssDevice(program, observer=observe).run(inputs, options)
    device.load(program)
    try:
        got = device.run(inputs, options)
    except FalconetError:
        difference = compare_writes(program, steps, device.writes)
        if difference is None or difference.found == _NOTHING:
            raise
        return difference
    return compare_writes(program, steps, device.writes) or stores.difference(
        "RTL against instruction-set simulator", want, got
    )


_NOTHING = "nothing"


@dataclass
class _Words:
    """Words written by one engine: instruction index, memory, address, data, number in it."""

    index: NDArray[np.int64]
    dst: NDArray[np.int64]
    addr: NDArray[np.int64]
    data: Int8
    number: NDArray[np.int64]

    @classmethod
    def of(cls, steps: list[Step], engine: Engine, lanes: int) -> _Words:
        own = [
            (s.index, int(a.memory), a.address, a.data) for s in steps
            if s.instruction.engine is engine for a in s.writes
            if isinstance(a.memory, Dst) and a.data is not None
        ]
        sizes = [len(a) for _, _, a, _ in own]
        none: list[NDArray[Any]] = [np.zeros(0, np.int64)]
        return cls(
            np.repeat([i for i, *_ in own], sizes).astype(np.int64),
            np.repeat([m for _, m, *_ in own], sizes).astype(np.int64),
            np.concatenate([a for _, _, a, _ in own] or none),
            np.concatenate([d for *_, d in own] or [np.zeros((0, lanes), np.int8)]),
            np.concatenate([np.arange(n) for n in sizes] or none),
        )


def compare_writes(program: Program, steps: list[Step], writes: NDArray[Any]
                   ) -> Difference | None:
    """On-chip writes of the RTL (dtype ``rtl.write_dtype``) against those of ``steps``.

    Engines write each in its own order; the difference of the earliest instruction is given.
    """
    arch, known = program.arch, parts(program)
    depth = np.full(8, 1 << 16)
    depth[Dst.WEIGHTS] = arch.weight_words * arch.rows
    depth[Dst.VECTOR] = arch.vector_words * arch.taps
    found = list[Difference]()
    for engine in (Engine.LOAD, Engine.MAC, Engine.VEC):
        want = _Words.of(steps, engine, arch.lanes)
        got = writes[writes["writer"] == engine]
        n = min(len(got), len(want.index))
        address = got["addr"].astype(np.int64) % depth[got["dst"] & 7]
        elsewhere = (got["dst"][:n] != want.dst[:n]) | (address[:n] != want.addr[:n])
        differ = (got["data"][:n] != want.data[:n]) | elsewhere[:, None]
        if differ.any():
            at = int(differ.any(1).argmax())
            found.append(_difference(program, steps, known, want, at, Dst(got["dst"][at]),
                                     int(address[at]), got["data"][at], _extent(want, at, differ)))
        elif len(got) < len(want.index):
            found.append(_missing(program, steps, known, want, n))
        elif len(got) > len(want.index):
            raise FalconetError(
                f"rtl: {engine.name} wrote {len(got)} words on chip, the program has it write "
                f"{len(want.index)}; this is a fault of the machine"
            )
    return min(found, key=lambda d: d.index, default=None)


def _difference(
    program: Program, steps: list[Step], known: dict[int, Part], want: _Words, at: int, dst: Dst,
    address: int, data: Int8, extent: Extent,
) -> Difference:
    index, memory = int(want.index[at]), Dst(int(want.dst[at]))
    lanes = np.flatnonzero(data != want.data[at])
    lane = int(lanes[0]) if lanes.size else 0
    tile, element = describe(program, known, index, int(want.number[at]), lane)
    expected, found = str(want.data[at][lane]), str(data[lane])
    if (memory, int(want.addr[at])) != (dst, address):
        expected = f"{expected} at {memory.name} {int(want.addr[at])}"
        found = f"{found} at {dst.name} {address}"
    return Difference("RTL against instruction-set simulator", index,
                      str(steps[index].instruction), tile, element, expected, found, extent)


def _extent(want: _Words, at: int, wrong: NDArray[np.bool_]) -> Extent:
    """Of the instruction that should have written word ``at``; words that never came are wrong."""
    own = want.index == want.index[at]
    missing = np.ones((int(own[len(wrong):].sum()), wrong.shape[1]), np.bool_)
    all_of_it = np.concatenate([wrong[own[:len(wrong)]], missing])
    return Extent.of_words(all_of_it, all_of_it.size)


def _missing(program: Program, steps: list[Step], known: dict[int, Part], want: _Words, at: int
             ) -> Difference:
    index = int(want.index[at])
    tile, element = describe(program, known, index, int(want.number[at]), 0)
    extent = _extent(want, at, np.zeros((at, want.data.shape[1]), np.bool_))
    return Difference("RTL against instruction-set simulator", index,
                      str(steps[index].instruction), tile, element, str(want.data[at][0]), _NOTHING,
                      extent)
