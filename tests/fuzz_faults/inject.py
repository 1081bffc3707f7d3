"""Faults of the bus and of the driver, injected into random programs on the RTL.

Of each fault is asked: did the machine or the driver report it as it must, how soon did the machine
stop, did it touch nothing but its windows, and does it run the next program right. The board
watches every address (falconet_sim.rtl.board.SimBoard).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from bad_runs import works
from programs import mixed_program, random_inputs, random_program

from falconet.isa import Arch, Control, ErrorCode, FalconetError, Program, Segment, Status
from falconet.runtime.driver import Driver
from falconet_sim.compare.hazards import required_waits
from falconet_sim.iss.simulator import IssDevice
from falconet_sim.rtl.board import SimBoard
from falconet_sim.rtl.faults import FOREVER, PORTS, BusFault

PROGRAMS = 16
LONGEST = 8000
"""Cycles of the longest hold that ends by itself."""

PATIENCE = 2 * LONGEST
"""Cycles without a beat after which the board calls the machine dead: more than any hold."""

STOP = 2000
"""Cycles from the first bad answer to ERROR, and from RESET to rest on a bus that answers."""


class Lost(AssertionError):
    """A fault that was not dealt with as it must be."""


@dataclass
class Outcome:
    """What became of a fault: its kind, whether it reached the machine, cycles until it stopped."""

    kind: str
    delivered: bool = True
    stopped: int = 0


@dataclass
class Case:
    """A program, each engine as far ahead as it may be, and what it does without faults."""

    program: Program
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    bursts: dict[str, int]
    cycles: int


def demand(ok: object, what: str) -> None:
    if not ok:
        raise Lost(what)


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], value) for name, value in expected.items())


def driver(board: SimBoard, arch: Arch, timeout: float = 600) -> Driver:
    return Driver(board, board, name="board", arch=arch, timeout=timeout)


@cache
def case(board: SimBoard, arch: Arch, seed: int) -> Case:
    """The program of ``seed``, run once without faults."""
    if seed % 4 == 3:
        serial, inputs = mixed_program(arch, seed)
        program, _ = mixed_program(arch, seed, waits=required_waits(serial, inputs))
    else:
        serial = random_program(arch, seed)
        inputs = random_inputs(serial, seed)
        program = random_program(arch, seed, waits=required_waits(serial, inputs))
    expected = IssDevice(program).run(inputs).outputs
    with driver(board, arch) as device:
        device.load(program)
        before = board.bursts()
        found = device.run(inputs)
        demand(same(found.outputs, expected), "a run without faults is wrong")
        bursts = {port: n - before[port] for port, n in board.bursts().items()}
    assert found.cycles
    return Case(program, inputs, expected, bursts, found.cycles)


class Watched:
    """A loaded driver; when it is done, no byte of memory but OUTPUT and WORK has changed."""

    def __init__(self, board: SimBoard, c: Case, **options: float) -> None:
        self.board, self.device = board, driver(board, c.program.arch, **options)
        self.device.load(c.program)
        self.slot = self.device.slot(0)
        self.device.stage(self.slot, c.inputs)
        self.free = [b for s, b in self.device._buffers.items()
                     if s in (Segment.OUTPUT, Segment.WORK)]
        self.before = board.ddr.copy()

    def done(self) -> None:
        changed = self.before != self.board.ddr
        for b in self.free:
            changed[b.offset : b.offset + b.nbytes] = False
        demand(not changed.any(), f"byte {changed.argmax()} of memory has changed")
        self.device.close()
        demand(not self.board.buffers, "memory was not given back")


# ---------------------------------------------------------------------- kinds


def some_burst(rng: np.random.Generator, c: Case, port: str) -> int:
    return int(rng.integers(c.bursts[port]))


def error(rng: np.random.Generator, board: SimBoard, c: Case, port: str, what: str) -> Outcome:
    """SLVERR or DECERR, on the first, the last or another beat of any burst."""
    where = ("first", "middle", "last")[int(rng.integers(3))]
    beat = {"first": 0, "middle": int(rng.integers(1, 15)), "last": 255}[where]
    watched = Watched(board, c)
    device = watched.device
    code = device._buffers[Segment.CODE].physical_address
    instructions = range(code, code + Arch.INSTRUCTION_BYTES * c.program.n_instructions)
    before = board.suffered()
    board.plan(BusFault(port, some_burst(rng, c, port), what, beat))
    try:
        found, message = device.run(c.inputs), ""
    except FalconetError as e:
        found, message = None, str(e)
    now = board.suffered()
    board.relent()
    stopped = board.interrupt_cycle - now.cycle
    watched.done()
    if now.errors == before.errors:  # the burst never came: prefetch depends on the refresh
        demand(found is not None and same(found.outputs, c.outputs), f"wrong without: {message}")
        return Outcome("", delivered=False)
    reason = ErrorCode.WRITE if port == "m0_write" else ErrorCode.READ
    demand(found is None, f"{what} at 0x{now.address:08x} lost: DONE")
    demand(message.startswith(f"board: {reason.name}: address 0x{now.address:08x} "),
           f"{what} at 0x{now.address:08x} reported as: {message}")
    demand(0 < stopped <= STOP, f"stopped {stopped} cycles after the answer")
    name = "code fetch" if now.address in instructions else port.replace("_", " ")
    where = "" if port == "m0_write" else f", {where} beat"
    return Outcome(f"{what.upper()}, {name}{where}", stopped=stopped)


def hold(rng: np.random.Generator, board: SimBoard, c: Case, port: str, channel: str) -> Outcome:
    """The bus keeps still for thousands of cycles: the result is right, and only late."""
    cycles = int(rng.integers(2000, LONGEST))
    watched = Watched(board, c)
    before = board.suffered()
    board.plan(BusFault(port, some_burst(rng, c, port), "hold", int(rng.integers(17)), channel,
                        cycles))
    found = watched.device.run(c.inputs)
    now = board.suffered()
    board.relent()
    watched.done()
    demand(same(found.outputs, c.outputs), f"wrong after a hold of {cycles} cycles")
    demand(now.errors == before.errors, "an error out of nothing")
    assert found.cycles
    demand(found.cycles <= c.cycles + cycles + 500, f"{found.cycles} cycles, not {c.cycles}")
    return Outcome(f"hold of {port.replace('_', ' ')}, {channel}",
                   delivered=now.holds > before.holds)


def dead(rng: np.random.Generator, board: SimBoard, c: Case, port: str, channel: str) -> Outcome:
    """The bus never answers: a time-out, memory kept; when it answers again all is well."""
    watched = Watched(board, c)
    watched.device.PATIENCE = 0.02  # type: ignore[misc]
    before = board.suffered()
    board.plan(BusFault(port, some_burst(rng, c, port), "hold", int(rng.integers(17)), channel,
                        FOREVER))
    try:
        found, message = watched.device.run(c.inputs), ""
    except FalconetError as e:
        found, message = None, str(e)
    kind = f"{port.replace('_', ' ')} dead, {channel}"
    if found is not None:  # an address that was the last one: nothing waited
        demand(same(found.outputs, c.outputs), "wrong")
        demand(board.suffered().holds == before.holds, "it ended though the bus was dead")
        board.relent()
        watched.done()
        return Outcome(kind, delivered=False)
    demand("the run did not end in time" in message, f"reported as: {message}")
    try:
        watched.device.close()
        demand(False, "memory was given back under a burst")
    except FalconetError as e:
        demand("does not come to rest" in str(e), f"reported as: {e}")
    board.relent()
    watched.done()
    return Outcome(kind)


def reset(rng: np.random.Generator, board: SimBoard, c: Case) -> Outcome:
    """RESET at any time, with or without bursts held: rest, and no beat after it."""
    watched = Watched(board, c)
    held = int(rng.integers(3))
    for _ in range(held):
        port = PORTS[int(rng.integers(3))]
        board.plan(BusFault(port, some_burst(rng, c, port), "hold", int(rng.integers(17)),
                            cycles=int(rng.integers(500, 3000))))
    device = watched.device
    device.start(watched.slot)
    board._run(int(rng.integers(c.cycles)))
    device.write("CONTROL", Control.RESET)
    at = board.cycle
    while device.read("STATUS") & Status.BUSY:
        demand(board.cycle - at <= STOP + 3000 * held, "no rest after RESET")
        board._run(10)
    stopped = board.cycle - at
    beats = board.beats()
    board._run(500)
    demand(board.beats() == beats, "a beat after RESET")
    board.relent()
    watched.done()
    return Outcome("RESET in the middle" + (", bursts held" if held else ""), stopped=stopped)


def death(rng: np.random.Generator, board: SimBoard, c: Case) -> Outcome:
    """The driver dies, the system takes its memory, and a new driver gets the same."""
    old = Watched(board, c)
    for port in PORTS:
        if rng.random() < 0.5:
            board.plan(BusFault(port, some_burst(rng, c, port), "hold", int(rng.integers(17)),
                                cycles=int(rng.integers(500, 5000))))
    old.device.start(old.slot)
    board._run(int(rng.integers(c.cycles)))
    demand(old.device.read("STATUS") in (Status.BUSY, Status.DONE), "an error out of nothing")
    board.buffers.clear()
    new = Watched(board, c)
    found = new.device.run(c.inputs)
    demand(same(found.outputs, c.outputs), "the new driver's run is wrong")
    board.relent()
    new.done()
    return Outcome("driver dies, another comes")


def starts(rng: np.random.Generator, board: SimBoard, c: Case) -> Outcome:
    """START while a program runs changes nothing; START right after its end begins anew."""
    watched = Watched(board, c)
    device, slot = watched.device, watched.slot
    device.start(slot)
    for again in range(2):
        for _ in range(int(rng.integers(1, 6))):
            board._run(int(rng.integers(c.cycles // 8)))
            device.write("CONTROL", Control.START)
            demand(device.read("STATUS") == Status.BUSY, "START has ended the program")
        while (status := device.read("STATUS")) & Status.BUSY:
            board._run(20)
        demand(status == Status.DONE, "an error out of nothing")
        device._running, slot.done = None, True
        demand(same(device.collect(slot).outputs, c.outputs), "wrong after START while running")
        slot.buffers[Segment.OUTPUT].array[:] = 0
        if not again:
            device.write("CONTROL", Control.START)
    device._at_rest = True
    watched.done()
    return Outcome("START while running, back to back")


Kind = Callable[[np.random.Generator, SimBoard, Case], Outcome]


def _of(function: Callable[..., Outcome], *arguments: str) -> Kind:
    return lambda rng, board, c: function(rng, board, c, *arguments)


CHANNELS = [(port, channel) for port in PORTS for channel in ("address", "data", "answer")
            if channel != "answer" or port == "m0_write"]
# Errors are the most, because there are first, middle and last beats of all kinds of bursts.
KINDS: list[Kind] = [
    *(_of(error, port, what) for port in PORTS for what in ("slverr", "decerr") for _ in range(4)),
    *(_of(hold, *where) for where in CHANNELS for _ in range(2)),
    *(_of(dead, *where) for where in CHANNELS),
    *[reset] * 6, *[death] * 4, *[starts] * 2,
]


def inject(board: SimBoard, arch: Arch, seed: int) -> Outcome:
    """Fault number ``seed``, and a good program after it; raises Lost if anything is amiss."""
    rng = np.random.default_rng(seed)
    c = case(board, arch, int(rng.integers(PROGRAMS)))
    outcome = KINDS[seed % len(KINDS)](rng, board, c)
    try:
        works(board, arch, int(rng.integers(4)))
    except AssertionError as e:
        raise Lost(f"the next program is wrong: {e}") from None
    return outcome
