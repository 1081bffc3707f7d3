"""Machine control: START, RESET, the end of a program, the first error, cycle counters."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from falconet.isa import Engine, Status
from falconet_hw.dma.axi import ErrorLayout

__all__ = ["Counters", "MachineControl"]


class MachineControl(Component):
    """The state of the machine as a whole.

    START and RESET begin in the same way: ``stop`` holds the AXI masters until no transaction is
    outstanding, then ``clear`` resets everything but this block and the registers, for 32 cycles;
    32 cycles later the machine is idle, or ``go`` begins the program. START is ignored while a
    program runs or an error is being dealt with; written right after RESET, it is remembered.

    A program ends with DONE when it is ``finished`` and the masters are quiet. The first error
    raises ``stop``; ERROR appears once the masters are quiet, so that from then on the machine
    touches no memory. Of errors that appear in the same cycle the first source counts.

    Parameters
    ----------
    n_sources: int
        Blocks that can fail.

    Members
    -------
    start, reset: In(1)
        Pulses from the registers.
    errors: In(ErrorLayout()).array(n_sources)
        Their ``address`` is what goes to ERROR_INFO.
    quiet: In(1)
        No AXI transaction is outstanding; may be as much as 4 cycles late.
    finished: In(1)
        All instructions have retired.
    stop: Out(1)
        Raise no more AXI addresses, hand out no more instructions.
    clear: Out(1)
        Reset; ``stop`` is high at the same time.
    go: Out(1)
        One cycle: fetch the program.
    running: Out(1)
        From ``go`` to DONE or the first error.
    status, error_code, error_info: Out(32)
    """

    def __init__(self, *, n_sources: int) -> None:
        super().__init__({
            "start": In(1),
            "reset": In(1),
            "errors": In(ErrorLayout()).array(n_sources),
            "quiet": In(1),
            "finished": In(1),
            "stop": Out(1, init=1),
            "clear": Out(1),
            "go": Out(1),
            "running": Out(1),
            "status": Out(32),
            "error_code": Out(32),
            "error_info": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        errors = [data.View(ErrorLayout(), e) for e in self.errors]
        pending = Signal()
        failed = Signal()
        done = Signal()
        error = Signal()
        code = Signal(4)
        info = Signal(32)
        count = Signal(6)
        busy = Signal()
        m.d.comb += [
            self.status.eq(
                busy * Status.BUSY.value | done * Status.DONE.value | error * Status.ERROR.value
            ),
            self.error_code.eq(code), self.error_info.eq(info),
        ]
        m.d.sync += [self.go.eq(0), self.clear.eq(0), count.eq(count + 1)]

        def forget() -> None:
            m.d.sync += [
                done.eq(0), error.eq(0), code.eq(0), info.eq(0), failed.eq(0), busy.eq(1),
                self.running.eq(0), self.stop.eq(1), count.eq(0),
            ]

        with m.FSM(init="CLEAR"):
            with m.State("IDLE"):
                with m.If(self.start | self.reset):
                    forget()
                    m.d.sync += pending.eq(self.start)
                    m.next = "STOP"
            with m.State("STOP"):
                with m.If(count[3] & self.quiet):
                    m.d.sync += count.eq(0)
                    m.next = "CLEAR"
                    with m.If(failed):
                        m.d.sync += [error.eq(1), busy.eq(0)]
                        m.next = "IDLE"
                with m.Elif(count[3]):
                    m.d.sync += count.eq(count)
                with m.If(self.reset):
                    forget()
                    m.d.sync += pending.eq(0)
                    m.next = "STOP"
                with m.Elif(self.start & ~failed):
                    m.d.sync += pending.eq(1)
            with m.State("CLEAR"):
                m.d.sync += [self.clear.eq(~count[5]), self.stop.eq(1), busy.eq(1)]
                with m.If(self.start | self.reset):
                    m.d.sync += pending.eq(self.start)
                with m.If(count.all()):
                    m.d.sync += [self.stop.eq(0), busy.eq(0)]
                    m.next = "IDLE"
                    with m.If((pending | self.start) & ~self.reset):
                        m.d.sync += [
                            pending.eq(0), self.go.eq(1), self.running.eq(1), busy.eq(1),
                        ]
                        m.next = "RUN"
            with m.State("RUN"):
                with m.If(self.finished & self.quiet):
                    m.d.sync += [done.eq(1), busy.eq(0), self.running.eq(0)]
                    m.next = "IDLE"
                for e in reversed(errors):
                    with m.If(e.valid):
                        m.d.sync += [code.eq(e.code), info.eq(e.address)]
                with m.If(Cat(e.valid for e in errors).any()):
                    m.d.sync += [
                        failed.eq(1), done.eq(0), busy.eq(1), self.running.eq(0),
                        self.stop.eq(1), count.eq(0),
                    ]
                    m.next = "STOP"
                with m.If(self.reset):
                    forget()
                    m.next = "STOP"
        return m


class Counters(Component):
    """CYCLES and BUSY of each engine.

    Members
    -------
    running: In(1)
    busy: In(5)
        One bit for each ``Engine``.
    cycles: Out(32)
        Cycles since reset in which ``running`` was high.
    busy_cycles: Out(32).array(5)
        And those in which ``busy`` was high a cycle before.
    """

    def __init__(self) -> None:
        super().__init__({
            "running": In(1),
            "busy": In(len(Engine)),
            "cycles": Out(32),
            "busy_cycles": Out(32).array(len(Engine)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy = Signal.like(self.busy)
        m.d.sync += [
            self.cycles.eq(self.cycles + self.running),
            busy.eq(self.busy),
            *(c.eq(c + (self.running & busy[e])) for e, c in enumerate(self.busy_cycles)),
        ]
        return m
