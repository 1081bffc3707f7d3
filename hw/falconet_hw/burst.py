"""Bursts: runs of bytes in a segment of DDR become checked AXI bursts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from falconet.isa import Arch, ErrorCode, Segment
from falconet_hw.axi import BurstCommand, ErrorLayout, SegmentsLayout, latch_error
from falconet_hw.fifo import RegisterSlice

__all__ = ["BurstSplitter", "Run", "word_beats"]

_PAGE = 12  # bases are multiples of 4096
_GRAIN = 7  # sizes are multiples of 128, and no burst crosses one


def word_beats(arch: Arch, words: Value) -> Value:
    """``Run.beats`` (one less than the beats) of a run of ``words`` >= 1 lane words."""
    return Cat(Const(-1, unsigned(exact_log2(arch.lanes // arch.DATA_BYTES))), words - 1)


class Run(data.StructLayout):
    """``beats + 1`` beats of 8 bytes from byte ``offset`` (a multiple of 8) of ``segment``.

    Bit 32 of ``offset`` says that the sum that led to it passed 2**32: outside every segment.
    ``tag`` is given to the last burst of the run, 0 to the others.
    """

    def __init__(self) -> None:
        super().__init__({"segment": 2, "offset": 33, "beats": 17, "tag": 1})


class BurstSplitter(Component):
    """Splits runs at multiples of ``8 * burst_beats`` bytes and checks each burst's window.

    One burst a cycle; a run's first burst comes two cycles after the run. No combinational path
    leads from one stream to the other. The first burst that is not wholly inside its segment
    (``offset + bytes <= size`` and ``base + offset + bytes <= 2**32``, without wrap-around) raises
    ``error`` (WINDOW and the address that it would have had, modulo 2**32) and is kept back; no
    other follows it until reset.

    Parameters
    ----------
    arch: Arch
    refused: Collection[Segment]
        Segments that have no inside.

    Members
    -------
    segments: In(SegmentsLayout())
    runs: In(stream.Signature(Run()))
    bursts: Out(stream.Signature(BurstCommand()))
    error: Out(ErrorLayout())
    """

    def __init__(self, *, arch: Arch, refused: Collection[Segment] = ()) -> None:
        self.arch = arch
        self.refused = frozenset(refused)
        super().__init__({
            "segments": In(SegmentsLayout()),
            "runs": In(stream.Signature(Run())),
            "bursts": Out(stream.Signature(BurstCommand())),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slot_bits = exact_log2(self.arch.burst_beats)
        line_bits = 33 - 3 - slot_bits
        checked = data.StructLayout({"burst": BurstCommand(), "bad": 1})
        m.submodules.out = out = RegisterSlice(checked)

        # The run under way: the burst that begins in `slot` of `line`, and how many are left.
        run = self.runs.payload
        active = Signal()
        final, tag, refused = (
            Signal(name=n, reset_less=True) for n in ("final", "tag", "refused")
        )
        line = Signal(line_bits, reset_less=True)
        slot = Signal(slot_bits, reset_less=True)
        left = Signal(17 + 1 - slot_bits, reset_less=True)
        last_slot = Signal(slot_bits, reset_less=True)
        base = Signal(32 - _PAGE, reset_less=True)
        size = Signal(32 - _GRAIN, reset_less=True)

        go = Signal()
        span = Signal(18)
        m.d.comb += [
            go.eq(active & out.i.ready),
            self.runs.ready.eq(~active | (go & final)),
            span.eq(run.offset[3:3 + slot_bits] + run.beats),
        ]
        with m.If(self.runs.ready):
            m.d.sync += [
                active.eq(self.runs.valid),
                tag.eq(run.tag),
                line.eq(run.offset[3 + slot_bits:]),
                slot.eq(run.offset[3:]),
                left.eq(span[slot_bits:]),
                final.eq(~span[slot_bits:].any()),
                last_slot.eq(span[:slot_bits]),
                base.eq(self.segments[run.segment].base[_PAGE:]),
                size.eq(self.segments[run.segment].size[_GRAIN:]),
                refused.eq(Cat(s in self.refused for s in Segment).bit_select(run.segment, 1)),
            ]
        with m.Elif(go):
            m.d.sync += [
                # Bit 32 of the offset stays once it is set.
                line.eq(Cat((line + 1)[:line_bits - 1], (line + 1)[line_bits - 1] | line[-1])),
                slot.eq(0),
                left.eq(left - 1),
                final.eq(left == 1),
            ]

        offset = Cat(slot, line)  # in beats; bit 29 is bit 32 of the byte offset
        page = Signal(32 - _PAGE + 1)
        burst = out.i.payload.burst
        m.d.comb += [
            page.eq(base + offset[_PAGE - 3:29]),
            out.i.valid.eq(active),
            burst.addr.eq(Cat(offset[:_PAGE - 3] << 3, page[:-1])),
            burst.len.eq(Mux(final, last_slot, self.arch.burst_beats - 1) - slot),
            burst.tag.eq(tag & final),
            out.i.payload.bad.eq(
                page[-1] | offset[29] | refused | (offset[_GRAIN - 3:29] >= size)
            ),
        ]

        m.d.comb += [
            self.bursts.payload.eq(out.o.payload.burst),
            self.bursts.valid.eq(out.o.valid & ~out.o.payload.bad),
            out.o.ready.eq(self.bursts.ready & ~out.o.payload.bad),
        ]
        latch_error(
            m, self.error, out.o.valid & out.o.payload.bad, ErrorCode.WINDOW,
            out.o.payload.burst.addr,
        )
        return m
