"""The whole machine in Verilator: in lock step with the simulator, and how it refuses.

Building the machine takes a minute where the cache (build/rtl) does not have it.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Sequence

import numpy as np
import pytest
from memories import MEMORIES
from networks import zoo_of_operators
from programs import Assembler, overlapping_program, random_inputs, random_program

from falconet.compiler import compile_graph
from falconet.isa import (
    Engine,
    FalconetError,
    Instruction,
    Load,
    Mac,
    Program,
    Segment,
    Store,
    preset,
)
from falconet.runtime.device import Device
from falconet_sim.compare.lockstep import compare_rtl
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")
OPTIONS = {"memory_bytes": 4 << 20, "stall_cycles": 20_000, "log_writes": True}


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(TINY, **OPTIONS)


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_in_lock_step(device: RtlDevice, seed: int) -> None:
    program, inputs = overlapping_program(TINY, seed)
    assert compare_rtl(program, inputs, device) is None


@pytest.mark.parametrize("memory", ["fast", "slow", "bumpy"])
def test_no_timing_changes_the_result(memory: str) -> None:
    device = RtlDevice(TINY, ddr=MEMORIES[memory], **OPTIONS)
    for seed in range(30, 36):
        program, inputs = overlapping_program(TINY, seed)
        assert compare_rtl(program, inputs, device) is None


@pytest.mark.parametrize("seed", range(2))
def test_a_compiled_network(device: RtlDevice, seed: int) -> None:
    program = compile_graph(zoo_of_operators(seed), TINY)
    assert compare_rtl(program, random_inputs(program), device) is None


def test_is_a_device_and_repeats_itself(device: RtlDevice) -> None:
    machine: Device = device
    program, inputs = overlapping_program(TINY, 100)
    want = IssDevice(program).run(inputs).outputs["y"]
    machine.load(program)
    results = [machine.run(inputs) for _ in range(3)]
    for r in results:
        np.testing.assert_array_equal(r.outputs["y"], want)
        assert set(r.busy) == {e.name for e in Engine}
        used = {e.name for ins in program.instructions() if (e := ins.engine) is not None}
        assert r.cycles and all((0 < n <= r.cycles) == (e in used) for e, n in r.busy.items())
    assert len({r.cycles for r in results}) == 1
    assert (machine.name, machine.arch) == ("rtl", TINY)


def test_trace(device: RtlDevice) -> None:
    program, inputs = overlapping_program(TINY, 101)
    device.load(program)
    result = device.run(inputs)
    assert result.trace is not None and result.cycles is not None
    start, retire = result.trace.start, result.trace.retire
    instructions = program.instructions()
    assert len(start) == len(retire) == len(instructions)
    assert (start[:-1] >= 0).all() and (start[:-1] < retire[:-1]).all()
    assert (retire <= result.cycles).all() and start[-1] == retire[-1] == result.cycles
    for engine in Engine:
        own = [i for i, ins in enumerate(instructions) if ins.engine is engine]
        assert (np.diff(start[own]) > 0).all() and (np.diff(retire[own]) > 0).all()
        for i in own:
            for e in Engine:
                wait = getattr(instructions[i], f"wait_{e.name.lower()}")
                done = retire[[k for k, x in enumerate(instructions) if x.engine is e]]
                assert (done[:wait] < start[i]).all()


def assembled(instructions: Sequence[Instruction], **segments: int) -> Program:
    asm = Assembler(TINY, serial=False)
    asm.segments.update(input=256, output=256, **segments)
    for ins in instructions:
        asm.add(ins)
    return asm.program()


LOAD = Load(segment=Segment.INPUT, run=4)


@pytest.mark.parametrize("instructions, message", [
    ([LOAD, Load(segment=Segment.INPUT, offset=248, run=2)],
     r"WINDOW: address 0x.*by instruction 1 \(LOAD"),
    ([LOAD, Load(segment=Segment.WORK)], r"WINDOW: .*instruction 1 \(LOAD"),
    ([LOAD, Store(segment=Segment.INPUT, wait_load=1)], r"WINDOW: .*instruction 1 \(STORE"),
    ([LOAD, Store(segment=Segment.CODE, wait_load=1)], r"WINDOW: .*instruction 1 \(STORE"),
    ([LOAD, Mac(wait_load=2)], r"did not end in time: MAC at instruction 1 \(MAC"),
    ([LOAD, Store(segment=Segment.OUTPUT, wait_store=1)], "STORE at instruction 1"),
])
def test_refusals(device: RtlDevice, instructions: list[Instruction], message: str) -> None:
    device.load(assembled(instructions))
    with pytest.raises(FalconetError, match=message):
        device.run({})
    program, inputs = overlapping_program(TINY, 102)  # and it works again
    assert compare_rtl(program, inputs, device) is None


def test_unknown_opcode_and_missing_end(device: RtlDevice) -> None:
    program = assembled([LOAD, LOAD])
    program.code = program.code[:64] + b"\xfe" + program.code[65:]
    device.load(program)
    with pytest.raises(FalconetError, match=r"OPCODE: instruction 1 \("):
        device.run({})
    program = assembled([LOAD, LOAD])
    program.header["instructions"] = 2
    device.load(program)
    with pytest.raises(FalconetError, match="NO_END: none of 2 instructions is END"):
        device.run({})


def test_memory_that_is_not_there(device: RtlDevice) -> None:
    device.load(assembled([LOAD]))
    device._buffers[Segment.INPUT].physical_address = 0x4000_0000
    with pytest.raises(FalconetError, match=r"READ: address 0x40000000 .* instruction 0 \(LOAD"):
        device.run({})
    device.load(assembled([Store(segment=Segment.OUTPUT)]))
    device._buffers[Segment.OUTPUT].physical_address = 0x4000_0000
    with pytest.raises(FalconetError, match=r"WRITE: address 0x40000000 .* instruction 0 \(STO"):
        device.run({})


def test_another_machine_s_program(device: RtlDevice) -> None:
    with pytest.raises(FalconetError, match="compile it for this machine"):
        device.load(random_program(preset("pynq-z2"), 0))


def test_a_forked_process_may_drop_a_board() -> None:
    """Its simulation has threads, which the fork lacks."""
    device: RtlDevice | None = RtlDevice(TINY, **OPTIONS)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout has its own
        signal.alarm(20)
        del device
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
