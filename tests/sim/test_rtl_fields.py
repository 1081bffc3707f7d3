"""Every field of every instruction at its ends, at 0 and around it, and somewhere between."""

from __future__ import annotations

import numpy as np
import pytest
from fields import Seen
from same import same_detections
from sweep import swept, zeros

from falconet.isa import Instruction, instruction_classes, preset
from falconet_sim.iss import IssDevice
from falconet_sim.rtl import RtlDevice

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(TINY, memory_bytes=8 << 20, stall_cycles=300_000)


@pytest.mark.parametrize("of", instruction_classes(), ids=lambda c: c.mnemonic)
def test_values_of_fields(device: RtlDevice, of: type[Instruction]) -> None:
    seen = Seen()
    for program, inputs in swept(TINY, seen, of):
        seen.add(program.instructions())
        want = IssDevice(program).run(inputs)
        device.load(zeros(TINY))
        device.run({})
        device.load(program)
        found = device.run(inputs)
        for name, value in want.outputs.items():
            np.testing.assert_array_equal(found.outputs[name], value)
        same_detections("rtl", found.detections, want.detections)
