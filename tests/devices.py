"""Golden model, instruction-set simulator and RTL on the same program and inputs."""

from __future__ import annotations

from functools import cache

import numpy as np

from falconet.isa import Arch, Program
from falconet.runtime.device import RunResult
from falconet_sim.golden import GoldenDevice
from falconet_sim.iss import IssDevice
from falconet_sim.rtl import RtlDevice


@cache
def board(arch: Arch) -> RtlDevice:
    """One simulated board for all tests of a process."""
    return RtlDevice(arch, timeout=300)


def run_all(program: Program, inputs: dict[str, np.ndarray]) -> RunResult:
    """Run everywhere, demand equal bytes; the RTL's result."""
    golden, iss, rtl = GoldenDevice(program), IssDevice(program), board(program.arch)
    rtl.load(program)
    expected, found = golden.run(inputs).outputs, {
        "iss": iss.run(inputs), "rtl": rtl.run(inputs),
    }
    for name, result in found.items():
        assert result.outputs.keys() == expected.keys()
        for output, value in expected.items():
            different = np.argwhere(result.outputs[output] != value)
            assert not len(different), f"{name}: {output} differs first at {different[0]}"
    return found["rtl"]
