"""ROW's divider, root and product give what arithmetic does; its passes come in order."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import Component, In

from falconet.isa import INSTRUCTION_BITS, Row, RowMode, preset
from falconet_hw.layout import WORD_ADDRESS, instruction_layout
from falconet_hw.row import row_loops, scalars
from formal.inside import Inside
from formal.proof import Mutant, Proof
from formal.streams import before

__all__ = ["PROOFS", "DividerProof", "LoopsProof", "ProductProof"]

_GHOST = 52


class DividerProof(Component):
    """``quotient * divisor + rest`` is what was set, times ``2**steps``; of a root its square.

    Members
    -------
    set, rest, divisor, step, root, pair : In
        As of the divider.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({
            "set": In(1), "rest": In(len(dut.rest)), "divisor": In(len(dut.divisor)),
            "step": In(1), "root": In(1), "pair": In(2),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.dut
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [getattr(dut, name).eq(getattr(self, name))
                     for name in ("set", "rest", "divisor", "step", "root", "pair")]

        begun, root, divisor = Signal(), Signal(), Signal.like(self.divisor)
        given, product, count = Signal(_GHOST), Signal(_GHOST), Signal(5)
        steps = self.step & ~self.set
        most = Mux(root, 24, 28)
        m.d.comb += [
            Assume(~self.set | self.root | (self.rest < self.divisor)),
            Assume(~(self.set & self.root) | (self.rest == 0)),
            Assume(begun | ~steps), Assume(~steps | (self.root == root)),
            Assume(~steps | (count < most)),
        ]
        with m.If(self.set):
            m.d.sync += [begun.eq(1), root.eq(self.root), divisor.eq(self.divisor),
                         given.eq(self.rest), count.eq(0)]
        with m.Elif(steps):
            m.d.sync += [given.eq(Mux(root, Cat(self.pair, given), given << 1)),
                         count.eq(count + 1)]

        # quotient * divisor, or quotient**2, by the bit that came last.
        former = before(m, dut.quotient, "quotient")
        stepped = before(m, steps, "steps")
        bit = dut.quotient[0]
        divides = (product << 1) + Mux(bit, divisor, 0)
        squares = (product << 2) + Mux(bit, (former << 2) + 1, 0)
        now = Signal(_GHOST)
        m.d.comb += now.eq(Mux(stepped, Mux(root, squares, divides), product))
        m.d.sync += product.eq(Mux(self.set, 0, now))

        rest = inside["rest"]
        fresh = before(m, self.set, "set")
        whole = (now + rest)[:_GHOST]
        for name, holds in {
            "bits": ~begun | fresh | Mux(stepped, dut.quotient[1:] == former[:-1],
                                         dut.quotient == former),
            "nothing yet": ~fresh | ((dut.quotient == 0) & (product == 0)),
            "whole": ~begun | (whole == given),
            "rest": ~begun | Mux(root, rest <= dut.quotient << 1, rest < divisor),
            "divisor": ~begun | root | (inside["divisor"] == divisor),
            "narrow": ~begun | ((dut.quotient >> count) == 0),
            "count": count <= most, "first": ~stepped | begun, "set": ~fresh | begun,
            "new": ~(fresh & stepped),
        }.items():
            flag = Signal(name=name.replace(" ", "_"))
            m.d.comb += [flag.eq(holds), Assert(flag)]
        return m


class ProductProof(Component):
    """``total`` is what a multiplier gives, whenever it is not busy; any order of commands."""

    def __init__(self, dut: Any) -> None:
        self.dut, bits = dut, len(dut.total)
        super().__init__({
            "set": In(1), "value": In(bits), "start": In(1), "x": In(bits),
            "y": In(len(dut.y)), "minus": In(1), "shift2": In(1), "shift8": In(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, bits = self.dut, len(self.dut.total)
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [getattr(dut, name).eq(getattr(self, name)) for name in (
            "set", "value", "start", "x", "y", "minus", "shift2", "shift8")]
        commands = self.set | self.start | self.shift2 | self.shift8
        wanted, begun, busy_for = Signal(bits), Signal(), Signal(5)
        m.d.comb += [Assume(~commands | ~dut.busy), Assume(begun | ~commands | self.set)]
        first = Mux(self.set, self.value,
                    Mux(self.shift8, wanted << 8, Mux(self.shift2, wanted << 2, wanted)))[:bits]
        product = self._times(self.x, self.y)
        m.d.sync += [
            begun.eq(begun | self.set), busy_for.eq(Mux(dut.busy, busy_for + 1, 0)),
            wanted.eq(first + Mux(self.start, Mux(self.minus, -product, product), 0)),
        ]
        left = self._times(inside["x"], inside["y"])
        still = (dut.total + Mux(inside["minus"], -left, left))[:bits]
        for name, holds in {
            "total": ~begun | dut.busy | (dut.total == wanted),
            "still to come": ~begun | (still == wanted),
            "ends": (inside["y"] << busy_for) < 1 << len(dut.y),
            "in time": busy_for <= len(dut.y),
            "begun": begun | ~dut.busy,
        }.items():
            flag = Signal(name=name.replace(" ", "_"))
            m.d.comb += [flag.eq(holds), Assert(flag)]
        return m


    def _times(self, x: Value, y: Value) -> Value:
        """As a solver likes it."""
        n = len(self.dut.total)
        total: Value = Const(0, n)
        for i in range(len(y)):
            total = (total + Mux(y[i], x << i, 0))[:n]
        return total


class LoopsProof(Component):
    """Each token is the next one of the passes' order, and made only when it may be.

    Members
    -------
    instr, go, top, ready, used, finished : In
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        super().__init__({
            "instr": In(INSTRUCTION_BITS),
            **{name: In(1) for name in ("go", "top", "ready", "used", "finished")},
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.dut
        inside = Inside(dut)
        m.submodules.dut = inside.module
        ins = data.View(instruction_layout(Row), self.instr)
        later = before(m, 1, "later")
        same = before(m, self.instr, "instr") == self.instr
        m.d.comb += [
            dut.instr.payload.eq(self.instr), dut.instr.valid.eq(1), dut.go.eq(self.go),
            dut.top.eq(self.top), dut.ready.eq(self.ready), dut.used.eq(self.used),
            dut.finished.eq(self.finished), Assume(~later | same),
            Assume((ins.n_b == 1) | (ins.n_b == 2)), Assume((ins.n_x == 1) | (ins.n_x == 2)),
            Assume((ins.n_y == 1) | (ins.n_y == 2)), Assume(ins.mode <= max(RowMode)),
            Assume(ins.in_ring == 0), Assume(ins.out_ring == 0),
            # Sums of 16 bits in another order are beyond the solver.
            *(Assume(ins[f"{view}_{name}"] < 4) for view in ("in", "out")
              for name in ("base", "row", "y_step", "x_step", "b_step")),
            Assume(ins.w_base < 4), Assume(ins.w_b_step < 4),
        ]
        largest, sums, applies = row_loops.Pass.LARGEST, row_loops.Pass.SUMS, row_loops.Pass.APPLY
        softmax = ins.mode == RowMode.SOFTMAX
        ahead = Mux(softmax, largest, sums)

        # The token to come: a pass, its pixel, its block.
        opened, kind, pixel, block = Signal(), Signal(2), Signal(3), Signal(1)
        here = Signal(2)  # the pixel to be applied next
        prologue = Signal(init=1)
        over = Signal()
        last_pixel = Mux(ins.n_y == 2, Mux(ins.n_x == 2, 3, 1), Mux(ins.n_x == 2, 1, 0))
        end = block == (ins.n_b == 2)
        more = here != last_pixel
        with m.If(dut.step & ~opened):
            m.d.sync += [opened.eq(1), kind.eq(ahead), pixel.eq(0), block.eq(0), here.eq(0),
                         prologue.eq(1)]
        with m.Elif(dut.step):
            m.d.sync += block.eq(block + 1)
            with m.If(end):
                m.d.sync += block.eq(0)
                with m.If((kind == applies) & ~more):
                    m.d.sync += [over.eq(1)]
                with m.Elif(prologue | (kind == applies)):
                    # Of the pixel that is here now: its sums, or already those of the next one.
                    now = Mux(prologue, 0, here + 1)[:2]
                    m.d.sync += [here.eq(now), prologue.eq(0)]
                    with m.If(softmax):
                        m.d.sync += [kind.eq(sums), pixel.eq(now)]
                    with m.Else():
                        m.d.sync += [kind.eq(Mux(now != last_pixel, sums, applies)),
                                     pixel.eq(now + (now != last_pixel))]
                with m.Elif(softmax & (kind == sums) & more):
                    m.d.sync += [kind.eq(largest), pixel.eq(here + 1)]
                with m.Else():
                    m.d.sync += [kind.eq(applies), pixel.eq(here)]
        with m.If(over & self.finished):
            m.d.sync += [over.eq(0), opened.eq(0)]

        # What the rest of the engine does: nothing is withdrawn before it is used.
        under_way = Signal()
        starts = dut.step & opened & (block == 0)
        with m.If(self.used):
            m.d.sync += under_way.eq(0)
        with m.If(dut.step & opened & (kind == applies) & end):
            m.d.sync += under_way.eq(1)
        taken = before(m, starts & (kind == sums) & softmax, "taken")
        m.d.comb += [
            Assume(~self.used | under_way),
            Assume(~before(m, self.ready, "ready") | before(m, self.used, "used") | self.ready),
            Assume(~before(m, self.top, "top") | taken | self.top),
            Assume(~self.finished | over),
        ]
        m.d.comb += self._address(m, ins, "in", pixel, block)
        m.d.comb += self._address(m, ins, "out", pixel, block)
        wait = Signal(5)
        stands = self.go & self.top & self.ready & ~under_way & ~over
        m.d.sync += wait.eq(Mux(dut.step | ~stands, 0, wait + 1))

        t, made = dut.token, before(m, dut.step, "step")
        row = before(m, opened, "opened")
        was = before(m, kind, "kind")
        applied = was == applies
        n_w = len(t.weight)
        weight = (ins.w_base + Mux(block, ins.w_b_step, 0))[:n_w]
        for name, holds in {
            "a cycle later": ~later | (dut.valid == made),
            "not when over": ~(dut.step & over),
            "pushes": ~dut.step | (dut.pushes == (opened & (kind == applies))),
            "the first is none": ~made | (t.row == row),
            "pads": ~made | row | ~(t.read | t.push | t.param | t.pad.any() | ~t.first),
            "kind": ~(made & row) | (t.index == was),
            "reads": ~(made & row) | (t.read & ~t.param),
            "address": ~(made & row) | (t.addr == before(m, self.at["in"], "in_at")),
            "first": ~(made & row) | (t.first == before(m, block == 0, "first")),
            "tail": ~(made & row) | (t.tail == before(m, end, "end")),
            "push": ~(made & row) | ((t.push == applied) & (t.write == applied)),
            "out": ~(made & row & applied) | (t.out_addr == before(m, self.at["out"], "out_at")),
            "weight": ~(made & row & applied) | (t.weight == before(m, weight, "weight")),
            "last": ~(made & row) | (t.last == before(m, (kind == applies) & end & ~more, "last")),
            "shared": ~(made & row) | (t.shared == softmax),
            "ready": ~(starts & (kind == applies)) | (self.ready & ~under_way),
            "top": ~(starts & (kind == sums) & softmax) | self.top,
            "goes": ~dut.step | self.go,
            "goes on": wait < 16,
            "idle": ~(dut.idle & (dut.step | over)),
        }.items():
            flag = Signal(name=name.replace(" ", "_"))
            m.d.comb += [flag.eq(holds), Assert(flag)]
        return m

    def _address(self, m: Module, ins: Any, view: str, pixel: Value, block: Value) -> list[Any]:
        """The word of the token to come, in ``at[view]``."""
        if not hasattr(self, "at"):
            self.at: dict[str, Signal] = {}
        wide = ins.n_x == 2
        x, y = wide & pixel[0], Mux(wide, pixel[1], pixel[0])
        at = self.at[view] = Signal(WORD_ADDRESS, name=f"{view}_at")

        def times(bit: Value, name: str) -> Value:
            return Mux(bit, ins[f"{view}_{name}"], Const(0, 16))

        return [at.eq(ins[f"{view}_base"] + ins[f"{view}_row"] + times(x, "x_step")
                      + times(y, "y_step") + times(block, "b_step"))]


PROOFS = [
    Proof(
        "row_divider", scalars, "`row.scalars.Divider`",
        "after `i` steps the quotient is `floor(2^i rest / divisor)`, or the root of the `i` pairs "
        "taken, rounded down: times the divisor, or itself, plus a rest below the divisor, at most "
        "twice the root, it is what was given", "35 bits; 28 steps, 24 of a root",
        "the rest that is set is below the divisor, of a root 0; no more steps than bits",
        lambda module: DividerProof(module.Divider()), 8, 1,
        {
            "does not move": Mutant("before = Mux", "Cat(0, rest)", "Cat(rest, 0)"),
            "other pairs": Mutant("before = Mux", "self.pair, rest", "self.pair[::-1], rest"),
            "not the pair's one": Mutant("taken = Mux", "Const(1, 2)", "Const(0, 2)"),
            "never less": Mutant("rest.eq(Mux(less[-1]", "less[-1], before", "0, before"),
            "wrong bits": Mutant("rest.eq(Mux(less[-1]", "~less[-1]", "less[-1]"),
            "keeps the quotient": Mutant("rest.eq(self.rest)", "eq(0)", "eq(quotient)"),
        },
    ),
    Proof(
        "row_product", scalars, "`row.scalars.Product`",
        "the total is what was set, shifted, plus or minus x times y, as soon as it is not busy, "
        "after as many cycles as y has bits at most", "6 and 2 bits",
        "no command while busy; the first one sets",
        lambda module: ProductProof(module.Product(bits=6, y_bits=2)), 8, 1,
        {
            "no sign": Mutant("term = x &", " ^ minus.replicate(len(x))", ""),
            "no carry": Mutant("added = Cat(1, total)", "Cat(minus, term)", "Cat(0, term)"),
            "adds twice": Mutant("x.eq(x << 1)", "y >> 1", "y"),
            "does not move": Mutant("x.eq(x << 1)", "x << 1", "x"),
            "moves by one": Mutant("total.eq(total << 2)", "<< 2", "<< 1"),
            "the former's sign": Mutant("x.eq(self.x), y.eq(self.y)", "minus.eq(self.minus)",
                                        "minus.eq(minus)"),
        },
    ),
    Proof(
        "row_loops", row_loops, "`row.row_loops.RowLoops`",
        "the tokens are those of the passes, pixel for pixel and block for block, each pixel's "
        "first pass before the one before it is applied; at their addresses; a softmax sums when "
        "the largest is there, and nothing is applied before it is worked out and the former has "
        "been; it never stands for more than 15 cycles in which it could go on",
        "8 lanes; up to 2 blocks, 2 x 2 pixels",
        "no rings, addresses and steps below 4; what is there stays until it is used",
        lambda module: LoopsProof(module.RowLoops(arch=preset("tiny"))), 30, 0,
        {
            "the first block's weights": Mutant("weight.eq(weight + s.w_b_step)",
                                                "weight + s.w_b_step", "weight"),
            "does not wait": Mutant("with m.If(Mux(kind == Pass.APPLY", "self.ready & ~awaited",
                                    "~awaited"),
            "sums too early": Mutant("with m.If(Mux(kind == Pass.APPLY", " | self.top", " | 1"),
            "a block more": Mutant("last_word.eq(left == 2)", "left == 2", "0"),
            "the pixel ahead": Mutant("addr.eq(Mux(is_ahead", "Mux(is_ahead", "Mux(~is_ahead"),
            "another pixel's output": Mutant("here_in.eq(ahead_in)", "here_out.eq(ahead_out)",
                                             "here_out.eq(here_out)"),
            "one pixel too many": Mutant("with m.If(at_apply & here_last)", "here_last",
                                         "~here_last"),
        },
        quick=False,
    ),
]
