"""Output stage: bias, requantisation, clamp and table look-up (docs/arithmetic.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from falconet.isa import Arch
from falconet_hw.layout import ParamLayout
from falconet_hw.stream.delay import add_with_carry, delay

__all__ = ["OutputLane", "OutputStage"]


class OutputLane(wiring.Component):
    """Requantisation of one lane: ``acc`` and ``params`` in, ``q`` (before the table) out.

    Cycle of each register, counted from the inputs: 1 ``v = acc + bias``; 2-4 the multiplier's
    input, product and output registers; 5-7 shift by 16s, by 4s, by 1s, with the bits shifted
    out collected in a sticky bit and lost high bits in an overflow bit; 8 rounding and ``zp``;
    9 comparisons with ``lo`` and ``hi``; 10 ``q``.

    Members
    -------
    i_acc, i_params : In
        Sampled in cycle 0.
    i_zp, i_lo, i_hi : In(signed(8))
        Must come ``ZP_CYCLE`` (zp) and ``CLAMP_CYCLE`` (lo, hi) cycles after ``i_acc``; lo and hi
        are used in two successive cycles and are registered here.
    o_q : Out(signed(8))
        Valid ``LATENCY`` cycles after ``i_acc``.
    """

    ZP_CYCLE = 7
    CLAMP_CYCLE = 8
    LATENCY = 10

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "i_acc": In(signed(arch.acc_bits)),
            "i_params": In(ParamLayout(arch)),
            "i_zp": In(signed(8)),
            "i_lo": In(signed(8)),
            "i_hi": In(signed(8)),
            "o_q": Out(signed(8)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        acc_bits, mult_bits = self.arch.acc_bits, self.arch.mult_bits

        def reg(shape: Any, value: Any, name: str) -> Signal:
            s = Signal(shape, reset_less=True, name=name)
            m.d.sync += s.eq(value)
            return s

        params = self.i_params
        v = reg(signed(acc_bits), self.i_acc + params.bias, "v")
        mult = reg(mult_bits, params.mult, "mult")
        mult_neg = reg(mult_bits, params.mult_neg, "mult_neg")
        a = reg(signed(acc_bits), v, "a")
        b = reg(signed(mult_bits + 1), Mux(v[-1], mult_neg, mult), "b")
        product_bits = acc_bits + mult_bits
        product = reg(signed(product_bits), a * b, "product")
        p = reg(signed(product_bits), product, "p")

        # y counts halves: bit 0 becomes the bit of 1/2 once the shift is done. Nine bits of the
        # shifted value decide the result: anything beyond clamps whatever zp is.
        y = Cat(0, p).as_signed()
        keep = 1 + 9
        sh = [delay(m, params.shift[2 * k : 2 * k + 2], 6 - k, name=f"shift{k}") for k in range(3)]

        def shift(y: Any, amount: Any, unit: int, bits: int, tag: str) -> tuple[Any, Any, Any]:
            """y >> (amount * unit) in ``bits`` bits; lost high bits differ; lost low bits are set.

            The two flags come as lists of bits, to be ORed by the next stage.
            """
            n = len(y)
            shifted = Array(y >> min(k * unit, n - 1) for k in range(4))[amount]
            low, high = [], []
            for k in range(4):
                if k:
                    part = y[min((k - 1) * unit, n) : min(k * unit, n)]
                    low.append(part.any() & (amount >= k))
                lost = y[min(k * unit + bits - 1, n - 1) : n - 1]
                high.append((amount == k) & (lost != y[-1].replicate(len(lost))))
            return (
                reg(signed(bits), shifted, f"y{tag}"),
                reg(len(low), Cat(*low), f"low{tag}").any(),
                reg(len(high), Cat(*high), f"high{tag}").any(),
            )

        y5, low5, high5 = shift(y, sh[2], 16, keep + 15, "5")
        y6, low6, high6 = shift(y5, sh[1], 4, keep + 3, "6")
        sticky6 = reg(1, low5, "sticky6")
        over6 = reg(1, high5, "over6")
        y7, low7, high7 = shift(y6, sh[0], 1, keep, "7")
        sticky7 = reg(1, sticky6 | low6, "sticky7") | low7
        over7 = reg(1, over6 | high6, "over7") | high7
        negative7 = delay(m, p[-1], 3, name="negative")

        floor = y7[1:].as_signed()
        up = y7[0] & (sticky7 | floor[0])
        t8 = reg(signed(11), add_with_carry(floor, self.i_zp, up), "t8")
        over8 = reg(1, over7, "over8")
        negative8 = reg(1, negative7, "negative8")

        t9 = reg(8, t8[:8], "t9")
        low9 = reg(1, Mux(over8, negative8, t8 < self.i_lo), "low9")
        high9 = reg(1, Mux(over8, ~negative8, t8 > self.i_hi), "high9")
        lo9 = reg(8, self.i_lo, "lo9")
        hi9 = reg(8, self.i_hi, "hi9")
        m.d.comb += self.o_q.eq(
            reg(8, Mux(low9, lo9, Mux(high9, hi9, t9)), "q").as_signed()
        )
        return m


class OutputStage(wiring.Component):
    """``lanes`` accumulators in, one word out, ``latency`` cycles later, one word a cycle.

    Per lane: ``v = acc + bias``; ``m = mult_neg if v < 0 else mult``;
    ``q = clamp(round_half_even(v * m / 2**shift) + zp, lo, hi)``; the byte is ``table[q + 128]``
    if ``i_table`` else ``q``. Valid for ``v`` within ``acc_bits``, ``shift`` in [0, 47] and
    ``lo <= hi``. There is no stall; all inputs belong to ``i_valid`` and may change every cycle.

    Members
    -------
    i_valid : In(1)
    i_acc : In(ArrayLayout(signed(acc_bits), lanes))
    i_params : In(ArrayLayout(ParamLayout, lanes))
    i_zp, i_lo, i_hi : In(signed(8))
    i_table : In(1)
    o_valid : Out(1)
        ``i_valid``, ``latency`` cycles later; the only thing that reset clears.
    o_data : Out(8 * lanes)
        Lane ``i`` in byte ``i``.
    table_en, table_addr, table_data : In
        Writes entries ``[table_addr * lanes, (table_addr + 1) * lanes)``, lowest byte first; one
        write a cycle. A word entering with or after the write sees the new entries; words that
        entered earlier may see either.
    """

    _GROUP = 4  # lanes that share one copy of the table's write port

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        lanes = arch.lanes
        super().__init__({
            "i_valid": In(1),
            "i_acc": In(data.ArrayLayout(signed(arch.acc_bits), lanes)),
            "i_params": In(data.ArrayLayout(ParamLayout(arch), lanes)),
            "i_zp": In(signed(8)),
            "i_lo": In(signed(8)),
            "i_hi": In(signed(8)),
            "i_table": In(1),
            "o_valid": Out(1),
            "o_data": Out(8 * lanes),
            "table_en": In(1),
            "table_addr": In(range(256 // lanes)),
            "table_data": In(8 * lanes),
        })

    @property
    def latency(self) -> int:
        """Cycles from ``i_valid`` to ``o_valid``: the lanes, then two for the table."""
        return OutputLane.LATENCY + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.arch.lanes
        low = (lanes - 1).bit_length()

        m.d.comb += self.o_valid.eq(delay(m, self.i_valid, self.latency, name="valid", reset=True))
        zp = delay(m, self.i_zp, OutputLane.ZP_CYCLE, name="zp", shared=True)
        lo = delay(m, self.i_lo, OutputLane.CLAMP_CYCLE, name="lo", shared=True)
        hi = delay(m, self.i_hi, OutputLane.CLAMP_CYCLE, name="hi", shared=True)
        use_table = delay(m, self.i_table, self.latency - 1, name="table", shared=True)

        write = Cat(self.table_en, self.table_addr, self.table_data)
        for i in range(lanes):
            if i % self._GROUP == 0:  # each group a cycle later: copies that cannot be merged
                write = delay(m, write, 1, name=f"write{i // self._GROUP}")
            m.submodules[f"lane{i}"] = lane = OutputLane(arch=self.arch)
            m.d.comb += [
                lane.i_acc.eq(self.i_acc[i]),
                lane.i_params.eq(self.i_params[i]),
                lane.i_zp.eq(zp), lane.i_lo.eq(lo), lane.i_hi.eq(hi),
            ]
            m.submodules[f"table{i}"] = table = Memory(
                shape=8 * lanes, depth=256 // lanes, init=[], attrs={"ram_style": "distributed"},
            )
            wp = table.write_port()
            rp = table.read_port(domain="comb")
            n_addr = len(self.table_addr)
            m.d.comb += [
                wp.en.eq(write[0]),
                wp.addr.eq(write[1 : 1 + n_addr]),
                wp.data.eq(write[1 + n_addr :]),
            ]
            index = Signal(8, name=f"index{i}")
            m.d.comb += [
                index.eq(lane.o_q ^ 0x80),  # q + 128
                rp.addr.eq(index[low:]),
            ]
            # Entry select in two steps, so that a quarter of the row is registered.
            quarter = Signal(2 * lanes, reset_less=True, name=f"quarter{i}")
            part = index[low - 2 : low]
            m.d.sync += quarter.eq(rp.data.word_select(part, 2 * lanes))
            rest = delay(m, index[: low - 2], 1, name=f"rest{i}")
            q = delay(m, lane.o_q, 1, name=f"q{i}")
            byte = Signal(8, reset_less=True, name=f"byte{i}")
            m.d.sync += byte.eq(Mux(use_table, quarter.word_select(rest, 8), q))
            m.d.comb += self.o_data[8 * i : 8 * i + 8].eq(byte)
        return m

    @staticmethod
    def model(
        acc: Any, *, bias: Any, mult: Any, mult_neg: Any, shift: Any, zp: Any, lo: Any, hi: Any,
        table: Any = None,
    ) -> NDArray[np.int8]:
        """The stage in numpy, bit-exact; arguments broadcast, the result is int8.

        ``table`` is None or the 256 entries, int8.
        """
        v = np.asarray(acc, np.int64) + bias
        p = v * np.where(v < 0, mult_neg, mult)
        shift = np.asarray(shift, np.int64)
        floor = p >> shift
        rest = p - (floor << shift)
        half = (np.int64(1) << shift) >> 1
        up = (shift > 0) & ((rest > half) | ((rest == half) & (floor & 1 == 1)))
        q: NDArray[np.int8] = np.maximum(lo, np.minimum(hi, floor + up + zp)).astype(np.int8)
        if table is not None:
            q = np.asarray(table, np.int8)[q.astype(np.int64) + 128]
        return q
