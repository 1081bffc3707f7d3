"""Dispatch hands out every instruction once, in order, when its waits are met; and always does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import Component, In

from falconet.isa import INSTRUCTION_BITS, End, Engine, instruction_classes, preset
from falconet_hw.control import dispatch
from falconet_hw.engine.shell import HELD
from falconet_hw.layout import instruction_layout
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import before

__all__ = ["PROOFS", "DispatchProof", "EngineQueueProof", "WaitsProof"]

_WAITS = [f"wait_{e.name.lower()}" for e in Engine]
_HEADER_BITS = max(f.offset + f.width for f in End.layout)


def _waits(word: Value) -> list[Value]:
    padded = Cat(word, Const(0, INSTRUCTION_BITS - len(word)))
    return [data.View(instruction_layout(End), padded)[name] for name in _WAITS]


class WaitsProof(Component):
    """``waits_met`` is ``need <= done`` of all engines, though only 16 bits are compared.

    Members
    -------
    header : In(...)
    need, done : In(20).array(5)
        Instructions waited for and retired, as numbers that do not wrap: ``wait_*`` is ``need``
        modulo 2**16, and the two are less than 2**15 apart (or ``need`` is 2**15 more).
    """

    def __init__(self, waits_met: Callable[..., Value]) -> None:
        self.waits_met = waits_met
        numbers = In(20).array(len(Engine))
        super().__init__({"header": In(_HEADER_BITS), "need": numbers, "done": numbers})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for wait, need, done in zip(_waits(self.header), self.need, self.done):
            m.d.comb += Assume(
                (wait == need[:16]) & (need <= done + (1 << 15)) & (done < need + (1 << 15))
            )
        met = Cat(need <= done for need, done in zip(self.need, self.done)).all()
        m.d.comb += Assert(self.waits_met(self.header, list(self.done)) == met)
        return m


class EngineQueueProof(Component):
    """An instruction chosen by ``pick`` is offered once, in order, and when its waits are met.

    It was the oldest, its waits met and ``halt`` low a cycle before; and a cycle after that it is
    offered, if not just taken.

    Members
    -------
    word, valid, ready, halt, retired, pick : In
        Anything.
    """

    def __init__(self, queue: Any, waits_met: Callable[..., Value]) -> None:
        self.queue, self.waits_met = queue, waits_met
        super().__init__({
            "word": In(INSTRUCTION_BITS), "valid": In(1), "ready": In(1), "halt": In(1),
            "pick": In(1), "retired": In(16).array(len(Engine)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, depth = self.queue, self.queue.arch.queue_depth
        inside = Inside(dut)
        m.submodules.dut = inside.module
        enter, leave = Signal(), Signal()
        m.d.comb += [
            dut.i.payload.eq(self.word), dut.i.valid.eq(self.valid), dut.halt.eq(self.halt),
            dut.o.ready.eq(self.ready), enter.eq(self.valid & dut.i.ready),
            leave.eq(dut.o.valid & self.ready),
            *(r.eq(retired) for r, retired in zip(dut.retired, self.retired)),
        ]
        count = Signal(range(depth + 1))
        chosen, ahead, word = Signal(), Signal.like(count), Signal(len(inside["word"]))
        m.d.sync += count.eq(count + enter - leave)
        with m.If(chosen & leave):
            m.d.sync += [ahead.eq(ahead - 1), chosen.eq(ahead != 0)]
        with m.If(enter & self.pick & ~chosen):
            m.d.sync += [chosen.eq(1), word.eq(self.word), ahead.eq(count - leave)]
        first = chosen & (ahead == 0)
        behind = [retired - wait for retired, wait in zip(self.retired, _waits(word))]
        may = Signal()
        m.d.comb += may.eq(first & ~self.halt & Cat(b[:16] < 1 << 15 for b in behind).all())
        could = before(m, may & ~leave, "could")
        m.d.comb += [
            Assert(count <= depth), Assert(~dut.o.valid | (count != 0)),
            Assert(dut.i.ready == (count != depth)),
            Assert(~(first & dut.o.valid) | (dut.o.payload == word)),
            Assert(~first | (dut.o.valid == could)),
            Assert(~chosen | (ahead < count)),
        ]
        # For the induction.
        port = inside["memory"].read_port(domain="comb")
        head, tail = inside["head"], inside["tail"]
        m.d.comb += [
            port.addr.eq(head + ahead),
            Assert((tail - head - count)[:len(head)] == 0),
            Assert(~chosen | (port.data == word)),
            Assert(~could | (chosen & first)),
            Assert(~before(m, leave, "left") | ~dut.o.valid),
        ]
        return m


class DispatchProof(Component):
    """Every legal instruction enters its engine's queue once; the counts are those of the engines.

    Legal: its opcode is an engine's, its fields are in the ranges of the contract.

    Members
    -------
    word, valid : In
        They stay until taken, as those of any stream.
    ready, retire : In(5)
        An engine retires only what it holds, at most one a cycle, and holds at most HELD.
    halt : In(1)
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({
            "word": In(INSTRUCTION_BITS), "valid": In(1), "halt": In(1),
            "ready": In(len(Engine)), "retire": In(len(Engine)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.dut
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            dut.instr.payload.eq(self.word), dut.instr.valid.eq(self.valid),
            dut.halt.eq(self.halt), dut.retire.eq(self.retire),
            *(dut.engines[e].ready.eq(self.ready[e]) for e in Engine),
        ]
        take = self.valid & dut.instr.ready
        held = before(m, self.valid & ~dut.instr.ready, "held")
        same = before(m, self.word, "word") == self.word
        m.d.comb += Assume(~held | (self.valid & same))

        opcode = data.View(instruction_layout(End), self.word).opcode
        known, in_range = [], []
        for cls in instruction_classes():
            fields = data.View(instruction_layout(cls), self.word)
            if cls.engine is not None:
                known.append(opcode == cls.opcode)
            in_range.append((opcode != cls.opcode) | Cat(
                (fields[f.name] >= f.lo) & (fields[f.name] <= f.hi) for f in cls.layout
            ).all())
        is_known, legal = Signal(), Signal()
        m.d.comb += [is_known.eq(Cat(known).any()), legal.eq(is_known & Cat(in_range).all())]

        entered, empty, has_room = [], [], []
        for e in Engine:
            queue = inside.blocks[e.name.lower()]
            port = queue.component
            mine = Cat(opcode == c.opcode for c in instruction_classes() if c.engine is e).any()
            enter, leave = port.i.valid & port.i.ready, port.o.valid & self.ready[e]
            entered.append(enter)
            has_room.append(mine & port.i.ready)
            flying = Signal(8, name=f"flying{e}")
            waiting = Signal(len(queue["head"]), name=f"waiting{e}")
            retired = Signal(32, name=f"retired{e}")
            m.d.sync += [
                flying.eq(flying + leave - self.retire[e]), retired.eq(retired + self.retire[e]),
            ]
            under_way = inside.signal(f"under_way_{e.name.lower()}")
            empty.append((waiting == 0) & (flying == 0))
            out = dut.engines[e]
            m.d.comb += [
                Assume(~self.retire[e] | (flying != 0)), Assume(flying <= HELD),
                waiting.eq(queue["tail"] - queue["head"]),
                Assert(~enter | (mine & take & (port.i.payload == self.word))),
                Assert((out.valid == port.o.valid) & (port.o.ready == self.ready[e])),
                Assert(out.payload == port.o.payload),
                Assert(dut.start[e] == leave),
                Assert(dut.retired[e] == retired),
                Assert(Cat(r == n[:16] for r, n in zip(port.retired, dut.retired)).all()),
                Assert(port.halt == self.halt),
                Assert(under_way == waiting + flying),
                # For the induction: what EngineQueueProof shows of a queue.
                Assert(waiting <= dut.arch.queue_depth), Assert(~port.o.valid | (waiting != 0)),
                Assert(~before(m, leave, f"left{e}") | ~port.o.valid),
            ]
        index = Signal(32)
        m.d.sync += index.eq(index + take)
        m.d.comb += [
            Assert(take == Cat(entered).any()),
            Assert(~take | (legal & ~self.halt)),
            Assert(~(held & legal & ~self.halt & Cat(has_room).any()) | take),
            Assert(dut.bad_opcode == (self.valid & ~is_known)),
            Assert(~dut.bad_field | (self.valid & ~legal)),
            Assert(~(held & is_known & ~legal) | dut.bad_field),
            Assert(dut.idle == (Cat(empty).all() & ~self.valid)),
            Assert(dut.index == index),
            # For the induction.
            Assert(inside["seen"] == held),
            Assert(~(held & is_known) | (inside["illegal"] == ~legal)),
        ]
        return m


def _queue(engine: Engine, depth: int) -> Callable[[Any], EngineQueueProof]:
    arch = replace(preset("tiny"), queue_depth=depth)
    return lambda module: EngineQueueProof(
        module.EngineQueue(arch=arch, engine=engine), dispatch.waits_met
    )


def _dispatch(depth: int) -> Callable[[Any], DispatchProof]:
    arch = replace(preset("tiny"), queue_depth=depth)
    return lambda module: DispatchProof(module.Dispatch(arch=arch))


_WAITS_MUTANTS = {
    "an engine not waited for":
        Mutant("(retired[e][:WAIT] -", "for e in Engine", "for e in list(Engine)[1:]"),
    "another engine's count": Mutant("(retired[e][:WAIT] -", "retired[e]", "retired[e - 1]"),
    "one too early": Mutant("(retired[e][:WAIT] -", "- header", "+ 1 - header"),
    "one too late": Mutant("(retired[e][:WAIT] -", "- header", "- 1 - header"),
    "half of the bits": Mutant("(retired[e][:WAIT] -", "[WAIT - 1]", "[7]"),
    "any of the waits is enough": Mutant("    ).any()", "any()", "all()"),
}

_QUEUE_MUTANTS = {
    "an instruction too many": Mutant("self.i.ready.eq(", "tail != head ^ depth", "1"),
    "offered out of order": Mutant("rp.addr.eq(head)", "head", "head ^ 1"),
    "offered twice": Mutant("waits_met(rp.data", " & ~take", ""),
    "offered before its waits are met":
        Mutant("waits_met(rp.data", "waits_met(rp.data, self.retired)", "1"),
    "the waits of the former": Mutant("waits_met(rp.data", "rp.data, self", "word, self"),
    "offered from an empty queue": Mutant("waits_met(rp.data", "(head != tail) & ", ""),
    "offered though halted": Mutant("waits_met(rp.data", " & ~self.halt", ""),
    "never gone on": Mutant("head.eq(head", "+ take", ""),
    "lost on its way in": Mutant("tail.eq(tail", "+ wp.en", "+ (wp.en & ~self.o.valid)"),
}

_DISPATCH_MUTANTS = {
    "taken while the queue is full": Mutant("accept.eq(", "queue.i.ready & ", ""),
    "into every queue": Mutant("queue.i.valid.eq(", " & route", ""),
    "taken unseen": Mutant("pass_on.eq(", "seen & ", ""),
    "an illegal field passed on": Mutant("pass_on.eq(", " & ~illegal", ""),
    "taken though halted": Mutant("pass_on.eq(", " & ~self.halt", ""),
    "a least value not looked at": Mutant("wrong = [", "< f.minimum", "< 0"),
    "the retired of another engine":
        Mutant("self.retired[e].eq(", "+ self.retire[e]", "+ self.retire[0]"),
    "under way not lowered": Mutant("accept & self.instr.valid, self", "self.retire[e]", "0"),
    "under way in one bit": Mutant("queue_depth + HELD", "self.arch.queue_depth + HELD", "1"),
    "idle with an instruction at the input":
        Mutant("self.idle.eq(", " & ~self.instr.valid", ""),
    "the index of the one before":
        Mutant("self.index.eq(", "self.instr.valid & self.instr.ready", "self.instr.valid"),
}

_QUEUE_SHOWS = (
    "an instruction is offered once, whole and in order, one cycle after it was the oldest, its "
    "waits were met and nothing halted, and never else; the queue never overflows"
)

PROOFS = [
    Proof(
        "waits", dispatch, "`dispatch.waits_met`",
        "16 bits decide `need <= done` for all five engines",
        "numbers of 20 bits", "`done - 2^15 < need <= done + 2^15`",
        lambda module: WaitsProof(module.waits_met), 1, 0, _WAITS_MUTANTS,
    ),
    *(
        Proof(
            f"queue_{engine.name.lower()}_{depth}", dispatch, "`dispatch.EngineQueue`",
            _QUEUE_SHOWS, f"{engine.name}'s instructions, depth {depth}", "nothing",
            _queue(engine, depth), depth + 3, 1, _QUEUE_MUTANTS, small=_queue(Engine.DETECT, 2),
            quick=False,
        )
        for engine, depth in ((Engine.DETECT, 2), (Engine.MAC, 16))
    ),
    Proof(
        "dispatch", dispatch, "`dispatch.Dispatch`",
        "a legal instruction, and no other, enters the queue of its engine, once, within a cycle "
        "of being seen if there is room; what has retired and what is under way is counted right, "
        "and neither count passes its end; idle means nothing under way",
        "the machine's, queues of 8",
        "the input stays until taken; an engine retires only what it holds, and holds at most "
        f"{HELD}",
        _dispatch(8), 9, 1, _DISPATCH_MUTANTS, small=_dispatch(2),
    ),
]
