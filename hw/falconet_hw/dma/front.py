"""What LOAD and STORE have in common: an instruction's runs become checked bursts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from amaranth import Cat, Const, Module, Signal, Value, unsigned
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from falconet.isa import Arch, Load, Segment
from falconet_hw.dma.axi import BurstCommand, ErrorLayout, SegmentsLayout
from falconet_hw.dma.box import Box, BoxRun, BoxWalker
from falconet_hw.dma.burst import RUN_BEATS, BurstSplitter
from falconet_hw.engine.shell import EngineShell
from falconet_hw.layout import DDR_ADDRESS, WORD_ADDRESS, field_shape
from falconet_hw.stream.fifo import Fifo

__all__ = ["DdrEngine", "DdrFront", "DdrRun", "Transfer", "word_beats"]

_AHEAD = 4  # instructions whose bursts may be raised before their words are moved


def word_beats(arch: Arch, words: Value) -> Value:
    """``Run.beats`` (one less than the beats) of a run of ``words`` >= 1 lane words."""
    return Cat(Const(-1, unsigned(exact_log2(arch.lanes // arch.DATA_BYTES))), words - 1)


class DdrRun(data.StructLayout):
    """What the runs of an instruction have in common in DDR; ``beats`` as in Run."""

    def __init__(self) -> None:
        super().__init__({"segment": field_shape(Load, "segment"), "beats": RUN_BEATS})


class Transfer(data.StructLayout):
    """An instruction: a box of bytes in DDR, and a box of lane words on chip."""

    def __init__(self, common: ShapeLike) -> None:
        super().__init__({
            "ddr": Box(DDR_ADDRESS.width, DdrRun()), "chip": Box(WORD_ADDRESS.width, common),
        })


class DdrFront(Component):
    """The one way from instructions to addresses in DDR.

    ::

        transfers -+-> BoxWalker -> BurstSplitter -> bursts
                   +-> Fifo -> BoxWalker ----------> rows

    Bursts are raised up to 5 instructions ahead of the rows: one a cycle, the first and the first
    row three cycles after their instruction if none is before it. Rows come one a cycle, with one
    cycle without between two instructions. ``bursts`` and ``rows`` may each stall without end.

    Parameters
    ----------
    arch: Arch
    common: ShapeLike
        Handed on with every row of an instruction.
    tag_runs: bool
        ``tag`` marks the last burst of each run; else of each instruction.
    refused: Collection[Segment]
        Segments in which every burst is refused.

    Members
    -------
    segments: In(SegmentsLayout())
    transfers: In(stream.Signature(Transfer(common)))
    bursts: Out(stream.Signature(BurstCommand()))
        Each wholly inside its segment.
    rows: Out(stream.Signature(BoxRun(WORD_ADDRESS.width, common)))
    error: Out(ErrorLayout())
        WINDOW and the address of a burst that is not; no burst follows it until reset.
    """

    def __init__(
        self, *, arch: Arch, common: ShapeLike, tag_runs: bool, refused: Collection[Segment] = (),
    ) -> None:
        self.arch, self.common, self.tag_runs = arch, common, tag_runs
        self.refused = frozenset(refused)
        super().__init__({
            "segments": In(SegmentsLayout()),
            "transfers": In(stream.Signature(Transfer(common))),
            "bursts": Out(stream.Signature(BurstCommand())),
            "rows": Out(stream.Signature(BoxRun(WORD_ADDRESS.width, common))),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.requests = requests = BoxWalker(DDR_ADDRESS.width, DdrRun())
        m.submodules.splitter = splitter = BurstSplitter(arch=self.arch, refused=self.refused)
        m.submodules.ahead = ahead = Fifo(Box(WORD_ADDRESS.width, self.common), depth=_AHEAD)
        m.submodules.walker = walker = BoxWalker(WORD_ADDRESS.width, self.common)

        transfers = self.transfers
        m.d.comb += [
            transfers.ready.eq(requests.boxes.ready & ahead.i.ready),
            requests.boxes.valid.eq(transfers.valid & ahead.i.ready),
            requests.boxes.payload.eq(transfers.payload.ddr),
            ahead.i.valid.eq(transfers.valid & requests.boxes.ready),
            ahead.i.payload.eq(transfers.payload.chip),
        ]
        run = requests.runs.payload
        m.d.comb += [
            splitter.segments.eq(self.segments),
            splitter.runs.valid.eq(requests.runs.valid),
            requests.runs.ready.eq(splitter.runs.ready),
            splitter.runs.payload.segment.eq(run.common.segment),
            splitter.runs.payload.beats.eq(run.common.beats),
            splitter.runs.payload.offset.eq(run.at),
            splitter.runs.payload.tag.eq(1 if self.tag_runs else run.last),
            self.error.eq(splitter.error),
        ]
        connect(m, splitter.bursts, flipped(self.bursts))
        connect(m, ahead.o, walker.boxes)
        connect(m, walker.runs, flipped(self.rows))
        return m


class DdrEngine(EngineShell):
    """The shell of LOAD and STORE: instructions through a :class:`DdrFront`.

    Parameters
    ----------
    arch: Arch
    ports: Mapping
        What the engine has beside the members of EngineShell and these.

    Members
    -------
    segments: In(SegmentsLayout())
    stop: In(1)
        Some block has an error, or all is about to be reset: retire nothing more. To be held until
        reset.
    error: Out(ErrorLayout())
        WINDOW; the engine raises no burst any more, and acts as if stopped.
    """

    def __init__(self, arch: Arch, ports: Mapping[str, Any]) -> None:
        super().__init__(arch, {
            "segments": In(SegmentsLayout()),
            "stop": In(1),
            "error": Out(ErrorLayout()),
            **ports,
        })

    def lead(self, m: Module, front: DdrFront, ends: Value) -> Signal:
        """Hand instructions to ``front``; retire one in the cycle after ``ends``, unless stopped.

        The result is a register: stopped.
        """
        stopped = Signal()
        ended = Signal()
        m.d.sync += [stopped.eq(self.stop | self.error.valid), ended.eq(ends & ~stopped)]
        m.d.comb += [
            front.segments.eq(self.segments),
            front.transfers.valid.eq(self.instr.valid),
            self.instr.ready.eq(front.transfers.ready),
            self.error.eq(front.error),
        ]
        self.follow(m, ended)
        return stopped
