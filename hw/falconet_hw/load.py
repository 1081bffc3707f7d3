"""The load engine: DDR to scratchpad, weight memories and tables."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from falconet.isa import INSTRUCTION_BITS, Arch

from falconet_hw.axi import ErrorLayout, ReadClientSignature, SegmentsLayout
from falconet_hw.layout import LoadBus, WriteBus

__all__ = ["LoadEngine"]


class LoadEngine(Component):
    """Runs Load and LoadImage.

    Members
    -------
    instr: In(stream.Signature(512))
    segments: In(SegmentsLayout())
    m0, m1: Out(ReadClientSignature())
        Consecutive bursts go to port 0 and port 1 in turn.
    write: Out(stream.Signature(WriteBus(arch)))
        Words for the scratchpad.
    load, load_valid: Out(LoadBus(arch)), Out(1)
        Words for the other memories, always accepted.
    start, retire: Out(1)
        One cycle per instruction, in order.
    busy: Out(1)
    stop: In(1)
        Some block has an error: write and retire nothing more.
    error: Out(ErrorLayout())
    """

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "segments": In(SegmentsLayout()),
            "m0": Out(ReadClientSignature()),
            "m1": Out(ReadClientSignature()),
            "write": Out(stream.Signature(WriteBus(arch))),
            "load": Out(LoadBus(arch)),
            "load_valid": Out(1),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
            "stop": In(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
