"""The whole machine by its registers: START, RESET at any time, counters, memory around it."""

from __future__ import annotations

import numpy as np
import pytest
from heads import random_head
from programs import Assembler, detection_program, overlapping_program
from same import same_detections

from falconet.isa import (
    ISA_VERSION,
    MAGIC,
    REGISTERS,
    Control,
    Engine,
    ErrorCode,
    Load,
    Program,
    Segment,
    Status,
    preset,
)
from falconet_sim.compare.hazards import required_waits
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import RtlDevice

pytestmark = pytest.mark.timeout(900)
TINY = preset("tiny")
Case = tuple[Program, dict[str, np.ndarray]]
RESET_CLEARS = ["ERROR_CODE", "ERROR_INFO", "CYCLES",
                *(f"{what}_{e.name}" for e in Engine for what in ("RETIRED", "BUSY"))]


@pytest.fixture(scope="module")
def device() -> RtlDevice:
    return RtlDevice(TINY, memory_bytes=4 << 20, stall_cycles=20_000)


def detecting(mode: str) -> Case:
    detect, tensors = random_head(np.random.default_rng(3), TINY, levels=2, points=5, hits=0.3,
                                  mode=mode)
    serial, inputs = detection_program(TINY, detect, tensors)
    return detection_program(TINY, detect, tensors, waits=required_waits(serial, inputs))


CASES = {
    "operators": lambda: overlapping_program(TINY, 200),
    "more": lambda: overlapping_program(TINY, 201),
    "greedy": lambda: detecting("greedy"), "soft": lambda: detecting("soft_gaussian"),
}


def begin(device: RtlDevice, case: Case) -> None:
    device.load(case[0])
    slot = device.slot(0)
    device.stage(slot, case[1])
    device.start(slot)


def stops(device: RtlDevice) -> int:
    """STATUS as soon as the machine is not busy."""
    for _ in range(10_000):
        if not (status := device.read("STATUS")) & Status.BUSY:
            return status
        device.board._run(10)
    raise AssertionError("the machine is busy for ever")


def gives(device: RtlDevice, case: Case) -> None:
    """The program ends, with the simulator's bytes."""
    program, inputs = case
    want = IssDevice(program).run(inputs)
    device.wait()
    found = device.collect(device.slot(0))
    for name, value in want.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], value)
    same_detections("rtl", found.detections, want.detections)
    assert device.read("ERROR_CODE") == device.read("ERROR_INFO") == 0


def test_registers_keep_what_exists_of_them(device: RtlDevice) -> None:
    exists = {"IRQ_ENABLE": 1, "PROGRAM_OFFSET": 0xFFFF_FFF8, "PROGRAM_LENGTH": 0xFFFF_FFFF}
    for s in Segment:
        exists |= {f"{s.name}_BASE": 0xFFFF_F000, f"{s.name}_SIZE": 0xFFFF_FF80}
    assert {r.name for r in REGISTERS if r.access == "rw"} == {"CONTROL", *exists}
    rng = np.random.default_rng(1)
    for _ in range(8):
        values = {name: int(rng.integers(1 << 32)) for name in exists}
        for name, value in values.items():
            device.write(name, value)
        device.write("CONTROL", int(rng.choice([0, Control.RESET])))
        for r in REGISTERS:  # those that cannot be written, and the places behind them
            if r.access == "ro":
                device.board.write_register(r.offset, 0xFFFF_FFFF)
        device.board.write_register(0x80 + 4 * int(rng.integers(32)), 0xFFFF_FFFF)
        assert stops(device) == 0
        for name, value in values.items():
            assert device.read(name) == value & exists[name], name
        assert [device.read(n) for n in ("ID", "ISA_VERSION", "ARCH_HASH", "CONTROL")] == [
            MAGIC, ISA_VERSION, TINY.hash, 0]
        assert device.board.read_register(0x80 + 4 * int(rng.integers(32))) == 0


@pytest.mark.parametrize("kind", CASES)
def test_reset_at_any_time(device: RtlDevice, kind: str) -> None:
    """Nothing moves any more, all is zero, and the next program knows nothing of it."""
    case, next_one = CASES[kind](), overlapping_program(TINY, 202)
    rng = np.random.default_rng(5)
    begin(device, case)
    before = device.board.cycle
    gives(device, case)
    length = device.board.cycle - before
    for n in sorted({1, 65, 66, 67, *(int(v) for v in rng.integers(1, length, 24))}):
        begin(device, case)
        device.board._run(n)
        device.write("CONTROL", Control.RESET)
        assert stops(device) == 0
        moved = device.board.beats()
        assert [device.read(name) for name in RESET_CLEARS] == [0] * len(RESET_CLEARS)
        device.board._run(200)
        assert device.board.beats() == moved
        device._running = None
        again = case if rng.random() < 0.5 else next_one
        begin(device, again)
        gives(device, again)


def test_start_while_busy(device: RtlDevice) -> None:
    """It is ignored: the program runs once."""
    case = CASES["operators"]()
    begin(device, case)
    gives(device, case)
    cycles = device.read("CYCLES")
    begin(device, case)
    for n in (1, 20, 100, 500):
        device.board._run(n)
        device.write("CONTROL", Control.START)
    gives(device, case)
    assert abs(device.read("CYCLES") - cycles) < 300  # refresh
    device.board._run(1000)
    assert device.read("STATUS") == Status.DONE


def test_start_again_without_a_reset(device: RtlDevice) -> None:
    """After DONE a START alone runs the program once more, with counters from zero."""
    case = CASES["operators"]()
    begin(device, case)
    gives(device, case)
    cycles, slot = device.read("CYCLES"), device.slot(0)
    for _ in range(3):
        slot.buffers[Segment.OUTPUT].array[:] = 0
        device.write("CONTROL", Control.START)
        assert device.read("STATUS") == Status.BUSY
        device._running = slot
        gives(device, case)
        assert device.read("CYCLES") == cycles


def test_start_right_after_reset(device: RtlDevice) -> None:
    """START is remembered until the reset is through; with RESET in the same write it is not."""
    case = CASES["operators"]()
    begin(device, case)
    device.board._run(700)
    device.write("CONTROL", Control.RESET)
    device.write("CONTROL", Control.START)
    assert device.read("STATUS") == Status.BUSY
    gives(device, case)
    begin(device, case)
    device.board._run(300)
    device.write("CONTROL", Control.RESET)
    device.write("CONTROL", Control.START)
    device.write("CONTROL", Control.RESET)  # forgets the START
    assert stops(device) == 0
    device.write("CONTROL", Control.START | Control.RESET)
    assert stops(device) == 0
    device.board._run(300)
    assert device.read("STATUS") == 0 and device.read("CYCLES") == 0
    device._running = None


def test_an_error_stays_until_the_next_start(device: RtlDevice) -> None:
    asm = Assembler(TINY, serial=False)
    asm.segments.update(input=256, output=256)
    asm.add(Load(segment=Segment.INPUT, run=4))
    asm.add(Load(segment=Segment.INPUT, offset=0x90, run=16))
    asm.add(Load(segment=Segment.WORK, offset=0x1000))
    bad = asm.program(), {}
    begin(device, bad)
    address = device._buffers[Segment.INPUT].physical_address + 0x100
    device.board._run(60)
    device.write("CONTROL", Control.START)  # while it runs
    assert stops(device) == Status.ERROR
    for _ in range(2):
        assert device.read("ERROR_CODE") == ErrorCode.WINDOW
        assert device.read("ERROR_INFO") == address
        moved = device.board.beats()
        device.board._run(300)
        assert device.board.beats() == moved
    cycles = device.read("CYCLES")
    assert 0 < cycles < 400
    device._running = None
    case = CASES["more"]()
    begin(device, case)
    assert [device.read(n) for n in ("STATUS", "ERROR_CODE", "ERROR_INFO")] == [Status.BUSY, 0, 0]
    gives(device, case)


@pytest.mark.parametrize("kind", CASES)
def test_counters(device: RtlDevice, kind: str) -> None:
    case = CASES[kind]()
    begin(device, case)
    seen = 0
    while device.read("STATUS") & Status.BUSY:
        assert seen <= (seen := device.read("CYCLES"))
        device.board._run(100)
    gives(device, case)
    cycles = device.read("CYCLES")
    for e in Engine:
        own = sum(ins.engine is e for ins in case[0].instructions())
        assert device.read(f"RETIRED_{e.name}") == own
        assert (0 < device.read(f"BUSY_{e.name}") < cycles) == (own > 0)
    device.board._run(100)
    assert device.read("CYCLES") == cycles


@pytest.mark.parametrize("kind", CASES)
def test_memory_around_the_segments(device: RtlDevice, kind: str) -> None:
    """Only OUTPUT and WORK change."""
    case = CASES[kind]()
    device.load(case[0])
    slot = device.slot(0)
    device.stage(slot, case[1])
    memory, rng = device.board.ddr, np.random.default_rng(9)
    outside, constant = np.ones((2, len(memory)), bool)
    for segment, buffer in device._buffers.items():
        at = slice(buffer.offset, buffer.offset + buffer.nbytes)
        outside[at], constant[at] = False, segment in (Segment.CODE, Segment.INPUT)
    memory[outside] = rng.integers(0, 256, int(outside.sum()), np.uint8)
    before = memory.copy()
    device.start(slot)
    gives(device, case)
    np.testing.assert_array_equal(memory[constant], before[constant])
