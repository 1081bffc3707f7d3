"""The loops of MAC: an instruction in, one step a cycle out."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import INSTRUCTION_BITS, Arch, Mac
from falconet_hw.engine.loops import COORD, LoopNest, ViewAddress, accumulate, ring_accumulate
from falconet_hw.layout import WORD_ADDRESS, instruction_layout
from falconet_hw.stream.delay import delay

__all__ = ["MacSequencer", "MacStep"]


class MacStep(data.StructLayout):
    """What the array does in one cycle with weight word ``weight``: it holds parameters
    (``param``, word ``index`` of their block), or it is multiplied by the word at ``addr``
    (``read``) or by ``pad``. Where a word takes several steps, all but its first only ``shift``:
    they go on with the word that is there.

    ``first`` starts a sum; ``push`` ends one, which becomes the word at ``out_addr``; ``last`` is
    the instruction's last step. The rest are the instruction's constants.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "addr": WORD_ADDRESS, "read": 1, "param": 1, "index": range(arch.weight_param_words),
            "weight": range(arch.weight_words), "first": 1, "push": 1, "last": 1,
            "out_addr": WORD_ADDRESS, **({"shift": 1} if arch.word_steps > 1 else {}),
            "pad": signed(8), "zp": signed(8), "lo": signed(8), "hi": signed(8), "table": 1,
        })


class MacSequencer(wiring.Component):
    """Per output block ``P`` parameter steps, then one per product, in the order of the ISA.

    One step a cycle while ``go``; two cycles pass between the last step of an instruction and the
    first of the next, none between blocks. A step made in one cycle comes out ``LATENCY`` later.
    There is no back-pressure but ``go``.

    Members
    -------
    instr : In(stream.Signature(512))
        MAC.
    go : In(1)
        A step may be made in this cycle; should be a register.
    valid, step : Out
    """

    LATENCY = ViewAddress.LATENCY

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "go": In(1),
            "valid": Out(1),
            "step": Out(MacStep(arch)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, layout = self.arch, instruction_layout(Mac)
        fields = {f.name: layout[f.name].shape for f in Mac.fields}
        ins = Signal(data.StructLayout(fields), reset_less=True)
        widths = {name: fields[f"n_{name}"].width for name in ("ib", "kx", "ky", "x", "y", "ob")}
        parts = arch.word_steps
        if parts > 1:
            widths = {"part": parts.bit_length(), **widths}
        m.submodules.nest = nest = LoopNest(widths)
        of_sum = [name for name in widths if name not in ("x", "y", "ob")]

        # One after the other: idle, starting, then for each block params and products.
        # `occupied` is `not idle`, a second register for half of the sinks.
        idle = Signal(init=1)
        occupied = Signal()
        starting = Signal()
        params = Signal()
        products = Signal()
        param = Signal()
        product = Signal()
        index = Signal(range(arch.weight_param_words), reset_less=True)
        last_param = index == arch.weight_param_words - 1
        m.d.comb += [
            self.instr.ready.eq(idle),
            nest.start.eq(starting),
            param.eq(params & self.go),
            product.eq(products & self.go),
            nest.step.eq(product),
        ]
        m.d.comb += [getattr(nest, f"n_{n}").eq(parts if n == "part" else ins[f"n_{n}"])
                     for n in nest.widths]
        m.d.sync += starting.eq(0)
        offered = data.View(layout, self.instr.payload)
        half = len(fields) // 2
        with m.If(idle):
            m.d.sync += [ins[name].eq(offered[name]) for name in list(fields)[:half]]
        with m.If(~occupied):
            m.d.sync += [ins[name].eq(offered[name]) for name in list(fields)[half:]]
        with m.If(idle & self.instr.valid):
            m.d.sync += [idle.eq(0), occupied.eq(1), starting.eq(1)]
        with m.If(starting):
            m.d.sync += [params.eq(1), index.eq(0)]
        with m.If(param):
            m.d.sync += index.eq(index + 1)
            with m.If(last_param):
                m.d.sync += [index.eq(0), params.eq(0), products.eq(1)]
        with m.If(nest.advance_ob):
            m.d.sync += [products.eq(0), params.eq(~nest.last_ob)]
            m.d.sync += [idle.eq(nest.last_ob), occupied.eq(~nest.last_ob)]

        weight = Signal(range(arch.weight_words), reset_less=True)
        kernel = Signal.like(weight)  # of the block's first product
        push = nest.last(*of_sum)
        first = Signal(reset_less=True)
        with m.If(starting):
            m.d.sync += weight.eq(ins.w_base)
        with m.Elif(nest.advance_x & ~nest.advance_ob):
            m.d.sync += weight.eq(kernel)
        with m.Elif(param | product):
            m.d.sync += weight.eq(weight + 1)
        with m.If(param):
            m.d.sync += [kernel.eq(weight + 1), first.eq(1)]
        with m.If(product):
            m.d.sync += first.eq(push)

        def offset(name: str, level: str, step: str, **keywords: Any) -> Signal:
            return accumulate(m, nest.level(level), ins[step], name=name, **keywords)

        def row(name: str, level: str, step: str, ring: str, init: Any = 0) -> Signal:
            return ring_accumulate(
                m, nest.level(level), ins[step], ins[ring], init=init, name=name
            )

        m.submodules.view = view = ViewAddress()
        m.d.comb += [
            view.base.eq(ins.in_base), view.ring.eq(ins.in_ring),
            view.height.eq(ins.in_h), view.width.eq(ins.in_w),
            view.row0.eq(row("in_y", "y", "in_y_step", "in_ring", ins.in_row)),
            view.row1.eq(row("in_ky", "ky", "in_ky_step", "in_ring")),
            view.col0.eq(offset("in_x", "x", "in_x_step")),
            view.col1.eq(offset("in_kx", "kx", "in_kx_step")),
            view.col2.eq(offset("in_ib", "ib", "in_b_step")),
            view.y0.eq(offset("y", "y", "stride_y", shape=COORD, init=ins.iy0)),
            view.y1.eq(offset("ky", "ky", "dil_y", shape=COORD)),
            view.x0.eq(offset("x", "x", "stride_x", shape=COORD, init=ins.ix0)),
            view.x1.eq(offset("kx", "kx", "dil_x", shape=COORD)),
        ]
        out_y = row("out_y", "y", "out_y_step", "out_ring", ins.out_row)
        out_x = offset("out_x", "x", "out_x_step")
        out_b = offset("out_b", "ob", "out_b_step")
        out_row = delay(m, (ins.out_base + out_y)[:16], 1, name="out_row")
        out_col = delay(m, (out_x + out_b)[:16], 1, name="out_col")
        out_addr = delay(m, (out_row + out_col)[:16], 1, name="out_addr")

        # The constants change with an instruction's first parameters, one stage before the end.
        made = param | product
        valid = delay(m, made, self.LATENCY - 1, name="made")  # reset lasts longer
        is_param = delay(m, params, self.LATENCY - 1, name="is_param")
        constants = data.StructLayout({n: fields[n] for n in ("pad", "zp", "lo", "hi", "table")})
        held = Signal(constants, name="constants", reset_less=True)
        with m.If(valid & is_param):
            m.d.sync += [held[name].eq(ins[name]) for name in constants.members]

        step = self.step
        read = ~step.param & ~view.outside
        if parts > 1:
            goes_on = Signal(reset_less=True)
            with m.If(starting | product):
                m.d.sync += goes_on.eq(~starting & ~nest.last("part"))
            m.d.comb += step.shift.eq(delay(m, goes_on & products, self.LATENCY, name="shift"))
            read &= ~step.shift

        last = nest.last(*widths)
        m.d.comb += [
            self.valid.eq(delay(m, valid, 1, name="valid")),
            step.addr.eq(view.addr),
            step.param.eq(delay(m, is_param, 1, name="param")),
            step.read.eq(read),
            step.index.eq(delay(m, index, self.LATENCY, name="index")),
            step.weight.eq(delay(m, weight, self.LATENCY, name="weight")),
            step.first.eq(delay(m, first, self.LATENCY, name="first")),
            step.push.eq(delay(m, push & products, self.LATENCY, name="push")),
            step.last.eq(delay(m, last & products, self.LATENCY, name="last")),
            step.out_addr.eq(delay(m, out_addr, self.LATENCY - 2, name="out_addr_late")),
        ]
        m.d.comb += [step[name].eq(held[name]) for name in constants.members]
        return m
