"""Every field of every instruction at its ends, at 0 and around it, and somewhere between."""

from __future__ import annotations

import pytest
from devices import same_as_simulator
from fields import Seen, bins
from sweep import LONGEST, swept, zeros

from falconet.isa import End, Instruction, instruction_classes, preset
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(TINY, memory_bytes=8 << 20, stall_cycles=LONGEST)


@pytest.mark.parametrize("of", instruction_classes(), ids=lambda c: c.mnemonic)
def test_values_of_fields(device: RtlDevice, of: type[Instruction]) -> None:
    seen = Seen()
    for program, inputs in swept(TINY, seen, of):
        seen.add(program.instructions())
        device.load(zeros(TINY))
        device.run({})
        same_as_simulator(device, program, inputs)
    swept_fields = [f for f in of.layout if f.name != "opcode"
                    and (of is End or not f.name.startswith("wait_"))]
    missed = sum(len(seen.missed(of.mnemonic, f)) for f in swept_fields)
    assert missed < sum(len(bins(f)) for f in swept_fields) / 2
