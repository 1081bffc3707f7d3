"""The machine is reset, and an error told, only while nothing is on the buses; its counters."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert
from amaranth.lib.wiring import Component, In

from falconet.isa import Engine, Status
from falconet_hw.control import run
from falconet_hw.dma.axi import ErrorLayout
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import before

__all__ = ["PROOFS", "ControlProof", "CountersProof"]

_LATE = 8  # cycles; more than `quiet` can be late


class ControlProof(Component):
    """``clear`` and the begin of ERROR come only when it is safe, and ``stop`` is high with both.

    Safe: since ``stop`` rose, ``quiet`` has been seen in a cycle before which ``stop`` was high for
    8 cycles; or the whole machine has just been reset from outside.

    Members
    -------
    start, reset, quiet, finished : In(1)
    error : In(ErrorLayout())
        Of any block.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        bit = In(1)
        super().__init__({
            "start": bit, "reset": bit, "quiet": bit, "finished": bit, "error": In(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.dut
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [
            dut.start.eq(self.start), dut.reset.eq(self.reset), dut.quiet.eq(self.quiet),
            dut.finished.eq(self.finished), dut.errors[0].eq(self.error.as_value()),
        ]
        stopped, safe = Signal(range(_LATE + 1)), Signal(init=1)
        m.d.sync += stopped.eq(Mux(dut.stop, stopped + (stopped != _LATE), 0))
        with m.If(~dut.stop):
            m.d.sync += safe.eq(0)
        with m.Elif((stopped == _LATE) & self.quiet):
            m.d.sync += safe.eq(1)
        failed = (dut.status & Status.ERROR) != 0
        m.d.comb += [
            Assert(~dut.clear | (dut.stop & safe)),
            Assert(~failed | before(m, failed, "failed") | (dut.stop & safe)),
            Assert(~dut.go | ~dut.stop),
        ]
        # For the induction.
        stopping, clearing = inside.in_state("STOP"), inside.in_state("CLEAR")
        count = inside["count"]
        m.d.comb += [
            Assert(~stopping | (dut.stop & (count <= _LATE) & (stopped >= count))),
            Assert(~clearing | (dut.stop & safe)),
            Assert(~dut.clear | (clearing & (count <= 32))), Assert(stopped <= _LATE),
        ]
        return m


class CountersProof(Component):
    """Each counter is how often its condition was true, modulo 2**32.

    Members
    -------
    running : In(1)
    busy : In(5)
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({"running": In(1), "busy": In(len(Engine))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [dut.running.eq(self.running), dut.busy.eq(self.busy)]
        busy = before(m, self.busy, "busy")
        for name, found, counts in (
            ("cycles", dut.cycles, self.running),
            *((f"busy{e}", found, self.running & busy[e])
              for e, found in enumerate(dut.busy_cycles)),
        ):
            expected = Signal(32, name=f"expected_{name}")
            with m.If(counts):
                m.d.sync += expected.eq(expected + 1)
            m.d.comb += Assert(found == expected)
        return m


PROOFS = [
    Proof(
        "control", run, "`control.run.MachineControl`",
        "`clear` resets the blocks, and ERROR begins, only while `stop` is high and after `quiet` "
        "was seen at least 8 cycles after `stop` rose",
        "the machine's, one source of errors", "nothing",
        lambda module: ControlProof(module.MachineControl(n_sources=1)), 80, 1,
        {
            "does not wait for quiet": Mutant("with m.If(count[3] &", " & self.quiet", ""),
            "takes quiet too early": Mutant("with m.If(count[3] &", "count[3] & ", ""),
            "waits 4 cycles": Mutant("with m.If(count[3] &", "count[3]", "count[2]"),
            "does not stop":
                Mutant("self.running.eq(0), self.stop", "self.stop.eq(1)", "self.stop.eq(0)"),
            "goes on while it clears":
                Mutant("self.clear.eq(~count[5])", "stop.eq(1)", "stop.eq(0)"),
            "an error told at once":
                Mutant("failed.eq(1), done.eq(0)", "done.eq(0)", "error.eq(1)"),
            "clears at the end of a program":
                Mutant("done.eq(1), busy.eq(0)", "done.eq(1)", "self.clear.eq(1)"),
        },
    ),
    Proof(
        "counters", run, "`control.run.Counters`",
        "CYCLES counts while `running`, BUSY of each engine while it was `busy` a cycle before, "
        "modulo 2^32", "the machine's", "nothing",
        lambda module: CountersProof(module.Counters()), 6, 1,
        {
            "always": Mutant("self.cycles.eq(", "self.cycles + self.running", "self.cycles + 1"),
            "never": Mutant("self.cycles.eq(", "self.cycles + self.running", "self.cycles"),
            "only the odd": Mutant("self.cycles.eq(", "+ self.running", "| self.running"),
            "busy before it runs": Mutant("*(c.eq(", "self.running & ", ""),
            "busy or not": Mutant("*(c.eq(", " & busy[e]", ""),
            "of another engine": Mutant("*(c.eq(", "busy[e]", "busy[e - 1]"),
            "a cycle early": Mutant("*(c.eq(", "busy[e]", "self.busy[e]"),
        },
    ),
]
