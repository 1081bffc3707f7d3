"""Dispatch: a queue per engine, and the counters that order the engines among each other."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from falconet.isa import INSTRUCTION_BITS, Arch, End, Engine, instruction_classes
from falconet_hw.engine.shell import HELD
from falconet_hw.layout import field_shape, instruction_layout
from falconet_hw.stream.in_flight import in_flight

__all__ = ["WAIT", "Dispatch", "EngineQueue", "illegal_field", "waits_met"]
WAIT = field_shape(End, "wait_load").width
"""Bits of a number of retired instructions that is waited for."""


def waits_met(word: Value, retired: Sequence[Value]) -> Value:
    """Whether an instruction's waits are met: of each engine at least as many have retired.

    The difference is taken modulo 2**WAIT and must be below half of that.
    """
    header = data.View(instruction_layout(End), Cat(word, Const(0, INSTRUCTION_BITS - len(word))))
    return ~Cat(
        (retired[e][:WAIT] - header[f"wait_{e.name.lower()}"])[WAIT - 1] for e in Engine
    ).any()


def illegal_field(word: Value) -> Value:
    """Whether a field whose range the contract narrows is outside of it."""
    opcode = data.View(instruction_layout(End), word).opcode
    bad: list[Value] = []
    for cls in instruction_classes():
        view = data.View(instruction_layout(cls), word)
        wrong = [view[f.name] < f.minimum for f in cls.layout if f.minimum is not None]
        wrong += [view[f.name] > f.maximum for f in cls.layout if f.maximum is not None]
        if wrong:
            bad.append((opcode == cls.opcode) & Cat(wrong).any())
    return Cat(bad).any()


def _width(engine: Engine) -> int:
    """Bits of an instruction that ``engine`` can have a use for."""
    return max(
        f.offset + f.width for c in instruction_classes() if c.engine is engine for f in c.layout
    )


class EngineQueue(Component):
    """The instructions that wait for one engine, in order.

    The head is offered from a register once its waits are met; after a transfer one cycle passes
    before the next can be offered. ``halt`` takes an offer back: it comes before a reset.

    Parameters
    ----------
    arch: Arch
    engine: Engine

    Members
    -------
    i: In(stream.Signature(512))
        ``ready`` while there is room, without regard to ``valid``.
    o: Out(stream.Signature(512))
        The head. Bits beyond the engine's longest instruction are 0.
    retired: In(WAIT).array(5)
        Instructions retired by each engine, modulo 2**WAIT.
    halt: In(1)
        Offer nothing more.
    """

    def __init__(self, *, arch: Arch, engine: Engine) -> None:
        self.arch, self.engine = arch, engine
        super().__init__({
            "i": In(stream.Signature(INSTRUCTION_BITS)),
            "o": Out(stream.Signature(INSTRUCTION_BITS)),
            "retired": In(WAIT).array(len(Engine)),
            "halt": In(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, width = self.arch.queue_depth, _width(self.engine)
        m.submodules.memory = memory = Memory(shape=width, depth=depth, init=[])
        wp = memory.write_port()
        rp = memory.read_port(domain="comb")
        # One bit more than an address, so that full and empty differ.
        head = Signal(ceil_log2(depth) + 1)
        tail = Signal(ceil_log2(depth) + 1)

        m.d.comb += [
            self.i.ready.eq(tail != head ^ depth),
            wp.addr.eq(tail), wp.data.eq(self.i.payload), wp.en.eq(self.i.valid & self.i.ready),
            rp.addr.eq(head),
        ]
        m.d.sync += tail.eq(tail + wp.en)

        word = Signal(width, reset_less=True)
        take = Signal()
        m.d.comb += [take.eq(self.o.valid & self.o.ready), self.o.payload.eq(word)]
        m.d.sync += [
            head.eq(head + take),
            word.eq(rp.data),
            self.o.valid.eq(
                (head != tail) & waits_met(rp.data, self.retired) & ~take & ~self.halt
            ),
        ]
        return m


class Dispatch(Component):
    """Routes instructions to five queues and counts what the engines have retired.

    An instruction is checked in the cycle after it is offered, and taken then; it stalls while
    its queue is full. One with an unknown opcode (END included) or an illegal field is not taken:
    ``bad_opcode`` or ``bad_field`` stays up until reset.

    Parameters
    ----------
    arch: Arch

    Members
    -------
    instr: In(stream.Signature(512))
        All instructions of the program in order, without END.
    engines: Out(stream.Signature(512)).array(5)
        Instructions whose waits are met, for each ``Engine``.
    retire: In(5)
        Bit ``e``: engine ``e`` has retired its oldest instruction.
    start: Out(5)
        Bit ``e``: an instruction is handed to engine ``e`` in this cycle.
    retired: Out(32).array(5)
        Retired instructions since reset.
    idle: Out(1)
        All instructions that were taken have retired (a cycle ago or more).
    halt: In(1)
        Take and offer nothing more.
    bad_opcode: Out(1)
        The instruction at the input has an unknown opcode.
    bad_field: Out(1)
        The instruction at the input has a field outside its range.
    index: Out(32)
        Number of instructions taken, so the index of the one at the input.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        word = stream.Signature(INSTRUCTION_BITS)
        super().__init__({
            "instr": In(word),
            "engines": Out(word).array(len(Engine)),
            "retire": In(len(Engine)),
            "start": Out(len(Engine)),
            "retired": Out(32).array(len(Engine)),
            "idle": Out(1),
            "halt": In(1),
            "bad_opcode": Out(1),
            "bad_field": Out(1),
            "index": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        opcode = data.View(instruction_layout(End), self.instr.payload).opcode
        seen = Signal()
        illegal = Signal(reset_less=True)
        pass_on = Signal()
        m.d.sync += [
            seen.eq(self.instr.valid & ~self.instr.ready),
            illegal.eq(illegal_field(self.instr.payload)),
        ]
        m.d.comb += [
            pass_on.eq(seen & ~illegal & ~self.halt),
            self.bad_field.eq(self.instr.valid & seen & illegal),
        ]
        accepts: list[Value] = []
        routes: list[Value] = []
        matches: list[Value] = []
        for e in Engine:
            m.submodules[e.name.lower()] = queue = EngineQueue(arch=self.arch, engine=e)
            opcodes = [c.opcode for c in instruction_classes() if c.engine is e]
            route = Signal(name=f"to_{e.name.lower()}")
            accept = Signal()
            out = self.engines[e]
            m.d.comb += [
                route.eq(opcode.matches(*opcodes)),
                accept.eq(queue.i.ready & route & pass_on),
                queue.i.payload.eq(self.instr.payload),
                queue.i.valid.eq(self.instr.valid & route & pass_on),
                queue.halt.eq(self.halt),
                *(r.eq(count[:WAIT]) for r, count in zip(queue.retired, self.retired)),
                out.payload.eq(queue.o.payload),
                out.valid.eq(queue.o.valid),
                queue.o.ready.eq(out.ready),
                self.start[e].eq(out.valid & out.ready),
            ]
            m.d.sync += self.retired[e].eq(self.retired[e] + self.retire[e])
            accepts.append(accept)
            routes.append(route)

            under_way = in_flight(
                m, accept & self.instr.valid, self.retire[e],
                limit=self.arch.queue_depth + HELD, name=f"under_way_{e.name.lower()}",
            )
            matches.append(under_way == 0)

        m.d.comb += [
            self.instr.ready.eq(Cat(accepts).any()),
            self.bad_opcode.eq(self.instr.valid & ~Cat(routes).any()),
            self.idle.eq(Cat(matches).all() & ~self.instr.valid),
        ]
        m.d.sync += self.index.eq(self.index + (self.instr.valid & self.instr.ready))
        return m
