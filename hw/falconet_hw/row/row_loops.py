"""The loops of ROW: an instruction in, a token for each word of each pass out."""

from __future__ import annotations

import enum
from typing import Any

from amaranth import Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import INSTRUCTION_BITS, Arch, Row, RowMode
from falconet_hw.engine.loops import Level, LoopNest, accumulate, ring_accumulate
from falconet_hw.layout import WORD_ADDRESS, instruction_layout
from falconet_hw.vector.token import Token

__all__ = ["Pass", "RowLoops", "RowSettings"]


class Pass(enum.IntEnum):
    """Ways over the words of a pixel; a row token's ``index``."""

    LARGEST = 0
    SUMS = 1
    APPLY = 2


class RowSettings(data.StructLayout):
    """The fields of the instruction under way."""

    def __init__(self) -> None:
        row = instruction_layout(Row)
        super().__init__({f.name: row[f.name].shape for f in Row.fields})


class RowLoops(wiring.Component):
    """Runs the passes of an instruction, a pixel after the other.

    Of a softmax these are LARGEST, SUMS, APPLY, of a norm SUMS and APPLY; before APPLY comes the
    first pass of the pixel ahead, so that its statistics are worked out meanwhile. A token is made
    in each cycle of ``go`` but for a few before each pass; it leaves a cycle after ``step``.

    Before the first pass comes a token that is no row's: it makes the lanes' maxima 0, so that
    their accumulators add nothing to what the row unit puts beside them.

    Members
    -------
    instr : In(stream.Signature(512))
        ROW. Ready while ``idle``.
    idle : Out(1)
        A register: no instruction is under way; all results of the last one are on their way out.
    go : In(1)
        Permission to make a token in this cycle.
    top : In(1)
        The largest value of the pixel is there.
    ready : In(1)
        What APPLY needs is there.
    used : In(1)
        APPLY of a pixel needs nothing any more.
    finished : In(1)
        The last result of an instruction.
    step, pushes, valid, token : Out
        As of VectorLoops.
    settings : Out(RowSettings())
        Stable from the first token until ``idle``.
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "idle": Out(1, init=1),
            "go": In(1), "top": In(1), "ready": In(1), "used": In(1), "finished": In(1),
            "step": Out(1), "pushes": Out(1), "valid": Out(1),
            "token": Out(Token(arch)),
            "settings": Out(RowSettings()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = Signal(RowSettings(), reset_less=True)
        row = data.View(instruction_layout(Row), self.instr.payload)
        # Registers of the same meaning share the sinks; the way of the reset tells them apart.
        idle_too = Signal(init=1, reset_less=True)
        for k, f in enumerate(Row.fields):
            with m.If(idle_too if k % 2 else self.idle):
                m.d.sync += s[f.name].eq(row[f.name])
        m.d.comb += self.settings.eq(s)

        softmax = Signal(reset_less=True)
        m.d.sync += softmax.eq(s.mode == RowMode.SOFTMAX)
        first_pass = Mux(softmax, Pass.LARGEST, Pass.SUMS)

        load = Signal()
        forward = Signal()
        m.submodules.nest = nest = LoopNest({"x": len(s.n_x), "y": len(s.n_y)})
        m.d.comb += [
            nest.n_x.eq(s.n_x), nest.n_y.eq(s.n_y), nest.start.eq(load), nest.step.eq(forward),
        ]
        column = Level(load, nest.advance_x, nest.last_x)
        line = Level(load, nest.advance_y, nest.last_y)

        def pixel(name: str) -> Signal:
            """Address of the pixel ahead, three cycles after the nest."""
            along = accumulate(m, column, s[f"{name}_x_step"], name=f"{name}_x")
            down = ring_accumulate(m, line, s[f"{name}_y_step"], s[f"{name}_ring"],
                                   init=s[f"{name}_row"], name=f"{name}_y")
            start = Signal(WORD_ADDRESS, name=f"{name}_start", reset_less=True)
            found = Signal(WORD_ADDRESS, name=f"{name}_pixel", reset_less=True)
            m.d.sync += [start.eq(s[f"{name}_base"] + down), found.eq(start + along)]
            return found

        ahead_in = pixel("in")
        ahead_out = pixel("out")
        here_in = Signal(WORD_ADDRESS, reset_less=True)
        here_out = Signal(WORD_ADDRESS, reset_less=True)
        here_last = Signal(reset_less=True)  # pixel
        more = Signal(reset_less=True)  # the pixel ahead exists
        prologue = Signal(reset_less=True)  # nothing has been applied yet

        kind = Signal(Pass, reset_less=True)
        addr = Signal(WORD_ADDRESS, reset_less=True)
        out_addr = Signal(WORD_ADDRESS, reset_less=True)
        weight = Signal(range(self.arch.vector_words), reset_less=True)
        left = Signal(len(s.n_b), reset_less=True)
        last_word = Signal(reset_less=True)
        first_word = Signal(reset_less=True)
        awaited = Signal()  # an APPLY's ``used``
        settle = Signal(3, reset_less=True)
        opening = Signal()
        drains = Signal()

        with m.If(self.used):
            m.d.sync += awaited.eq(0)

        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.comb += self.instr.ready.eq(1)
                with m.If(self.instr.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                # Two cycles for what is computed of the settings.
                m.d.sync += settle.eq(Cat(1, settle))
                with m.If(settle[-1]):
                    m.d.comb += load.eq(1)
                    m.d.sync += [settle.eq(0), more.eq(1), prologue.eq(1), awaited.eq(0)]
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += opening.eq(1)
                m.d.comb += self.step.eq(self.go)
                m.d.sync += kind.eq(first_pass)
                with m.If(self.go):
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settle.eq(Cat(1, settle))
                with m.If(settle[-1]):
                    m.d.sync += settle.eq(0)
                    m.next = "GATE"
            with m.State("GATE"):
                is_ahead = kind == first_pass
                m.d.sync += [
                    addr.eq(Mux(is_ahead, ahead_in, here_in)), out_addr.eq(here_out),
                    weight.eq(s.w_base), left.eq(s.n_b), last_word.eq(s.n_b == 1),
                    first_word.eq(1),
                ]
                with m.If(Mux(kind == Pass.APPLY, self.ready & ~awaited, is_ahead | self.top)):
                    m.next = "ISSUE"
            with m.State("ISSUE"):
                m.d.comb += self.step.eq(self.go)
                with m.If(self.go):
                    m.d.sync += [
                        addr.eq(addr + s.in_b_step), out_addr.eq(out_addr + s.out_b_step),
                        weight.eq(weight + s.w_b_step), left.eq(left - 1),
                        last_word.eq(left == 2), first_word.eq(0),
                    ]
                    with m.If(last_word):
                        m.next = "NEXT"
            with m.State("NEXT"):
                at_apply = kind == Pass.APPLY
                at_sums = softmax & (kind == Pass.SUMS)
                with m.If(at_apply):
                    m.d.sync += awaited.eq(1)
                with m.If(at_apply & here_last):
                    m.next = "DRAIN"
                with m.Elif(at_apply | prologue):
                    m.d.comb += forward.eq(1)
                    m.d.sync += [
                        prologue.eq(0), here_in.eq(ahead_in), here_out.eq(ahead_out),
                        here_last.eq(nest.last("x", "y")), more.eq(~nest.last("x", "y")),
                        kind.eq(Mux(softmax | ~nest.last("x", "y"), Pass.SUMS, Pass.APPLY)),
                    ]
                    m.next = "SETTLE"
                with m.Else():
                    m.d.sync += kind.eq(Mux(at_sums & more, Pass.LARGEST, Pass.APPLY))
                    m.next = "SETTLE"
            with m.State("DRAIN"):
                m.d.comb += drains.eq(1)
                with m.If(self.finished):
                    m.next = "IDLE"

        applies = (kind == Pass.APPLY) & ~opening
        made = {
            "addr": addr, "out_addr": out_addr, "weight": weight,
            "row": ~opening, "read": ~opening, "first": opening | first_word,
            "index": kind, "tail": last_word, "push": applies, "write": applies,
            "last": applies & last_word & here_last, "shared": softmax,
            "zp": s.zp, "lo": s.lo, "hi": s.hi, "table": s.table,
        }
        for name, value in made.items():
            made_field = Signal(Token(self.arch)[name].shape, name=f"token_{name}", reset_less=True)
            m.d.sync += made_field.eq(value)
            m.d.comb += self.token[name].eq(made_field)
        m.d.sync += self.valid.eq(self.step)
        m.d.comb += self.token.max.eq(1)
        m.d.comb += self.pushes.eq(applies)
        still_idle = Mux(self.idle, ~(self.instr.valid & self.instr.ready),
                         drains & self.finished)
        m.d.sync += [self.idle.eq(still_idle), idle_too.eq(still_idle | ResetSignal())]
        return m
