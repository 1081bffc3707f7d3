"""The overlap test is the comparison of rational numbers that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from falconet.isa import Arch
from falconet_hw.detect import overlap
from falconet_hw.detect.overlap import BoxLayout, Overlap
from falconet_hw.stream.delay import delay
from formal.proof import Mutant, Proof

__all__ = ["PROOFS", "OverlapProof", "PartsProof"]


class OverlapProof(wiring.Component):
    """``o_over`` is ``inter / union > threshold / 2**t``, ``o_inter`` and ``o_union`` are right.

    The specification is written from the definitions, on integers of unlimited width, with the
    fractions multiplied out. Two new boxes every cycle, so that a wrong alignment of stages shows.

    Parameters
    ----------
    overlap : Overlap
    Members
    -------
    box, reference : In(BoxLayout(box_bits))
        Any with x1 <= x2, y1 <= y2.
    threshold : In(threshold_bits + 1)
        Any up to ``2**threshold_bits``, the same for ever.
    """

    def __init__(self, overlap: Overlap) -> None:
        self.overlap = overlap
        super().__init__({
            "box": In(BoxLayout(overlap.box_bits)),
            "reference": In(BoxLayout(overlap.box_bits)),
            "threshold": In(overlap.threshold_bits + 1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.overlap = dut = self.overlap
        n, t, threshold = dut.box_bits, dut.threshold_bits, self.threshold
        first = Signal(init=1, reset_less=True)
        m.d.sync += first.eq(0)
        m.d.comb += [
            dut.i_box.eq(self.box), dut.i_reference.eq(self.reference),
            dut.threshold.eq(threshold),
            Assume(threshold <= 1 << t),
            Assume(first | (threshold == delay(m, threshold, 1, name="threshold"))),
        ]
        a, b = (
            data.View(BoxLayout(n), delay(m, box.as_value(), dut.LATENCY, name=name))
            for name, box in (("box", self.box), ("reference", self.reference))
        )
        for box in (self.box, self.reference, a, b):
            m.d.comb += Assume((box.x1 <= box.x2) & (box.y1 <= box.y2))

        def natural(value: Any, name: str) -> Signal:
            """``value``, which fits n bits: its multiplication needs no more."""
            s = Signal(n, name=name)
            m.d.comb += [s.eq(value), Assert(s == value)]
            return s

        def shared(axis: str) -> Signal:
            """Length of what two intervals have in common."""
            first, last = f"{axis}1", f"{axis}2"
            start = Mux(a[first] > b[first], a[first], b[first])
            stop = Mux(a[last] < b[last], a[last], b[last])
            return natural(Mux(stop > start, stop - start, 0), f"shared_{axis}")

        width, height = shared("x"), shared("y")
        sizes = [
            [natural(box[f"{k}2"] - box[f"{k}1"], f"size_{name}_{k}") for k in "xy"]
            for name, box in (("box", a), ("reference", b))
        ]
        inter = width * height
        areas = [w * h for w, h in sizes]
        union = areas[0] + areas[1] - inter
        over = (union > 0) & ((inter << t) > threshold * union)
        m.d.comb += [
            Assert(dut.o_over == over), Assert(dut.o_inter == inter), Assert(dut.o_union == union),
        ]
        return m


class PartsProof(wiring.Component):
    """What the comparison makes of the two products, at the machine's full width.

    ``inter > floor_of_parts(low, high)`` is ``inter * 2**t > low + high * 2**cut``, for all values
    of their widths; the products themselves are free, so no multiplication is left.

    Members
    -------
    inter : In(2 * box_bits)
    low, high : In(...)
        The products of the threshold and the two parts of the union.
    """

    def __init__(self, floor_of_parts: Any, *, box_bits: int, threshold_bits: int) -> None:
        self.floor_of_parts = floor_of_parts
        n, self.shift, self.cut = box_bits, threshold_bits, threshold_bits + box_bits // 2
        super().__init__({
            "inter": In(2 * n),
            "low": In(self.cut + threshold_bits + 1),
            "high": In(2 * n + 1 - self.cut + threshold_bits + 1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        least = self.floor_of_parts(self.low, self.high, cut=self.cut, shift=self.shift)
        product = self.low + (self.high << self.cut)
        m.d.comb += Assert((self.inter > least) == ((self.inter << self.shift) > product))
        return m


def _overlap(bits: int) -> Callable[[Any], OverlapProof]:
    return lambda module: OverlapProof(module.Overlap(box_bits=bits, threshold_bits=bits))


def _parts(module: Any) -> PartsProof:
    return PartsProof(
        module.floor_of_parts, box_bits=Arch.BOX_BITS, threshold_bits=Arch.SCORE_BITS
    )


_MUTANTS = {
    "greater or equal": Mutant('"over")', "inter > least", "inter >= least"),
    "union without the intersection":
        Mutant("union = ", "self.i_sum - self.i_inter", "self.i_sum"),
    "the wrong end of a box": Mutant("first = ", "Mux(b1 > r1, b1, r1)", "Mux(b1 > r1, r1, b1)"),
    "no clamp at 0": Mutant("shared.append", "Mux(extent < 0, 0, extent)", "extent"),
    "a coordinate without its sign": Mutant("for k in", "signed(bits) for k", "bits for k"),
    "a product one bit short": Mutant("part_bits = ", "cut + t + 1, ", "cut + t - 1, "),
    "a part of the union lost": Mutant('"low", "high"', "union[cut:]", "union[cut + 1:]"),
    "a stage too many":
        Mutant("inter = delay(m, self", "self.LATENCY - 1", "self.LATENCY"),
}

_PARTS_MUTANTS = {
    "the low part not shifted": Mutant("return (low", "low >> shift", "low"),
    "the low part rounded up": Mutant("return (low", "(low >> shift)", "(low + 1 >> shift)"),
    "the low part shifted too far": Mutant("return (low", "low >> shift", "low >> shift + 1"),
    "the high part not shifted": Mutant("return (low", "high << cut - shift", "high << cut"),
    "the high part a bit lower": Mutant("return (low", "cut - shift)", "cut - shift - 1)"),
    "the high part lost": Mutant("return (low", " + (high << cut - shift)", ""),
}

PROOFS = [
    Proof(
        "parts_16", overlap, "`detect.overlap.floor_of_parts`",
        "`inter > floor_of_parts(low, high)` is `inter * 2^t > low + high * 2^cut`",
        "the machine's: 16-bit coordinates, t = 16", "nothing", _parts, 1, 0, _PARTS_MUTANTS,
    ),
    *(
        Proof(
            f"overlap_{bits}", overlap, "`detect.overlap.Overlap`",
            "flag, intersection and union, with two new boxes every cycle",
            f"coordinates and threshold of {bits} bits",
            "`x1 <= x2`, `y1 <= y2`; `T <= 2^t` and constant",
            _overlap(bits), Overlap.LATENCY + 1, Overlap.LATENCY + 1, _MUTANTS,
            small=_overlap(3), quick=bits == 4,
        )
        for bits in (4, 5)
    ),
]
