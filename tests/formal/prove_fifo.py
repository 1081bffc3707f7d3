"""Queues neither lose nor duplicate nor reorder."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib.wiring import Component, In

from falconet_hw.stream import fifo
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import assert_steady

__all__ = ["PROOFS", "QueueProof"]

_WIDTH = 8


class QueueProof(Component):
    """An entry chosen by ``pick`` leaves once, as it came, after all before and no other.

    Entries that are inside are counted. With ``n`` of them before it, the chosen one leaves as the
    one after those ``n``; nothing leaves an empty queue, and a queue is never fuller than
    ``capacity``. It refuses only when it is full, and offers at most ``latency`` cycles after
    something entered.

    Members
    -------
    entry, valid, ready : In
        What the queue gets.
    pick : In(1)
        The entry that enters in this cycle is the chosen one.
    """

    def __init__(self, queue: Any, *, capacity: int, latency: int) -> None:
        self.queue, self.capacity, self.latency = queue, capacity, latency
        super().__init__({"entry": In(_WIDTH), "valid": In(1), "ready": In(1), "pick": In(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.queue
        inside = Inside(dut)
        m.submodules.dut = inside.module
        enter, leave = Signal(), Signal()
        m.d.comb += [
            dut.i.payload.eq(self.entry), dut.i.valid.eq(self.valid), dut.o.ready.eq(self.ready),
            enter.eq(self.valid & dut.i.ready), leave.eq(dut.o.valid & self.ready),
        ]
        count = Signal(range(self.capacity + 1))
        chosen, ahead, entry = Signal(), Signal.like(count), Signal(_WIDTH)
        m.d.sync += count.eq(count + enter - leave)
        with m.If(chosen & leave):
            m.d.sync += [ahead.eq(ahead - 1), chosen.eq(ahead != 0)]
        with m.If(enter & self.pick & ~chosen):
            m.d.sync += [chosen.eq(1), entry.eq(self.entry), ahead.eq(count - leave)]
        empty = Signal(range(8))
        m.d.sync += empty.eq(Mux((count != 0) & ~dut.o.valid, empty + 1, 0))
        m.d.comb += [
            Assert(count <= self.capacity),
            Assert(~dut.o.valid | (count != 0)),
            Assert(~(chosen & (ahead == 0) & dut.o.valid) | (dut.o.payload == entry)),
            Assert(~chosen | (ahead < count)),
            Assert(dut.i.ready | (count >= self.capacity - 1)),
            Assert(empty < self.latency),
        ]
        assert_steady(m, dut.o.valid, self.ready, dut.o.payload, "o")
        self._invariant(m, inside, count, chosen, ahead, entry, empty)
        return m

    def _invariant(
        self, m: Module, inside: Inside, count: Any, chosen: Any, ahead: Any, entry: Any, empty: Any
    ) -> None:
        """Where the chosen entry is."""
        valid = self.queue.o.valid
        if "memory" not in inside.module._named_submodules:
            spare = inside["spare_valid"]
            m.d.comb += [
                Assert(count == valid + spare), Assert(~spare | valid),
                Assert(~(chosen & (ahead == 1)) | (inside["spare"] == entry)),
                Assert(empty == 0),
            ]
            return
        port = inside["memory"].read_port(domain="comb")
        wp, rp, level = inside["wp"], inside["rp"], inside["level"]
        m.d.comb += [
            port.addr.eq(rp.addr + ahead - valid),
            Assert(count == level + valid),
            Assert(level <= self.queue.depth),
            Assert(self.queue.level == level),
            Assert((wp.addr - rp.addr - level)[:len(wp.addr)] == 0),
            Assert(~(chosen & ~(valid & (ahead == 0))) | (port.data == entry)),
            Assert((empty == 0) | valid),
        ]


def _fifo(depth: int) -> Any:
    return lambda module: QueueProof(
        module.Fifo(_WIDTH, depth=depth), capacity=depth + 1, latency=2
    )


_FIFO_MUTANTS = {
    "an entry too many": Mutant("self.i.ready.eq(~level", "~level[exact_log2(self.depth)]", "1"),
    "takes from an empty memory": Mutant("pop.eq(", "level.any() & ", ""),
    "takes when nobody has taken": Mutant("pop.eq(", "(~self.o.valid | self.o.ready)", "1"),
    "the level not lowered": Mutant("level.eq(level", " - pop", ""),
    "writes in one place": Mutant("wp.addr.eq(", "+ push", ""),
    "reads in one place": Mutant("rp.addr.eq(", "+ pop", ""),
    "offers twice": Mutant("m.d.sync += self.o.valid.eq(0)", "eq(0)", "eq(self.o.valid)"),
    "offers what was never there": Mutant("m.d.sync += self.o.valid.eq(0)", "eq(0)", "eq(1)"),
}

_SLICE_MUTANTS = {
    "takes what it has no room for": Mutant("self.i.ready.eq(", "~spare_valid", "1"),
    "the spare entry overwritten": Mutant("with m.If(~spare_valid):", "~spare_valid", "1"),
    "the spare entry lost": Mutant(
        "self.o.valid.eq(self.i.valid", "self.i.valid | spare_valid", "self.i.valid"),
    "the spare entry twice": Mutant("spare_valid.eq(0)", "eq(0)", "eq(spare_valid)"),
    "an entry lost while it waits": Mutant(
        "spare_valid.eq(self.i.valid", "self.i.valid | spare_valid", "spare_valid"),
    "out of order": Mutant("with m.If(spare_valid):", "spare_valid", "~spare_valid"),
    "changed while it waits": Mutant(
        "with m.If(~self.o.valid |", "~self.o.valid | self.o.ready", "~spare_valid"),
}

_SHOWS = (
    "an entry leaves once, unchanged, in order; nothing else leaves; never more than fit; refuses "
    "only when full; an offer stays until taken"
)

PROOFS = [
    *(
        Proof(
            f"fifo_{depth}", fifo, "`fifo.Fifo`", _SHOWS, f"depth {depth}, entries of 8 bits",
            "nothing", _fifo(depth), 2 * depth + 4, 1, _FIFO_MUTANTS, quick=depth == 4,
            small=_fifo(2),
        )
        for depth in (4, 16, 32)
    ),
    Proof(
        "slice_8", fifo, "`fifo.RegisterSlice`", _SHOWS, "entries of 8 bits", "nothing",
        lambda module: QueueProof(module.RegisterSlice(_WIDTH), capacity=2, latency=1),
        6, 1, _SLICE_MUTANTS,
    ),
]
