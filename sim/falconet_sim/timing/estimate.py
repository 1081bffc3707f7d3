"""The cycles of a program from its instructions: what the RTL would take, in a second.

An event model of what decides the order of things: fetch, the engines' queues, waits for retired
instructions, the engines' own steps (:mod:`falconet.isa.machine.cycles`), bursts on the memory of
:class:`~falconet_sim.rtl.ddr.DdrModel`, and reads of the scratchpad that lose their bank to a port
of higher priority (:mod:`falconet_sim.timing.banks`). Not in it: writes that lose theirs, and when
the memory is refreshed (it is slower by that share). How many candidates the detect engine finds is
the picture's, and therefore an assumption of the caller.

docs/performance.md holds it against the RTL.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from falconet.isa import Engine, FalconetError, Instruction, Load, LoadImage, Program, Scan, Store
from falconet.isa.machine.cycles import reads, steps
from falconet.runtime.device import Trace
from falconet_sim.rtl.ddr import DdrModel
from falconet_sim.timing.bandwidth import Bandwidth
from falconet_sim.timing.banks import pace

__all__ = ["Estimate", "estimate"]

_FIRST = 14  # from START to the request of the first instruction
_FETCH = 9  # cycles from one instruction that is handed over to the next
_FETCHED = 4  # instructions that are asked for and not handed over: one put together, three behind
_RAISE = 2  # cycles from one address of a port to the next
_OFFER = 2  # from arrival, or the last retirement waited for, to a start
_BETWEEN = {Engine.MAC: 2, Engine.VEC: 4, Engine.DETECT: 2}  # idle cycles of an engine
_AHEAD = 7  # steps that the vector engine's loops are ahead of their reads where these wait: it has
# 16 places, of which steps on their way to the read and room on its way back take 9
_DRAIN = {Engine.MAC: 33, Engine.VEC: 33, Engine.DETECT: 2}  # from the last step to retirement;
# one more of MAC where a chain of the array is twice as long
_TRANSFERS = 5  # that LOAD, and STORE, have under way
_ROOM = 16  # bursts of full length that LOAD has room for
_REQUEST = 5  # from a start of LOAD to its first burst
_ARRIVE = 5  # from the memory to the chip
_STORE = 13  # what STORE needs beside beats and the memory's answer
_END = 3  # from the last retirement to DONE

Action = Callable[[float], None]


@dataclass(frozen=True)
class Estimate:
    """``cycles`` from START to DONE, and each instruction's start and retirement."""

    cycles: int
    trace: Trace


def estimate(program: Program, ddr: DdrModel | None = None, *, candidates: int = 0) -> Estimate:
    """How long ``program`` takes on the machine that it is compiled for.

    Parameters
    ----------
    ddr:
        By default that of the PYNQ-Z2, at the machine's clock.
    candidates:
        What the detect engine finds in each picture, all levels together; all of them stay.

    Raises
    ------
    FalconetError
        for a program whose instructions wait for each other.
    """
    ddr = ddr or DdrModel(clock_mhz=program.arch.clock_mhz)
    model = _Model(program, ddr, candidates)
    model.run()
    cycles = round(model.retire.max()) + _END if len(model.retire) > 1 else round(model.now)
    model.start[-1] = model.retire[-1] = cycles
    return Estimate(cycles, Trace(np.rint(model.start).astype(np.int64),
                                  np.rint(model.retire).astype(np.int64)))


class _Model:
    def __init__(self, program: Program, ddr: DdrModel, candidates: int) -> None:
        self.arch, self.ddr, self.candidates = program.arch, ddr, candidates
        self.instructions = program.instructions()
        self.levels = max(1, sum(isinstance(i, Scan) for i in self.instructions))
        count = len(self.instructions)
        self.start, self.retire = np.zeros(count), np.zeros(count)
        self.now = 0.0
        self.events: list[tuple[float, int, Action]] = []
        self.serial = 0
        self.memory = Bandwidth(ddr)
        self.queues: dict[Engine, deque[tuple[int, float]]] = {e: deque() for e in Engine}
        self.retired: dict[Engine, list[float]] = {e: [] for e in Engine}
        self.free = dict.fromkeys(Engine, 0.0)  # when an engine takes its next instruction
        self.pending: dict[Engine, int | None] = dict.fromkeys(Engine)  # head with a start to come
        self.fetched: list[float] = []  # when an instruction that is asked for is on the chip
        self.asking = False  # the request of the next is an event to come
        self.handed: list[float] = []
        self.blocked: int | None = None  # an instruction whose queue is full
        # Instructions on MAC and on the vector engine; of the latter's, how many steps are left.
        self.under_way: dict[Engine, int | None] = dict.fromkeys((Engine.MAC, Engine.VEC))
        self.left = self.since = 0.0
        # Of the vector engine: what has begun and not read all of its words, and its steps; when
        # the loops of the last of them are through if no read waits, None if they are.
        self.reading: deque[tuple[int, float]] = deque()
        self.looped: float | None = None
        self.version = 0
        self.held: deque[tuple[int, float]] = deque()  # bytes that LOAD has asked for, when written
        # When the last bursts had come, and were answered: a port has only so many outstanding.
        self.came = deque([0.0] * 2 * ddr.outstanding, 2 * ddr.outstanding)
        self.answered = deque([0.0] * ddr.outstanding, ddr.outstanding)
        self.room = _ROOM * self.arch.burst_beats * self.arch.DATA_BYTES
        self.asked = self.written = self.stored = 0.0
        self.transfers = {Engine.LOAD: 0, Engine.STORE: 0}

    def at(self, time: float, action: Action) -> None:
        self.serial += 1
        heapq.heappush(self.events, (time, self.serial, action))

    def run(self) -> None:
        self.asking = True
        self.at(_FIRST, self.fetch)
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action(self.now)
        stuck = [q[0][0] for q in self.queues.values() if q]
        if stuck or self.blocked is not None:
            first = min(stuck, default=self.blocked)
            raise FalconetError(f"program: instruction {first} waits for one that never retires; "
                                "recompile the network")

    # Fetch and dispatch

    def fetch(self, now: float) -> None:
        """Ask for the next instruction; those before it may still be on their way."""
        self.asking = False
        arrived = self.memory.move(now + self.ddr.first_beat_latency, self.arch.INSTRUCTION_BYTES)
        self.fetched.append(arrived)
        if len(self.handed) == len(self.fetched) - 1:
            self.next_hand_over()
        self.ask_next(now + _RAISE)

    def ask_next(self, ready: float) -> None:
        """The next request: all but ``_FETCHED`` before it must be handed over."""
        index = len(self.fetched)
        behind = index - _FETCHED
        if self.asking or index == len(self.instructions) or behind >= len(self.handed):
            return
        self.asking = True
        left = self.handed[behind] + _FETCH if behind >= 0 else 0.0
        self.at(max(ready, left), self.fetch)

    def next_hand_over(self) -> None:
        index = len(self.handed)
        if index >= len(self.fetched) or self.instructions[index].engine is None:
            return
        last = self.handed[-1] + _FETCH if self.handed else 0.0
        self.at(max(self.fetched[index], last), lambda t: self.hand_over(t, index))

    def hand_over(self, now: float, index: int) -> None:
        engine = self.instructions[index].engine
        assert engine is not None
        if len(self.queues[engine]) >= self.arch.queue_depth:
            self.blocked = index
            return
        self.blocked = None
        self.handed.append(now)
        self.queues[engine].append((index, now))
        self.offer(engine, now)
        self.next_hand_over()
        self.ask_next(now)

    def offer(self, engine: Engine, now: float) -> None:
        """Give the head of a queue its start, if all that it waits for is known."""
        queue = self.queues[engine]
        if (not queue or self.pending[engine] is not None
                or self.transfers.get(engine, 0) == _TRANSFERS):
            return
        index, ready = queue[0]
        for e in Engine:
            wait = getattr(self.instructions[index], f"wait_{e.name.lower()}")
            done = len(self.retired[e])
            behind = (done - wait) % (1 << 16)
            if behind >= 1 << 15:
                return
            if behind < done:
                ready = max(ready, self.retired[e][done - behind - 1])
        self.pending[engine] = index
        self.at(max(ready + _OFFER, self.free[engine], now),
                lambda t: self.begin(t, engine, index))

    def begin(self, now: float, engine: Engine, index: int) -> None:
        self.queues[engine].popleft()
        if self.blocked is not None and self.instructions[self.blocked].engine is engine:
            blocked = self.blocked
            self.at(now + 1, lambda t: self.hand_over(t, blocked))
        self.start[index], self.free[engine] = now, np.inf
        ins = self.instructions[index]
        work = steps(ins, self.arch, self.candidates / self.levels)
        if engine is Engine.LOAD:
            self.asked = max(self.asked, now + _REQUEST)
            self.transfers[engine] += 1
            self.next_burst(self.bursts(ins), index)
        elif engine is Engine.STORE:
            self.stored = max(self.stored, now + _STORE)
            self.transfers[engine] += 1
            self.store_burst(self.bursts(ins), index)
        elif engine is Engine.VEC:
            self.reading.append((index, work))
            self.looped = now + work
            if len(self.reading) == 1:
                self.read_on(now)
        elif engine is Engine.MAC:
            self.change(now, engine, index)
            self.at(now + work, lambda t: self.change(t, engine, None))
            self.done(engine, index, now + work)
        else:
            self.done(engine, index, now + work * self.slower())

    def done(self, engine: Engine, index: int, last: float) -> None:
        """The last step of an instruction is made at ``last``."""
        self.take_next(engine, last + _BETWEEN[engine])
        drain = _DRAIN[engine] + (engine is Engine.MAC and self.arch.rows > 8)
        self.at(last + drain, lambda t: self.retires(t, engine, index))

    def take_next(self, engine: Engine, time: float) -> None:
        self.free[engine] = time
        self.pending[engine] = None
        self.at(time, lambda t: self.offer(engine, t))

    def retires(self, now: float, engine: Engine, index: int) -> None:
        self.retire[index] = now
        self.retired[engine].append(now)
        if engine in self.transfers:
            self.transfers[engine] -= 1
        for e in Engine:
            self.offer(e, now)

    # Reads that lose their bank.

    def slower(self) -> float:
        """By what a read of STORE or DETECT takes longer: one in as many as there are banks."""
        running = [i for e in (Engine.MAC, Engine.VEC) if (i := self.under_way[e]) is not None]
        busy = sum(reads(self.instructions[i], self.arch) for i in running)
        return self.arch.banks / max(1.0, self.arch.banks - busy)

    def pace(self) -> float:
        """Cycles that the vector engine takes for a step."""
        vector, mac = self.under_way[Engine.VEC], self.under_way[Engine.MAC]
        if vector is None or mac is None:
            return 1.0
        return pace(self.instructions[vector], self.instructions[mac], self.arch)

    def read_on(self, now: float) -> None:
        """The vector engine reads for the oldest instruction that it has begun, if there is one."""
        index, self.left = self.reading[0] if self.reading else (None, 0.0)
        self.change(now, Engine.VEC, index)

    def change(self, now: float, engine: Engine, index: int | None) -> None:
        """``engine`` begins an instruction's reads, or is at the end of its last."""
        if engine is Engine.MAC:
            self.left -= (now - self.since) / self.pace()
        self.under_way[engine] = index
        self.since = now
        self.version += 1
        version, vector = self.version, self.under_way[Engine.VEC]
        if vector is None:
            return

        def loops_end(t: float) -> None:
            if self.looped is not None and version == self.version:
                self.looped = None
                self.take_next(Engine.VEC, t + _BETWEEN[Engine.VEC])

        def finish(t: float) -> None:
            if version == self.version:
                if len(self.reading) == 1:
                    loops_end(t)
                self.reading.popleft()
                self.at(t + _DRAIN[Engine.VEC], lambda t: self.retires(t, Engine.VEC, vector))
                self.read_on(t)

        if len(self.reading) == 1 and self.looped is not None:
            ahead = now + max(self.left - _AHEAD, 0.0) * self.pace()
            self.at(max(self.looped, ahead), loops_end)
        self.at(now + max(self.left, 0.0) * self.pace(), finish)

    # Transfers, burst by burst

    def next_burst(self, bursts: Iterator[tuple[int, float]], index: int) -> None:
        burst = next(bursts, None)
        if burst is None:
            self.at(max(self.written, self.now), lambda t: self.retires(t, Engine.LOAD, index))
            self.take_next(Engine.LOAD, max(self.asked, self.now))
            return
        size, words = burst
        begin = max(self.asked + 1, self.now, self.came[0])
        while self.held and sum(s for s, _ in self.held) + size > self.room:
            begin = max(begin, self.held.popleft()[1])

        def ask(now: float) -> None:
            self.asked = now
            arrived = self.memory.move(now + self.ddr.first_beat_latency, size)
            self.came.append(arrived)
            self.written = max(arrived + _ARRIVE, self.written + words)
            self.held.append((size, self.written))
            self.next_burst(bursts, index)

        self.at(begin, ask)

    def bursts(self, ins: Instruction) -> Iterator[tuple[int, float]]:
        """Bytes, and words on chip, of each burst of a transfer."""
        line = self.arch.burst_beats * self.arch.DATA_BYTES
        if isinstance(ins, LoadImage):
            runs = [(ins.offset + y * ins.pitch, -(-ins.row_bytes // 8) * 8, ins.n_x)
                    for y in range(ins.n_rows)]
        else:
            assert isinstance(ins, (Load, Store))
            size = ins.run * self.arch.lanes
            runs = [(ins.offset + y * ins.ddr_step2 + x * ins.ddr_step1, size, ins.run)
                    for y in range(ins.n2) for x in range(ins.n1)]
        for offset, size, words in runs:
            first = min(size, line - offset % line)
            sizes = [first] + [line] * ((size - first) // line)
            if sum(sizes) < size:
                sizes.append(size - sum(sizes))
            yield from ((s, words * s / size) for s in sizes)

    def store_burst(self, bursts: Iterator[tuple[int, float]], index: int) -> None:
        burst = next(bursts, None)
        if burst is None:
            self.at(self.stored + self.ddr.write_latency,
                    lambda t: self.retires(t, Engine.STORE, index))
            self.take_next(Engine.STORE, self.now + 1)
            return

        def move(now: float) -> None:
            size, words = burst
            read = words * self.slower()
            self.stored = max(self.memory.write(self.stored, size), self.stored + read)
            self.answered.append(self.stored + self.ddr.write_latency)
            self.store_burst(bursts, index)

        self.stored = max(self.stored, self.answered[0])
        self.at(max(self.now, self.stored - 16), move)
