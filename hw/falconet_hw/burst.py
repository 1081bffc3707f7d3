"""Bursts: a run of bytes in a segment of DDR becomes checked AXI bursts."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from falconet.isa import Arch

from falconet_hw.axi import BurstCommand, ErrorLayout, SegmentsLayout

__all__ = ["BurstSplitter", "Run"]


class Run(data.StructLayout):
    """``beats + 1`` beats from byte ``offset`` (a multiple of 8) of ``segment``.

    Bit 32 of ``offset`` says that the sum that led to it passed 2**32: outside every segment.
    ``tag`` is given to the last burst of the run, 0 to the others.
    """

    def __init__(self) -> None:
        super().__init__({"segment": 2, "offset": 33, "beats": 17, "tag": 1})


class BurstSplitter(Component):
    """Splits runs at multiples of ``8 * burst_beats`` bytes and checks each burst's window.

    Throughput one burst a cycle, latency 2 cycles; no combinational path between the streams.
    The first burst that is not wholly inside its segment, or whose address passes 2**32, raises
    ``error`` (WINDOW) instead, and nothing follows it until reset. A segment whose bit in
    ``refused`` is set is outside altogether.

    Members
    -------
    segments: In(SegmentsLayout())
    runs: In(stream.Signature(Run()))
    bursts: Out(stream.Signature(BurstCommand()))
    stop: In(1)
    error: Out(ErrorLayout())
    """

    segments: In(SegmentsLayout())
    runs: In(stream.Signature(Run()))
    bursts: Out(stream.Signature(BurstCommand()))
    error: Out(ErrorLayout())

    def __init__(self, *, arch: Arch, refused: tuple[int, ...] = ()) -> None:
        self.arch = arch
        self.refused = refused
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
