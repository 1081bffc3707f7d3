"""A board for programs that nobody should run: started by hand, watched, and used again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from programs import random_inputs, random_program

from falconet.isa import Arch, Control, Engine, ErrorCode, Program, Segment, Status
from falconet.runtime.driver import Driver
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import SimBoard
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.rtl.library import machine_library

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


def _at_rest(board: SimBoard, device: Driver, after: str) -> int:
    """STATUS of the machine as soon as it is not BUSY, which takes at most 3000 cycles."""
    begin = board.cycle
    while (status := device.read("STATUS")) & Status.BUSY:
        assert board.cycle - begin < 3000, f"the program survives {after}"
        board._run(50)
    return status


def run_bad(board: SimBoard, program: Program, inputs: Arrays | None = None, *,
            registers: dict[str, int] | None = None, limit: int = 30_000) -> Ended:
    """Run for at most ``limit`` cycles, then RESET; no byte outside OUTPUT and WORK may change.

    The board itself watches every address (SimBoard). After RESET the machine must come to rest
    within 3000 cycles, and touch nothing any more; and so after an error, also one that comes in
    the last cycles: it is waited for. BUSY says that the program was under way at the limit, and
    without an error.
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
    code = device.read("ERROR_CODE")
    if code != ErrorCode.NONE:
        status = _at_rest(board, device, "an error")
    ended = Ended(status, code, device.read("ERROR_INFO"), device._retired(),
                  board.cycle - begin, {s: device.read(f"{s.name}_BASE") for s in Segment})
    device.write("CONTROL", Control.RESET)
    _at_rest(board, device, "RESET")
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
