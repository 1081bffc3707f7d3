"""A board for programs that nobody should run: started by hand, watched, and used again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from programs import random_inputs, random_program

from falconet.isa import Arch, Control, Engine, Program, Segment, Status
from falconet.runtime.driver import Driver
from falconet_sim.build import machine_library
from falconet_sim.ddr import DdrModel
from falconet_sim.iss import IssDevice
from falconet_sim.rtl import SimBoard

Arrays = dict[str, np.ndarray]


@dataclass
class Ended:
    """How a run ended: registers, cycles until it did, and where the segments lay."""

    status: int
    code: int
    info: int
    retired: dict[Engine, int]
    cycles: int
    bases: dict[Segment, int]


@cache
def good(arch: Arch, seed: int) -> tuple[Program, Arrays, Arrays]:
    """A legal program, its inputs, and the simulator's outputs."""
    program = random_program(arch, seed)
    inputs = random_inputs(program, seed)
    outputs = IssDevice(program).run(inputs).outputs
    assert outputs
    return program, inputs, outputs


def new_board(arch: Arch, memory_bytes: int = 1 << 20, stall_cycles: int = 20_000) -> SimBoard:
    return SimBoard(machine_library(arch), DdrModel(clock_mhz=arch.clock_mhz), lanes=arch.lanes,
                    memory_bytes=memory_bytes, stall_cycles=stall_cycles)


def run_bad(board: SimBoard, program: Program, inputs: Arrays | None = None, *,
            registers: dict[str, int] | None = None, limit: int = 30_000) -> Ended:
    """Run for at most ``limit`` cycles, then RESET; no byte outside OUTPUT and WORK may change.

    The board itself watches every address (SimBoard). After RESET the machine must come to rest
    within 3000 cycles, and touch nothing any more.
    """
    device = Driver(board, board, name="board", arch=program.arch)
    device.load(program)
    slot = device.slot(0)
    if inputs:
        device.stage(slot, inputs)
    buffers = device._buffers
    device._prepare(program, buffers, device._sizes)
    for name, value in (registers or {}).items():
        device.write(name, value)
    before = board.ddr.copy()
    device._running, device._at_rest = slot, False
    device.write("CONTROL", Control.START)
    begin = board.cycle
    while board.cycle - begin < limit:
        status = device.read("STATUS")
        if not status & Status.BUSY:
            break
        board._run(50)
    ended = Ended(status, device.read("ERROR_CODE"), device.read("ERROR_INFO"), device._retired(),
                  board.cycle - begin, {s: device.read(f"{s.name}_BASE") for s in Segment})
    device.write("CONTROL", Control.RESET)
    reset_at = board.cycle
    while device.read("STATUS") & Status.BUSY:
        assert board.cycle - reset_at < 3000, "the program survives RESET"
        board._run(50)
    beats = board.beats()
    board._run(300)
    assert board.beats() == beats
    changed = before != board.ddr
    for s in (Segment.OUTPUT, Segment.WORK):
        if s in buffers:
            changed[buffers[s].offset : buffers[s].offset + device._sizes[s]] = False
    assert not changed.any(), f"byte {changed.argmax()} of memory has changed"
    device.close()
    return ended


def works(board: SimBoard, arch: Arch, seed: int = 5) -> None:
    """A new driver runs a good program, with the simulator's bytes."""
    program, inputs, expected = good(arch, seed)
    with Driver(board, board, name="board", arch=arch, timeout=60) as device:
        device.load(program)
        found = device.run(inputs)
    assert found.outputs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found.outputs[name], value)
