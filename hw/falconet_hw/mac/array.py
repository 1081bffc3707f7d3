"""The MAC array: two int8 products per multiplier, chains of four, accumulators."""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from numpy.typing import NDArray

from falconet.isa import Arch
from falconet_hw.mac.weights import CHAIN, WeightSlice
from falconet_hw.stream.delay import add_with_carry, copies, delay

__all__ = ["MacArray"]

_FIELD = 17  # bits of the low product's field; docs/arithmetic.md
_CHAIN_BITS = 2 * _FIELD  # CHAIN sums of two products fit


class MacArray(wiring.Component):
    """``rows`` x ``columns`` multipliers and ``columns`` accumulators, one step a cycle, no stall.

    For each column ``o``: ``acc[o] = (0 if first else acc[o]) + sum(x[i] * w[o][i])``, exact
    while it fits in ``acc_bits``. Two columns share a multiplier (pack_pair); four rows make a
    chain in which each product is added to the sum so far, one cycle after its predecessor; the
    rows / 4 chains of a pair are summed by a tree.

    Members
    -------
    i_enable : In(1)
        Take part: without it the accumulators hold.
    i_first : In(1)
        The sum starts anew.
    i_x : In(8 * rows)
        Activations, int8 in lane order.
    i_weights : In(ArrayLayout(WeightSlice, CHAIN))
        Slice ``s`` comes ``s`` cycles after the other inputs.
    o_acc : Out(ArrayLayout(signed(acc_bits), columns))
        The sums with this step included, ``latency`` cycles after the inputs.
    """

    _GROUP = 4  # columns that share a copy of the controls

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "i_enable": In(1),
            "i_first": In(1),
            "i_x": In(8 * arch.rows),
            "i_weights": In(data.ArrayLayout(WeightSlice(arch), CHAIN)),
            "o_acc": Out(data.ArrayLayout(signed(arch.acc_bits), arch.columns)),
        })

    @property
    def latency(self) -> int:
        """Operand, product, the chain's four sums, the tree, the accumulator."""
        tree: int = ceil_log2(self.arch.rows // CHAIN)
        return 2 + CHAIN + tree + 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rows, columns, chains = self.arch.rows, self.arch.columns, self.arch.rows // CHAIN
        n_groups = columns // self._GROUP
        early = self.latency - 1 - 2
        enable = copies(m, delay(m, self.i_enable, early, name="enable"), n_groups, name="enable")
        first = copies(m, delay(m, self.i_first, early, name="first"), n_groups, name="first")
        xs = [
            delay(m, self.i_x[8 * i : 8 * i + 8], i // chains, name=f"x{i}") for i in range(rows)
        ]
        for j in range(columns // 2):
            sums = [
                self._chain(
                    m, xs[c::chains],
                    [self.i_weights[s][j][16 * c : 16 * c + 16] for s in range(CHAIN)],
                    f"{j}_{c}",
                )
                for c in range(chains)
            ]
            low = [s[:_FIELD].as_signed() for s in sums]
            high = [s[_FIELD:].as_signed() for s in sums]
            borrow = [s[_FIELD - 1] for s in sums]
            for k, parts, ones in (0, low, []), (1, high, borrow):
                total, one = self._tree(m, parts, ones, f"{j}_{k}")
                o, group = 2 * j + k, (2 * j + k) // self._GROUP
                acc = Signal(signed(self.arch.acc_bits), name=f"acc{o}", reset_less=True)
                with m.If(enable[group]):
                    m.d.sync += acc.eq(add_with_carry(Mux(first[group], 0, acc), total, one))
                m.d.comb += self.o_acc[o].eq(acc)
        return m

    @staticmethod
    def _chain(m: Module, xs: list[Value], pairs: list[Value], name: str) -> Value:
        """Sum of CHAIN packed products: the form in which synthesis finds a DSP cascade."""
        total: Value | None = None
        for s, (x, pair) in enumerate(zip(xs, pairs)):
            a = Signal(signed(_FIELD + 8), name=f"a{name}_{s}", reset_less=True)
            b = Signal(signed(8), name=f"b{name}_{s}", reset_less=True)
            product = Signal(signed(_FIELD + 16), name=f"m{name}_{s}", reset_less=True)
            p = Signal(signed(_CHAIN_BITS), name=f"p{name}_{s}", reset_less=True)
            m.d.sync += [
                a.eq(Cat(pair[:8], pair[7].replicate(_FIELD - 8), pair[8:]).as_signed()),
                b.eq(x.as_signed()),
                product.eq(a * b),
                p.eq(product if total is None else total + product),
            ]
            total = p
        assert total is not None
        return total

    @staticmethod
    def _tree(m: Module, parts: list[Value], ones: list[Value], name: str) -> tuple[Value, Value]:
        """Registered sum of ``parts``, and the one of ``ones`` that is left to be added to it.

        Every adder takes one of the ones as its carry.
        """
        level = 0
        while len(parts) > 1:
            n = len(parts) // 2
            sums = []
            for i in range(n):
                total = Signal(signed(len(parts[0]) + 1), name=f"s{name}_{level}_{i}",
                               reset_less=True)
                pair = parts[2 * i], parts[2 * i + 1]
                m.d.sync += total.eq(add_with_carry(*pair, ones[i]) if ones else sum(pair))
                sums.append(total)
            parts = sums
            ones = [
                delay(m, one, 1, name=f"one{name}_{level}_{i}") for i, one in enumerate(ones[n:])
            ]
            level += 1
        return parts[0], (ones[0] if ones else Const(0))

    @staticmethod
    def model(x: Any, words: Any, first: Any) -> NDArray[np.int64]:
        """``o_acc`` after each of T enabled steps: x int8 [T, rows], words uint8
        [T, rows * columns], first bool [T]; the result is int64 [T, columns]."""
        x = np.asarray(x, np.int64)
        t, rows = x.shape
        pairs = np.asarray(words, np.uint8).reshape(t, -1, rows, 2).view(np.int8)
        pairs = pairs.astype(np.int64)
        pairs[..., 1] += pairs[..., 0] < 0
        sums = np.einsum("ti,tjik->tjk", x, pairs).reshape(t, -1)
        acc = np.zeros(sums.shape[1], np.int64)
        out: NDArray[np.int64] = np.empty_like(sums)
        for n in range(t):
            acc = sums[n] if first[n] else acc + sums[n]
            out[n] = acc
        return out
