"""The loops of WINDOW and ELTW: an instruction in, one token a cycle out."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, ResetSignal, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import INSTRUCTION_BITS, Arch, Elementwise, Window
from falconet_hw.engine.loops import COORD, LoopNest, ViewAddress, accumulate, ring_accumulate
from falconet_hw.layout import WORD_ADDRESS, instruction_layout
from falconet_hw.stream.delay import delay
from falconet_hw.vector.datapath import Token

__all__ = ["VectorLoops"]


def _settings(arch: Arch) -> data.StructLayout:
    """Fields of both instructions under the names of Window; view ``b`` is ELTW's second."""
    window, eltw = instruction_layout(Window), instruction_layout(Elementwise)
    names = [f.name for f in Window.fields] + [
        f.name for f in Elementwise.fields if f.name.startswith("b_")
    ]
    fields = {n: (window if n in dict(window) else eltw)[n].shape for n in names}
    return data.StructLayout({
        **fields, "eltw": unsigned(1), "product": unsigned(1), "ky_ring": WORD_ADDRESS,
    })


class VectorLoops(wiring.Component):
    """Runs the loops of an instruction: ``P`` parameter tokens per block, then one per product.

    A token leaves ``LATENCY`` cycles after the cycle of ``step`` in which it was made; there is
    no back-pressure: the loops stand still while ``go`` is low. Between the last token of an
    instruction and the first of the next are four empty cycles, between blocks none.

    The counters are a LoopNest; every loop has a share of each address, and ViewAddress adds the
    shares.

    Members
    -------
    instr : In(stream.Signature(512))
        WINDOW or ELTW.
    go : In(1)
        Permission to make a token in this cycle.
    step : Out(1)
        A token is made in this cycle.
    pushes : Out(1)
        It is one with ``push``.
    valid, token : Out
    """

    LATENCY = ViewAddress.LATENCY

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "go": In(1),
            "step": Out(1),
            "pushes": Out(1),
            "valid": Out(1),
            "token": Out(Token(arch)),
        })

    def _decode(self, m: Module, idle: Value, idle_too: Value) -> tuple[Signal, Value]:
        """Registers with the settings of the instruction under way, and: they are new.

        What they take up while there is no instruction does no harm; so ``instr.valid`` drives
        none of their enables.
        """
        s = Signal(_settings(self.arch), reset_less=True)
        window = data.View(instruction_layout(Window), self.instr.payload)
        eltw = data.View(instruction_layout(Elementwise), self.instr.payload)
        is_eltw = window.opcode == Elementwise.opcode
        shared = [f.name for f in Elementwise.fields]
        fixed = {
            "n_ky": 1, "n_kx": eltw.n_src, "fresh": (1 << self.arch.taps) - 1, "op": 0,
            "skip": 0, "every": 1, "w_k_step": 1,
            **{n: 0 for n in ("in_ky_step", "in_kx_step")},
        }
        for f in Window.fields:
            name = f.name.replace("in_", "a_") if f.name.startswith("in_") else f.name
            if f.name in fixed:
                value = Mux(is_eltw, fixed[f.name], window[f.name])
            elif name in shared:
                value = Mux(is_eltw, eltw[name], window[f.name])
            else:
                value = window[f.name]
            with m.If(idle if f.name.startswith("in_") else idle_too):
                m.d.sync += s[f.name].eq(value)
        with m.If(idle):
            m.d.sync += [s[n].eq(eltw[n]) for n in shared if n.startswith("b_")]
            m.d.sync += [
                s.eltw.eq(is_eltw), s.product.eq(is_eltw & eltw.product),
                s.ky_ring.eq(Mux(is_eltw, 0, window.in_ring)),
            ]
        loaded = Signal()
        m.d.sync += loaded.eq(self.instr.valid & self.instr.ready)
        return s, loaded

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Two registers of the same meaning share the sinks; the way of the reset tells them apart.
        idle = Signal(init=1)
        idle_too = Signal(init=1, reset_less=True)
        s, load = self._decode(m, idle, idle_too)
        n_params = self.arch.vector_param_words

        running = Signal()
        param = Signal(reset_less=True)
        step = self.step
        work = Signal()
        m.d.comb += [step.eq(running & self.go), work.eq(step & ~param)]
        names = ("kx", "ky", "x", "y", "b")
        m.submodules.nest = nest = LoopNest({n: len(s[f"n_{n}"]) for n in names})
        m.d.comb += [getattr(nest, f"n_{n}").eq(s[f"n_{n}"]) for n in names]
        m.d.comb += [nest.start.eq(load), nest.step.eq(work)]
        loop = {n: nest.level(n) for n in names}
        column_end = loop["x"].advance
        row_end = loop["y"].advance
        block_end = loop["b"].advance
        done = block_end & nest.last_b

        # Three cycles until the last tokens have left the stages that look at the settings.
        drain = Signal(2)
        m.d.sync += drain.eq(Cat(done, drain[0]))
        with m.If(load | done):
            m.d.sync += running.eq(load)
        still_idle = Mux(idle, ~self.instr.valid, drain[1])
        m.d.sync += [idle.eq(still_idle), idle_too.eq(still_idle | ResetSignal())]
        m.d.comb += self.instr.ready.eq(idle)

        # Weights: words of parameters, then of taps; which of a window, and of the block.
        word = Signal(range(self.arch.vector_words), reset_less=True)
        last_param = Signal(reset_less=True)
        with m.If(load | block_end):
            m.d.sync += [word.eq(0), param.eq(1), last_param.eq(n_params == 1)]
        with m.Elif(column_end):
            m.d.sync += word.eq(n_params)
        with m.Elif(step):
            m.d.sync += [
                word.eq(word + (param | s.w_k_step)),
                param.eq(param & ~last_param), last_param.eq(word == n_params - 2),
            ]

        first = Signal(reset_less=True)
        with m.If(load | work):
            m.d.sync += first.eq(load | nest.last("kx", "ky"))

        # Columns that give no output: `skip` at first, then all but one of `every`.
        wait = Signal(3, reset_less=True)
        emits = Signal()
        m.d.comb += emits.eq(wait == 0)
        with m.If(load | row_end):
            m.d.sync += wait.eq(s.skip)
        with m.Elif(column_end):
            m.d.sync += wait.eq(Mux(emits, s.every - 1, wait - 1))

        def view(name: str) -> tuple[Signal, Signal]:
            """Offsets of the block (with the base) and the row of a view."""
            return (
                accumulate(m, loop["b"], s[f"{name}_b_step"], init=s[f"{name}_base"],
                           name=f"{name}_b"),
                ring_accumulate(m, loop["y"], s[f"{name}_y_step"], s[f"{name}_ring"],
                                init=s[f"{name}_row"], name=f"{name}_y"),
            )

        a_block, a_row = view("in")
        b_block, b_row = view("b")
        a_col, b_col = (
            accumulate(m, loop["x"], s[f"{name}_x_step"], name=f"{name}_x") for name in ("in", "b")
        )
        second = s.eltw & ~first
        m.submodules.operand = operand = ViewAddress()
        m.d.comb += [
            operand.base.eq(Mux(second, b_block, a_block)),
            operand.row0.eq(Mux(second, b_row, a_row)),
            operand.col0.eq(Mux(second, b_col, a_col)),
            operand.row1.eq(ring_accumulate(
                m, loop["ky"], s.in_ky_step, s.in_ring, name="in_ky",
            )),
            operand.col1.eq(accumulate(m, loop["kx"], s.in_kx_step, name="in_kx")),
            operand.ring.eq(s.ky_ring), operand.height.eq(s.in_h), operand.width.eq(s.in_w),
        ]
        for port, name, step_of, start in (
            (operand.y0, "y", "stride_y", s.iy0), (operand.y1, "ky", "dil_y", 0),
            (operand.x0, "x", "stride_x", s.ix0), (operand.x1, "kx", "dil_x", 0),
        ):
            m.d.comb += port.eq(accumulate(
                m, loop[name], s[step_of], shape=COORD, init=start, name=f"place_{name}",
            ))

        out_block, out_row = view("out")
        out_col = Signal(WORD_ADDRESS, reset_less=True)
        with m.If(load | row_end):
            m.d.sync += out_col.eq(0)
        with m.Elif(column_end & emits):
            m.d.sync += out_col.eq(out_col + s.out_x_step)
        m.submodules.result = result = ViewAddress()
        m.d.comb += [
            result.base.eq(out_block), result.row0.eq(out_row), result.col0.eq(out_col),
            result.ring.eq(0),
        ]

        weight_b = accumulate(m, loop["b"], s.w_b_step, shape=word.shape(), init=s.w_base,
                              name="weight_b")
        weight_sum = Signal.like(word, reset_less=True)
        m.d.sync += weight_sum.eq(weight_b + word)

        def late(value: Any, name: str, cycles: int = self.LATENCY) -> Value:
            return delay(m, value, cycles, name=name)

        end = ~param & nest.last("kx", "ky")
        final = end & nest.last("x", "y", "b")
        t = self.token
        m.d.comb += [
            t.addr.eq(operand.addr),
            t.read.eq(~t.param & (s.eltw | ~operand.outside)),
            t.param.eq(late(param, "param")),
            t.first.eq(late(first & ~param, "first")),
            self.pushes.eq(end & emits | final),
            t.push.eq(late(self.pushes, "push")),
            t.write.eq(late(end & emits, "write")),
            t.last.eq(late(final, "last")),
            t.index.eq(late(word[: len(t.index)], "index")),
            t.weight.eq(late(weight_sum, "weight", self.LATENCY - 1)),
            t.out_addr.eq(result.addr),
            t.fresh.eq(s.fresh), t.max.eq(s.op), t.digits.eq(s.eltw),
            t.product.eq(s.product),
            t.pad.eq(s.pad), t.zp.eq(s.zp), t.lo.eq(s.lo), t.hi.eq(s.hi), t.table.eq(s.table),
            self.valid.eq(delay(m, step, self.LATENCY, name="valid", reset=True)),
        ]
        return m
