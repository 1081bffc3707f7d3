"""Bursts: runs of bytes in a segment of DDR become checked AXI bursts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from falconet.isa import SEGMENT_GRAIN, SEGMENT_PAGE, Arch, ErrorCode, Load, Segment
from falconet_hw.dma.axi import BurstCommand, ErrorLayout, SegmentsLayout, latch_error
from falconet_hw.layout import DDR_ADDRESS, field_shape
from falconet_hw.stream.fifo import RegisterSlice

__all__ = ["RUN_BEATS", "BurstSplitter", "Run"]

_PAGE = exact_log2(SEGMENT_PAGE)
_GRAIN = exact_log2(SEGMENT_GRAIN)
_BEAT = exact_log2(Arch.DATA_BYTES)

RUN_BEATS = unsigned(field_shape(Load, "run").width + 1)
"""Beats of a run, less one; a lane word is two at most."""


class Run(data.StructLayout):
    """``beats + 1`` beats of 8 bytes from byte ``offset`` (a multiple of 8) of ``segment``.

    The top bit of ``offset`` says that the sum that led to it passed 2**32: outside every segment.
    ``tag`` is given to the last burst of the run, 0 to the others.
    """

    def __init__(self) -> None:
        super().__init__({
            "segment": field_shape(Load, "segment"), "offset": DDR_ADDRESS.width + 1,
            "beats": RUN_BEATS, "tag": 1,
        })


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
        line_bits = DDR_ADDRESS.width + 1 - _BEAT - slot_bits
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
        left = Signal(RUN_BEATS.width + 1 - slot_bits, reset_less=True)
        last_slot = Signal(slot_bits, reset_less=True)
        base = Signal(DDR_ADDRESS.width - _PAGE, reset_less=True)
        size = Signal(DDR_ADDRESS.width - _GRAIN, reset_less=True)

        go = Signal()
        span = Signal(RUN_BEATS.width + 1)
        m.d.comb += [
            go.eq(active & out.i.ready),
            self.runs.ready.eq(~active | (go & final)),
            span.eq(run.offset[_BEAT:_BEAT + slot_bits] + run.beats),
        ]
        with m.If(self.runs.ready):
            m.d.sync += [
                active.eq(self.runs.valid),
                tag.eq(run.tag),
                line.eq(run.offset[_BEAT + slot_bits:]),
                slot.eq(run.offset[_BEAT:]),
                left.eq(span[slot_bits:]),
                final.eq(~span[slot_bits:].any()),
                last_slot.eq(span[:slot_bits]),
                base.eq(self.segments[run.segment].base[_PAGE:]),
                size.eq(self.segments[run.segment].size[_GRAIN:]),
                refused.eq(Cat(s in self.refused for s in Segment).bit_select(run.segment, 1)),
            ]
        with m.Elif(go):
            m.d.sync += [
                # The top bit of the offset stays once it is set.
                line.eq(Cat((line + 1)[:line_bits - 1], (line + 1)[line_bits - 1] | line[-1])),
                slot.eq(0),
                left.eq(left - 1),
                final.eq(left == 1),
            ]

        offset = Cat(slot, line)  # in beats; the top bit: beyond every segment
        page = Signal(DDR_ADDRESS.width - _PAGE + 1)
        burst = out.i.payload.burst
        m.d.comb += [
            page.eq(base + offset[_PAGE - _BEAT:-1]),
            out.i.valid.eq(active),
            burst.addr.eq(Cat(Const(0, _BEAT), offset[:_PAGE - _BEAT], page[:-1])),
            burst.len.eq(Mux(final, last_slot, self.arch.burst_beats - 1) - slot),
            burst.tag.eq(tag & final),
            out.i.payload.bad.eq(
                page[-1] | offset[-1] | refused | (offset[_GRAIN - _BEAT:-1] >= size)
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
