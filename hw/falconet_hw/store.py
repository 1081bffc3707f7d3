"""The store engine: scratchpad to DDR."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out
from falconet.isa import INSTRUCTION_BITS, Arch

from falconet_hw.axi import ErrorLayout, SegmentsLayout, WriteClientSignature

__all__ = ["StoreEngine"]


class StoreEngine(Component):
    """Runs Store.

    Members
    -------
    instr: In(stream.Signature(512))
    segments: In(SegmentsLayout())
    read_req: Out(stream.Signature(16))
    read_data: In(8 * lanes)
        Valid exactly ``read_latency`` cycles after the request's transfer.
    m0: Out(WriteClientSignature())
    start, retire: Out(1)
        One cycle per instruction, in order; ``retire`` when its last response has come.
    busy: Out(1)
    stop: In(1)
        Some block has an error: retire nothing more (data of accepted bursts is still supplied).
    error: Out(ErrorLayout())
    """

    def __init__(self, *, arch: Arch, read_latency: int = 4) -> None:
        self.arch = arch
        self.read_latency = read_latency
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "segments": In(SegmentsLayout()),
            "read_req": Out(stream.Signature(16)),
            "read_data": In(8 * arch.lanes),
            "m0": Out(WriteClientSignature()),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
            "stop": In(1),
            "error": Out(ErrorLayout()),
        })

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
