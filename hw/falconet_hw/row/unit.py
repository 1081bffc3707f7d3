"""The row unit: statistics of a pixel's channels, and each channel anew by these."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from falconet.isa import Arch, RowMode
from falconet_hw.row.row_loops import Pass, RowSettings
from falconet_hw.row.scalars import Linear, RowScalars, SumShapes
from falconet_hw.stream.delay import copies, delay

__all__ = ["RowUnit"]

_WAYS = 4  # channels a cycle
_ENTRY = 23  # bits of an exponential
_D = signed(9)


class RowUnit(wiring.Component):
    """Four channels a cycle, a quarter of a word of 16; no stall.

    A word comes in ``quarter`` 0 to 3, in successive cycles. Cycles after ``i_valid``, with L =
    ``read_latency``: L its word; L + 2 four channels of it; L + 3 their distances from the
    reference, L + 5 (LARGEST) the largest so far; L + 4 the exponentials' addresses, which come
    back as words at L + 7; L + 6 products; L + 9 values, L + 9 (norms) or L + 11 (softmax) sums;
    L + 11 (APPLY) the lanes' accumulators, which stay until the next quarter of that number.

    Members
    -------
    active : In(1)
        An instruction is under way. Else ``acc`` is 0.
    settings : In(RowSettings())
    i_valid, quarter, first, tail, index : In
        Of the token; see Token. ``first``, ``tail`` in all quarters.
    read_data : In(8 * lanes)
        Word for the quarter 0 of ``read_latency`` cycles ago.
    look : Out(1)
        The words at ``look_addr`` are exponentials: one for each column of vector weight memory.
    looked : In(8 * taps * lanes)
        They, three cycles later.
    top, full : Out(1)
        What SUMS of a softmax, and APPLY, need is there.
    used : Out(1)
        APPLY of a pixel is over.
    linear : Out(Linear())
    acc : Out(ArrayLayout(signed(acc_bits), lanes))
    """

    ACC_CYCLE = 11  # behind the read latency
    AFTER = 4  # cycles from the last quarter to the token whose accumulators they are

    def __init__(self, *, arch: Arch, read_latency: int) -> None:
        self.arch = arch
        self.read_latency = read_latency
        super().__init__({
            "active": In(1), "settings": In(RowSettings()),
            "i_valid": In(1), "quarter": In(2), "first": In(1), "tail": In(1), "index": In(Pass),
            "read_data": In(8 * arch.lanes),
            "look": Out(1),
            "look_addr": Out(data.ArrayLayout(range(arch.vector_words), _WAYS)),
            "looked": In(8 * arch.taps * arch.lanes),
            "top": Out(1), "full": Out(1), "used": Out(1),
            "linear": Out(Linear()),
            "acc": Out(data.ArrayLayout(signed(arch.acc_bits), arch.lanes)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, lanes, s, L = self.arch, self.arch.lanes, self.settings, self.read_latency

        def reg(shape: Any, value: Any, name: str) -> Signal:
            r = Signal(shape, name=name, reset_less=True)
            m.d.sync += r.eq(value)
            return r

        softmax = reg(1, s.mode == RowMode.SOFTMAX, "softmax")
        layer = reg(1, s.mode == RowMode.LAYER, "layer")

        def at(value: Any, cycle: int, name: str, reset: bool = False) -> Any:
            """A control of the token, ``cycle`` after its word."""
            return delay(m, value, L + cycle, name=name, reset=reset)

        begins = self.i_valid & self.first & (self.quarter == 0)
        ends = self.i_valid & self.tail & (self.quarter == 3)
        largest = self.index == Pass.LARGEST
        sums = self.index == Pass.SUMS
        apply = self.i_valid & (self.index == Pass.APPLY)

        # The word, and four of its channels.
        word = Signal(8 * lanes, reset_less=True)
        with m.If(at(self.i_valid & (self.quarter == 0), 0, "word_comes")):
            m.d.sync += word.eq(self.read_data)
        last_lane = (s.n_channels - 1)[: ceil_log2(lanes)]
        whole = Const(0xFFFF >> (16 - lanes), 16)
        in_tail = reg(16, Cat(i <= last_lane for i in range(lanes)), "in_tail")
        quarter1 = at(self.quarter, 1, "quarter")
        lanes1 = Mux(at(self.tail, 1, "tail"), in_tail, whole).word_select(quarter1, _WAYS)
        four1 = Cat(word, Const(0, 8 * (16 - lanes))).word_select(quarter1, 8 * _WAYS)
        valid1 = at(self.i_valid, 1, "valid")
        live = reg(_WAYS, lanes1 & valid1.replicate(_WAYS), "live")
        q = [reg(signed(8), four1[8 * i : 8 * i + 8].as_signed(), f"q{i}") for i in range(_WAYS)]

        # The largest of the pixel.
        best = Signal(signed(8), reset_less=True)

        def higher(a: Any, b: Any, name: str) -> Signal:
            return reg(signed(8), Mux(a > b, a, b), name)

        alive = [Mux(live[i], q[i], -128) for i in range(_WAYS)]
        pair = [higher(alive[2 * i], alive[2 * i + 1], f"higher{i}") for i in range(2)]
        highest = higher(pair[0], pair[1], "highest")
        fresh = at(begins, 4, "best_begins")
        with m.If(at(self.i_valid & largest, 4, "largest") & (fresh | (highest > best))):
            m.d.sync += best.eq(highest)
        ref = Signal(signed(8), reset_less=True)
        refer = at(begins & sums, 1, "refer")
        with m.If(refer):
            m.d.sync += ref.eq(Mux(softmax, best, s.ref))
        with m.If(at(ends & largest, 4, "top_comes", reset=True) | refer):
            m.d.sync += self.top.eq(~refer)

        # Distances; what is hidden weighs nothing.
        hides = softmax & s.masked & (ref != -128)
        d = [reg(_D, Mux(live[i], q[i] - ref, 0), f"d{i}") for i in range(_WAYS)]
        weighs = [reg(1, live[i] & ~(hides & (q[i] == -128)), f"weighs{i}") for i in range(_WAYS)]

        # Exponentials. Each way has a column of the memory.
        per = lanes // 4
        part = ceil_log2(per)
        m.d.comb += self.look.eq(softmax & at(self.i_valid, 4, "look"))
        e = []
        for i in range(_WAYS):
            m.d.comb += self.look_addr[i].eq(
                reg(range(arch.vector_words), s.w_base + d[i][part:8], f"look{i}")
            )
            which = delay(m, d[i][:part], 4, name=f"which{i}")
            column = self.looked[8 * lanes * i : 8 * lanes * (i + 1)]
            counts = delay(m, weighs[i], 4, name=f"counts{i}") & softmax
            e.append(reg(_ENTRY, column.word_select(which, 32)[:_ENTRY] & counts.replicate(_ENTRY),
                         f"e{i}"))

        # Products: squares, or by the pixel's factor.
        m.submodules.scalars = scalars = RowScalars(arch=arch)
        lin = scalars.linear
        is_apply = at(apply, 3, "is_apply")
        products = []
        for i in range(_WAYS):
            x = reg(_D, d[i], f"x{i}")
            by = reg(signed(18), Mux(is_apply, lin.a, d[i]), f"by{i}")
            products.append(reg(signed(27), reg(signed(27), x * by, f"product{i}"), f"out{i}"))

        def sum4(terms: list[Any], bits: int, name: str) -> Signal:
            half = [reg(signed(bits - 1), terms[2 * i] + terms[2 * i + 1], f"{name}_half{i}")
                    for i in range(2)]
            return reg(signed(bits), half[0] + half[1], name)

        squares4 = sum4([p[:17].as_signed() for p in products], 20, "squares4")
        distances4 = delay(m, sum4(d, 11, "distances4"), 3, name="distances4")
        e4 = sum4(e, 26, "e4")
        squares = Signal(SumShapes.SQUARES, reset_less=True)
        distances = Signal(SumShapes.DISTANCES, reset_less=True)
        exponentials = Signal(SumShapes.EXPONENTIALS, reset_less=True)
        summed = self.i_valid & sums
        for cycle, of in ((8, ((squares, squares4), (distances, distances4))),
                          (10, ((exponentials, e4),))):
            anew = at(begins, cycle, f"anew{cycle}")
            with m.If(at(summed, cycle, f"sums{cycle}")):
                m.d.sync += [total.eq(Mux(anew, 0, total) + term) for total, term in of]
        end9 = at(ends & sums, 9, "sums_end", reset=True)
        end11 = delay(m, end9, 2, name="exponentials_end", reset=True)
        used = at(ends & apply, 9, "apply_end", reset=True)
        m.d.comb += [
            scalars.settings.eq(s), scalars.layer.eq(layer), scalars.softmax.eq(softmax),
            scalars.sums_valid.eq(Mux(softmax, end11, end9)),
            scalars.exponentials.eq(exponentials), scalars.distances.eq(distances),
            scalars.squares.eq(squares), scalars.used.eq(used),
            self.used.eq(used), self.full.eq(scalars.full), self.linear.eq(lin),
        ]

        # Values, and the lanes that they are for.
        moved = [reg(signed(29), p + lin.b, f"moved{i}") for i, p in enumerate(products)]
        shown = [delay(m, weighs[i], 4, name=f"shown{i}") & ~softmax for i in range(_WAYS)]
        shift = reg(2, lin.shift[2:4], "shift")
        bits = arch.acc_bits
        # Two cycles late: nobody takes so early, nor looks so soon afterwards.
        quiet = copies(m, ~self.active, _WAYS, name="quiet")
        takes = [at(apply & (self.quarter == k), 10, f"take{k}") for k in range(lanes // _WAYS)]
        for i in range(_WAYS):
            v = Array(moved[i] >> 4 * k for k in range(4))[shift]
            v8 = reg(bits, Mux(shown[i], v, 0), f"v{i}")
            value = delay(m, reg(bits, v8 | e[i], f"value{i}"), 1, name=f"value{i}")
            for k, take in enumerate(takes):
                lane = Signal(signed(bits), name=f"acc{_WAYS * k + i}", reset_less=True)
                with m.If(quiet[i]):
                    m.d.sync += lane.eq(0)
                with m.Elif(take):
                    m.d.sync += lane.eq(value)
                m.d.comb += self.acc[_WAYS * k + i].eq(lane)
        return m
