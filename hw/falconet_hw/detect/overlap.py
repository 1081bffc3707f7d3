"""Do two boxes overlap by more than the threshold? Exactly, and without a division."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import Arch
from falconet_hw.stream.delay import delay

__all__ = ["BoxLayout", "Exceeds", "Overlap", "floor_of_parts"]


class BoxLayout(data.StructLayout):
    """A box, x1 <= x2 and y1 <= y2."""

    def __init__(self, bits: int) -> None:
        super().__init__({k: signed(bits) for k in ("x1", "y1", "x2", "y2")})


def _register(m: Module, shape: Any, value: Any, name: str) -> Signal:
    s = Signal(shape, name=name, reset_less=True)
    m.d.sync += s.eq(value)
    return s


def floor_of_parts(low: Any, high: Any, *, cut: int, shift: int) -> Any:
    """``floor((low + high * 2**cut) / 2**shift)``, for ``shift <= cut``."""
    return (low >> shift) + (high << cut - shift)


class Exceeds(wiring.Component):
    """``inter / union > threshold / 2**t``, ``t = threshold_bits``, ``union = sum - inter``.

    That is ``inter * 2**t > threshold * union``, and as the left side is a multiple of ``2**t``,
    ``inter > floor(threshold * union / 2**t)``. Widths, with n-bit coordinates: inter ``2n``; sum,
    union and the right side ``2n + 1``; the product ``2n + 1 + t`` (threshold <= ``2**t``). It is
    the sum of two, each small enough for a DSP48E1 of 24 x 17 bits unsigned if n = t = 16: of the
    low ``t + n / 2`` bits of the union and of the others.

    One a cycle, ``LATENCY`` cycles, no stall. 2 multipliers.

    Members
    -------
    i_inter : In(2 * box_bits)
    i_sum : In(2 * box_bits + 1)
        At least ``i_inter``.
    threshold : In(threshold_bits + 1)
        At most ``2**threshold_bits``; holds still.
    o_over : Out(1)
    o_inter : Out(2 * box_bits)
    o_union : Out(2 * box_bits + 1)
    """

    LATENCY = 5

    def __init__(self, *, box_bits: int, threshold_bits: int) -> None:
        self.box_bits, self.threshold_bits = box_bits, threshold_bits
        super().__init__({
            "i_inter": In(2 * box_bits),
            "i_sum": In(2 * box_bits + 1),
            "threshold": In(threshold_bits + 1),
            "o_over": Out(1),
            "o_inter": Out(2 * box_bits),
            "o_union": Out(2 * box_bits + 1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        t = self.threshold_bits
        cut = t + self.box_bits // 2
        union_bits = len(self.i_sum)
        union = _register(m, union_bits, self.i_sum - self.i_inter, "union")
        part_bits = cut + t + 1, union_bits - cut + t + 1
        low, high = (
            delay(m, _register(m, bits, part * self.threshold, name), 1, name=name)
            for bits, part, name in zip(part_bits, (union[:cut], union[cut:]), ("low", "high"))
        )
        least = _register(m, union_bits, floor_of_parts(low, high, cut=cut, shift=t), "least")
        inter = delay(m, self.i_inter, self.LATENCY - 1, name="inter")
        m.d.comb += [
            self.o_over.eq(_register(m, 1, inter > least, "over")),
            self.o_inter.eq(delay(m, inter, 1, name="inter_out")),
            self.o_union.eq(delay(m, union, self.LATENCY - 1, name="union_out")),
        ]
        return m


class Overlap(wiring.Component):
    """Intersection and union of two boxes, and whether their IoU exceeds the threshold.

    Two boxes without area never overlap. docs/formal.md has the proof. Widths are derived from the
    parameters: the size of a box and of an intersection ``n = box_bits``, unsigned; an area
    ``2n``; for the others see :class:`Exceeds`.

    One a cycle, ``LATENCY`` cycles, no stall. 5 multipliers.

    Members
    -------
    i_box, i_reference : In(BoxLayout(box_bits))
    threshold : In(threshold_bits + 1)
        At most ``2**threshold_bits``; holds still.
    o_over : Out(1)
        ``inter / union > threshold / 2**threshold_bits``.
    o_inter : Out(2 * box_bits)
    o_union : Out(2 * box_bits + 1)
    """

    LATENCY = 4 + Exceeds.LATENCY

    def __init__(
        self, *, box_bits: int = Arch.BOX_BITS, threshold_bits: int = Arch.SCORE_BITS
    ) -> None:
        self.box_bits, self.threshold_bits = box_bits, threshold_bits
        super().__init__({
            "i_box": In(BoxLayout(box_bits)),
            "i_reference": In(BoxLayout(box_bits)),
            "threshold": In(threshold_bits + 1),
            "o_over": Out(1),
            "o_inter": Out(2 * box_bits),
            "o_union": Out(2 * box_bits + 1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        n = self.box_bits

        def area(width: Signal, height: Signal, name: str) -> Signal:
            return delay(m, _register(m, 2 * n, width * height, name), 1, name=name)

        shared, sizes = [], []
        for axis in "xy":
            ends = [(b[f"{axis}1"], b[f"{axis}2"]) for b in (self.i_box, self.i_reference)]
            (b1, b2), (r1, r2) = ends
            first = _register(m, signed(n), Mux(b1 > r1, b1, r1), f"first_{axis}")
            last = _register(m, signed(n), Mux(b2 < r2, b2, r2), f"last_{axis}")
            extent = last - first
            shared.append(_register(m, n, Mux(extent < 0, 0, extent), f"shared_{axis}"))
            sizes.append([_register(m, n, b - a, f"size_{axis}") for a, b in ends])

        m.submodules.exceeds = exceeds = Exceeds(
            box_bits=n, threshold_bits=self.threshold_bits,
        )
        (x, x_r), (y, y_r) = sizes
        areas = [area(x, y, name="area"), area(x_r, y_r, name="area_r")]
        m.d.comb += [
            exceeds.i_inter.eq(area(shared[0], shared[1], name="inter")),
            exceeds.i_sum.eq(_register(m, 2 * n + 1, areas[0] + areas[1], "sum")),
            exceeds.threshold.eq(self.threshold),
            self.o_over.eq(exceeds.o_over),
            self.o_inter.eq(exceeds.o_inter),
            self.o_union.eq(exceeds.o_union),
        ]
        return m
