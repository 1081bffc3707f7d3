"""Two products in one multiplier: joining, adding and taking apart is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import Component, In

from falconet.isa import preset
from falconet_hw.mac import array
from falconet_hw.mac.weights import CHAIN
from falconet_hw.stream.delay import delay
from falconet_hw.vector import lane
from falconet_hw.vector.lane import LaneControl
from formal.inside import Inside
from formal.proof import Mutant, Proof

__all__ = ["PROOFS", "LaneProof", "OperandsProof", "SumsProof"]

_MOST = 128 * 127  # of the absolute value of a product
_FIELD = 17


def _pair(w0: Value, w1: Value) -> Value:
    """The bytes that memory holds for two weights (falconet.isa.pack_pair)."""
    return Cat(w0, (w1 - (w0 < 0))[:8])


def _allowed(m: Module, *weights: Value) -> None:
    m.d.comb += [Assume(w != -128) for w in weights]


class OperandsProof(Component):
    """Each multiplier of the array gets its two weights, joined, and the activation of its lane.

    Multiplier ``s`` of chain ``c`` and pair ``j`` belongs to input lane ``s * chains + c`` and
    output lanes ``2 * j``, ``2 * j + 1``; slice ``s`` comes ``s`` cycles after the activations. Its
    product register is the product of its two operands.

    Members
    -------
    x : In(8 * lanes)
    weights : In(...)
        ``[s][j][c]`` two weights in [-127, 127].
    """

    def __init__(self, array: Any) -> None:
        self.array, lanes = array, array.arch.lanes
        self.chains = lanes // CHAIN
        two = data.ArrayLayout(signed(8), 2)
        pairs = data.ArrayLayout(data.ArrayLayout(two, self.chains), lanes // 2)
        super().__init__({
            "x": In(data.ArrayLayout(signed(8), lanes)),
            "weights": In(data.ArrayLayout(pairs, CHAIN)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.array
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += dut.i_x.eq(self.x)
        for s in range(CHAIN):
            # As old as the weights of its slice.
            x = delay(m, self.x.as_value(), s + 1, name=f"x_of_slice{s}")
            for j in range(dut.arch.lanes // 2):
                for c in range(self.chains):
                    w0, w1 = self.weights[s][j][c]
                    name = f"{j}_{c}_{s}"
                    _allowed(m, w0, w1)
                    joined = Signal(signed(25), name=f"joined{name}", reset_less=True)
                    m.d.comb += dut.i_weights[s][j][16 * c : 16 * c + 16].eq(_pair(w0, w1))
                    m.d.sync += joined.eq(w0 + (w1 << _FIELD))
                    m.d.comb += [
                        Assert(inside.signal(f"a{name}") == joined),
                        Assert(inside.signal(f"b{name}")
                               == x.word_select(s * self.chains + c, 8).as_signed()),
                    ]
        return m


class SumsProof(Component):
    """The accumulators are the sums of the products, whatever products there are.

    Of one pair of output lanes. The product registers are cut: each holds
    ``low + 2**17 * high``, two free numbers of at most 128 * 127. ``acc[o]`` is then
    ``(0 if first else acc[o])`` plus the ``lanes`` of them that belong to it, modulo
    ``2**acc_bits``, or unchanged without ``enable``.

    Members
    -------
    enable, first : In(1)
    products : In(...)
        ``[c][s]`` the low and the high one.
    """

    def __init__(self, array: Any, *, pair: int) -> None:
        self.array, self.pair = array, pair
        self.chains = array.arch.lanes // CHAIN
        chain = data.ArrayLayout(data.ArrayLayout(signed(16), 2), CHAIN)
        super().__init__({
            "enable": In(1), "first": In(1),
            "products": In(data.ArrayLayout(chain, self.chains)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.array
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [dut.i_enable.eq(self.enable), dut.i_first.eq(self.first)]
        age = Signal(range(dut.latency + 1), reset_less=True)
        m.d.sync += age.eq(age + (age != dut.latency))
        enable = self._control(m, inside, "enable", age)
        first = self._control(m, inside, "first", age)
        sums = [self._chain(m, inside, c) for c in range(self.chains)]
        j, bits = self.pair, dut.arch.acc_bits
        for k in (0, 1):
            acc, total = dut.o_acc[2 * j + k], Signal(signed(20), name=f"total{k}", reset_less=True)
            expected = Signal(signed(bits), name=f"expected{k}", reset_less=True)
            m.d.sync += [
                total.eq(sum(s[k] for s in sums)),
                expected.eq(Mux(enable, Mux(first, 0, acc) + total, acc)),
            ]
            m.d.comb += Assert((age != dut.latency) | (acc == expected))
            # For the induction: the tree, and the one that is left to be added.
            tree = inside.signal(f"s{j}_{k}_0_0")
            one = inside.signal(f"one{j}_1_0_0_d1") if k else 0
            m.d.comb += Assert(tree + one == total)
        return m

    def _control(self, m: Module, inside: Inside, name: str, age: Value) -> Value:
        """A control as old as the sum of its word, and that the array's own is no other."""
        control, early = getattr(self, name), self.array.latency - 3
        for i in range(1, early + 1):
            control = delay(m, control, 1, name=f"{name}{i}")
            m.d.comb += Assert(inside.signal(f"{name}_d{i}") == control)
        control = delay(m, control, 1, name=f"{name}_root")
        for group in range(self.array.arch.lanes // self.array._GROUP):
            m.d.comb += Assert(
                (age == 0) | (inside.signal(f"{name}_root{group}") == control ^ (group >> 1)))
        control = delay(m, control, 1, name=f"{name}_leaf")
        m.d.comb += [Assert((age < 2) | (leaf == control)) for leaf in inside[name]]
        return control

    def _chain(self, m: Module, inside: Inside, c: int) -> tuple[Value, Value]:
        """The low and high sum of a chain, added up apart from each other."""
        low_sum: Value = Signal(signed(20))
        high_sum: Value = Signal(signed(20))
        for s in range(CHAIN):
            name, (low, high) = f"{self.pair}_{c}_{s}", self.products[c][s]
            lows = Signal(signed(20), name=f"low{name}", reset_less=True)
            highs = Signal(signed(20), name=f"high{name}", reset_less=True)
            m.d.comb += [
                inside.cut(f"m{name}").eq(low + (high << _FIELD)),
                *(Assume((p <= _MOST) & (p >= -_MOST)) for p in (low, high)),
            ]
            m.d.sync += [lows.eq(low_sum + low if s else low),
                         highs.eq(high_sum + high if s else high)]
            low_sum, high_sum = lows, highs
            most = (s + 1) * _MOST
            m.d.comb += [
                Assert(inside.signal(f"p{name}") == lows + (highs << _FIELD)),
                *(Assert((n <= most) & (n >= -most)) for n in (lows, highs)),
            ]
        return low_sum, high_sum


class LaneProof(Component):
    """A lane of the vector engine is what its docstring says, whatever products there are.

    The products are cut as in SumsProof; the operands are the two weights, joined, and ``x``. Of
    two stored values there is one product, of at most 128 * 128, and none above it. ``A[0]`` is
    taken to fit 16 bits where it is added.

    Members
    -------
    x, weights, products, control : In
    """

    def __init__(self, lane: Any) -> None:
        self.lane, arch = lane, lane.arch
        super().__init__({
            "x": In(signed(8)), "control": In(LaneControl(arch)),
            "weights": In(data.ArrayLayout(signed(8), arch.taps)),
            "products": In(data.ArrayLayout(signed(16), arch.taps)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut, c = self.lane, self.control
        taps, bits = dut.arch.taps, dut.arch.acc_bits
        inside = Inside(dut)
        m.submodules.dut = inside.module
        m.d.comb += [dut.x.eq(self.x), dut.control.eq(c)]
        weights, products = list(self.weights), list(self.products)
        best = Signal(signed(8), reset_less=True)
        with m.If(c.max_enable & (c.max_first | (best < self.x))):
            m.d.sync += best.eq(self.x)
        m.d.comb += Assert(inside.signal("best") == best)
        # The multiplier's inputs, then its product: what it was told comes with them.
        stored = delay(m, delay(m, c.product, 1, name="product_in"), 1, name="product_of")
        _allowed(m, *weights)
        m.d.comb += Assert(inside.signal("x_in") == delay(m, self.x, 1, name="x"))
        for p in range(taps // 2):
            w0, w1 = weights[2 * p : 2 * p + 2]
            low, high = products[2 * p : 2 * p + 2]
            joined, alone = w0 + (w1 << _FIELD), Const(0, 1)
            if p == 0:
                joined, alone = Mux(c.product, best, joined), stored
            m.d.comb += [
                dut.w[16 * p : 16 * p + 16].eq(_pair(w0, w1)),
                Assert(inside.signal(f"pair{p}_in") == delay(m, joined, 1, name=f"joined{p}")),
                inside.cut(f"pair{p}_product").eq(low + (high << _FIELD)),
                Assume((low <= Mux(alone, 128 * 128, _MOST)) & (low >= -_MOST)),
                Assume((high <= Mux(alone, 0, _MOST)) & (high >= Mux(alone, 0, -_MOST))),
            ]
        # A[t], in the cycle of the DSP's output register.
        sums = [Signal(signed(bits), name=f"A{t}", reset_less=True) for t in range(taps)]
        for t in range(taps):
            shifted = Mux(c.shift[t], sums[t - 1], 0) if t else 0
            m.d.sync += sums[t].eq(
                Mux(c.hold, sums[t], shifted) + delay(m, products[t], 1, name=f"term{t}"))
            m.d.comb += Assert(inside["sums"][t] == sums[t])
        best = delay(m, best, 3, name="best")
        number = sums[0] + sums[taps - 2] * 2**7 + sums[taps - 3] * 2**14
        m.d.comb += Assume(~c.digits | ((sums[0] >= -(2**15)) & (sums[0] < 2**15)))
        acc = Signal(signed(bits))
        m.d.comb += [
            acc.eq(Mux(c.max, best, sums[taps - 1]) + Mux(c.digits, number, 0)),
            Assert(dut.acc == delay(m, acc, 2, name="acc")),
        ]
        return m


_OPERAND_MUTANTS = {
    "no sign between the two weights": Mutant("a.eq(Cat", "pair[7].replicate", "pair[6].replicate"),
    "zeros between the two weights":
        Mutant("a.eq(Cat", "pair[7].replicate", "Const(0, 1).replicate"),
    "the second weight a bit lower": Mutant("a.eq(Cat", "_FIELD - 8", "_FIELD - 9"),
    "activations without a sign": Mutant("b.eq(x", "x.as_signed()", "x.as_unsigned()[:7]"),
    "activations of the next slice":
        Mutant("delay(m, self.i_x", "i // chains", "(i + 1) // chains"),
    "lanes of another chain":
        Mutant("m, xs[c::chains]", "xs[c::chains]", "xs[chains - 1 - c :: chains]"),
    "slices in the wrong order": Mutant(
        "self.i_weights[s]", "self.i_weights[s]", "self.i_weights[CHAIN - 1 - s]"),
}

_SUM_MUTANTS = {
    "a low field of 16 bits": Mutant("low = [s", "s[:_FIELD]", "s[:_FIELD - 1]"),
    "the high field a bit lower": Mutant("high = [s", "s[_FIELD:]", "s[_FIELD - 1:]"),
    "a low field without its sign": Mutant("low = [s", ".as_signed()", ""),
    "no borrow paid back":
        Mutant("for k, parts, ones", "1, high, borrow", "1, high, [b & 0 for b in borrow]"),
    "the borrow of another bit": Mutant("borrow = [", "_FIELD - 1", "_FIELD - 2"),
    "a chain of 33 bits": Mutant("_CHAIN_BITS = 2", "2 * _FIELD", "2 * _FIELD - 1"),
    "a chain that forgets": Mutant("p.eq(product", "total + product", "product"),
    "always from 0": Mutant("acc.eq(add_with_carry", "first[group], 0, acc", "1, 0, acc"),
    "enabled always": Mutant("with m.If(enable[group])", "enable[group]", "1"),
    "first a cycle late": Mutant("first = copies", "early,", "early + 1,"),
    "a one lost in the tree":
        Mutant("return parts[0]", "ones[0] if ones else Const(0)", "Const(0)"),
}

_LANE_MUTANTS = {
    "no sign between the two weights": Mutant("pair = reg", "b0[7].replicate", "b0[6].replicate"),
    "a low field of 14 bits": Mutant("low = out", "out[:16]", "out[:14]"),
    "a low field without its sign": Mutant("low = out", ".as_signed()", ""),
    "the borrow of another bit": Mutant("high = Cat", "out[16]", "out[0]"),
    "no borrow paid back": Mutant("for t, carry, term", "Const(1, 1)", "Const(0, 1)"),
    "the high field a bit short": Mutant("high = Cat", "out[17:32]", "out[17:31]"),
    "a sum from the wrong neighbour": Mutant("fresh = Mux", "sums[t - 1], 0", "sums[t], 0"),
    "the hold ignored": Mutant("start = Mux", "c.hold, sums[t], fresh", "0, sums[t], fresh"),
    "the least instead of the greatest": Mutant("best.eq(Mux", "self.x > best", "self.x < best"),
    "digits of base 64": Mutant("last + (digits", "digits << 7", "digits << 6"),
    "a low field of 15 bits": Mutant("low = out", "out[:16]", "out[:15]"),
    "the weight in place of the operand": Mutant("b0 = Mux", "best.as_unsigned(), b0", "b0, b0"),
    "an operand without its sign": Mutant("b1 = Mux", "best[7].replicate(8), b1", "0, b1"),
    "the weight above an operand": Mutant("b1 = Mux", "best[7].replicate(8), b1", "b1, b1"),
    "the operand that is under way": Mutant("b0 = Mux", "best.as_unsigned()", "self.x"),
    "the product not added": Mutant("added = Mux", "sums[0][:16].as_signed(), 0", "0, 0"),
    "the product of a window added": Mutant("added = Mux", "c.digits,", "1,"),
    "a sum of 15 bits": Mutant("added = Mux", "sums[0][:16]", "sums[0][:15]"),
}

def _sums(pair: int) -> Callable[[Any], SumsProof]:
    return lambda module: SumsProof(module.MacArray(arch=_TINY), pair=pair)


_TINY = preset("tiny")
_ARRAY = "`mac.array.MacArray`"
PROOFS = [
    Proof(
        "operands", array, _ARRAY,
        "each multiplier gets `w0 + 2^17 * w1` of its two weights, and the activation of its lane",
        "8 x 8 lanes, all values", "weights are not -128",
        lambda module: OperandsProof(module.MacArray(arch=_TINY)), 6, 5, _OPERAND_MUTANTS,
    ),
    *(
        Proof(
            f"sums_{pair}", array, _ARRAY,
            "low and high sums of the chains are taken apart exactly; the accumulators of the pair "
            "are the sums, first and enable of their own word",
            f"output lanes {2 * pair} and {2 * pair + 1} of 8, chains of 4, 25 bits; products of "
            "-16,256 to 16,256 free",
            "a product register holds `low + 2^17 * high`", _sums(pair), 11, 1, _SUM_MUTANTS,
            quick=pair == 0,
        )
        for pair in range(4)
    ),
    Proof(
        "vector_lane", lane, "`vector.lane.VectorLane`",
        "each multiplier gets its two weights, joined, or the first operand alone; sums, chain, "
        "digits, product and maximum are those of the products",
        "the machine's (25 bits); products free as above, of two operands -16,256 to 16,384",
        "weights are not -128; a product register holds `low + 2^17 * high`, of two operands "
        "`low`; the sum of tap 0 fits 16 bits where it is added",
        lambda module: LaneProof(module.VectorLane(arch=_TINY)), 8, 7, _LANE_MUTANTS,
    ),
]
