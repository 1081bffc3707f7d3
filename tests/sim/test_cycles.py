"""The machine is as fast as it was, to the cycle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cycles
from memories import MEMORIES

from falconet_sim.rtl.board import RtlDevice


@pytest.mark.parametrize("memory", cycles.RECORDED)
def test_cycles_are_as_recorded(memory: str) -> None:
    found, recorded = cycles.measure(memory), json.loads(cycles.FILE.read_text())[memory]
    assert found.keys() == recorded.keys(), "python tests/sim/cycles.py records them again"
    changed = [f"{case}, {what}: {n}, recorded {recorded[case][what]}"
               for case in recorded for what, n in found[case].items() if n != recorded[case][what]]
    assert not changed, f"if this is meant: python tests/sim/cycles.py\n{chr(10).join(changed)}"


@pytest.mark.parametrize("memory", MEMORIES)
def test_cycles_depend_on_program_and_inputs_alone(memory: str) -> None:
    """Not on what ran before, nor for how long, nor on how often a register was read."""
    options = {"ddr": MEMORIES[memory], "memory_bytes": 8 << 20}
    rng, found = np.random.default_rng(5), {}
    used = RtlDevice(cycles.TINY, **options)
    for name in ("random 1", "network 0", "random 4", "random 1", "network 0"):
        program, inputs = cycles.cases()[name]
        fresh = RtlDevice(cycles.TINY, **options)  # from power-up
        for device in (used, used, fresh):
            device.board._run(int(rng.integers(2000)))  # it stands still
            if device.board.buffers:
                device.board.allocate(4096)  # the next program lies elsewhere
            device.load(program)
            for watched in (False, True):
                result = (device.profile if watched else device.run)(inputs)
                found.setdefault(name, set()).add((result.cycles, *result.busy.values()))
    assert all(len(different) == 1 for different in found.values()), found
