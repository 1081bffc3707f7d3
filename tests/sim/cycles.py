"""``python tests/sim/cycles.py``: record how many cycles programs take on the RTL of ``tiny``.

Cycles are a claim like values are: a change that costs some, or wins some, is seen. Whoever means
it records them again; the difference stands in the commit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from heads import random_head
from memories import MEMORIES
from networks import zoo_of_operators
from programs import Assembler, detection_program, overlapping_program, random_inputs

from falconet.compiler import compile_graph
from falconet.isa import Dst, Load, Program, Segment, Store, Suppression, preset
from falconet.runtime.device import Int8
from falconet_sim.compare.hazards import required_waits
from falconet_sim.rtl.board import RtlDevice

TINY = preset("tiny")
FILE = Path(__file__).with_name("cycles.json")
RECORDED = ("usual", "fast", "bumpy")
Case = tuple[Program, dict[str, Int8]]


@cache
def cases() -> dict[str, Case]:
    """By name: every engine as far ahead as it may, and all ways to suppress."""
    return dict(_cases())


def _cases() -> Iterator[tuple[str, Case]]:
    for seed in range(8):
        yield f"random {seed}", overlapping_program(TINY, 400 + seed, 40)
    for i, mode in enumerate(Suppression):
        rng = np.random.default_rng(i)
        detect, tensors = random_head(rng, TINY, levels=2, points=5 * (i % 2), hits=0.3,
                                      objectness=i % 2 == 1, form=i % 2, mode=mode.name.lower())
        serial, inputs = detection_program(TINY, detect, tensors)
        yield f"head {mode.name.lower()}", detection_program(
            TINY, detect, tensors, waits=required_waits(serial, inputs))
    for at, graph in enumerate((zoo_of_operators(), zoo_of_operators(3, 28))):
        program = compile_graph(graph, TINY)
        yield f"network {at}", (program, random_inputs(program))
    yield "long transfers", (_long_transfers(), {})


def _long_transfers() -> Program:
    """Word by word, as often as 12 bits count; the same word again and again."""
    asm = Assembler(TINY)
    asm.segments["work"] = 128
    for n in (2048, 2050, 4095):
        for box in ({"n1": n, "n2": 1}, {"n1": 1, "n2": n}):
            asm.add(Store(segment=Segment.WORK, run=1, **box))
            asm.add(Load(segment=Segment.WORK, dst=Dst.SCRATCHPAD, run=1, **box))
    return asm.program()


def measure(memory: str) -> dict[str, dict[str, int]]:
    """Cycles of each case, and of these the busy ones of each engine."""
    device, found = RtlDevice(TINY, ddr=MEMORIES[memory], memory_bytes=8 << 20), {}
    for name, (program, inputs) in cases().items():
        device.load(program)
        result = device.run(inputs)
        assert result.cycles is not None
        found[name] = {"cycles": result.cycles, **result.busy}
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps({memory: measure(memory) for memory in RECORDED}, indent=1) + "\n")
    print(f"recorded in {FILE}; see what has changed: git diff {FILE}")
