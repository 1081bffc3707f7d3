"""Every command that a block gives to an AXI master is a burst that its splitter has checked."""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Signal
from amaranth.hdl import Assert
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from falconet.isa import INSTRUCTION_BITS, Load, Segment, preset
from falconet_hw.control import fetch
from falconet_hw.dma import front, load, store
from falconet_hw.dma.axi import ReadClientSignature, SegmentsLayout
from falconet_hw.layout import instruction_layout
from formal.inside import Inside
from formal.proof import Mutant, Proof

__all__ = ["PROOFS", "WindowProof"]


class WindowProof(Component):
    """Commands are the splitter's bursts, each given to one master; its segments are the block's.

    The splitter knows the segment that the run names, and its error is the block's.

    Members
    -------
    instr, segments, ready, flags : In
        Inputs of the block; ``flags`` are its other ones of one bit.
    """

    def __init__(self, block: Any, ports: tuple[str, ...]) -> None:
        self.block, self.ports = block, ports
        self.ready_of = [getattr(block, port).cmd for port in ports]
        super().__init__({
            "instr": In(INSTRUCTION_BITS), "valid": In(1), "segments": In(SegmentsLayout()),
            "ready": In(len(ports)), "free": In(8), "offset": In(32), "length": In(32),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.block
        inside = Inside(dut)
        m.submodules.dut = inside.module
        behind = inside.blocks.get("front", inside)  # where the splitter is
        splitter = behind["splitter"]
        m.d.comb += [
            dut.segments.eq(self.segments), dut.stop.eq(self.free[0]),
            *(cmd.ready.eq(r) for cmd, r in zip(self.ready_of, self.ready)),
        ]
        if hasattr(dut, "start") and hasattr(dut, "length"):
            m.d.comb += [
                dut.start.eq(self.free[1]), dut.offset.eq(self.offset),
                dut.length.eq(self.length), dut.read.data.valid.eq(self.free[2]),
                dut.read.data.payload.data.eq(self.instr[:64]), dut.instr.ready.eq(self.free[3]),
            ]
        else:
            m.d.comb += [dut.instr.payload.eq(self.instr), dut.instr.valid.eq(self.valid)]
        taken = Signal(range(len(self.ports) + 1))
        m.d.comb += taken.eq(sum(cmd.valid & cmd.ready for cmd in self.ready_of))
        burst = splitter.bursts
        m.d.comb += [
            Assert(taken == (burst.valid & burst.ready)),
            Assert(splitter.segments.as_value() == self.segments.as_value()),
            *(
                Assert(~cmd.valid | (burst.valid & (cmd.payload == burst.payload)))
                for cmd in self.ready_of
            ),
            Assert(dut.error.valid | ~splitter.error.valid),
            Assert(~splitter.error.valid | ((dut.error.code == splitter.error.code)
                                            & (dut.error.address == splitter.error.address))),
        ]
        if behind is not inside:  # a run's segment is the one of its instruction
            asked = data.View(instruction_layout(Load), self.instr).segment
            taken_up = behind["transfers"].payload.ddr
            run = behind["requests"].runs.payload
            m.d.comb += [
                Assert(taken_up.common.segment == asked),
                Assert(behind["requests"].boxes.payload.common.segment == asked),
                Assert(splitter.runs.payload.segment == run.common.segment),
                Assert(splitter.runs.payload.offset == run.at),
            ]
        else:
            m.d.comb += Assert(splitter.runs.payload.segment == Segment.CODE)
        refused = {Segment.CODE, Segment.INPUT} if self.ports == ("m0",) else set()
        m.d.comb += Assert(splitter.refused == refused)
        return m


def _bare(module: Any) -> Component:
    """What LOAD and STORE have in common, and no more: one port, and no instruction ever ends."""

    class Bare(module.DdrEngine):
        def __init__(self) -> None:
            super().__init__(_TINY, {"m0": Out(ReadClientSignature())})

        def elaborate(self, platform: Any) -> Module:
            m = Module()
            m.submodules.front = front = module.DdrFront(
                arch=_TINY, common=1, tag_runs=True, refused=(Segment.CODE, Segment.INPUT),
            )
            self.lead(m, front, Const(0))
            asked = data.View(instruction_layout(Load), self.instr.payload)
            ddr = front.transfers.payload.ddr
            m.d.comb += [
                ddr.base.eq(asked.offset), ddr.common.segment.eq(asked.segment),
                ddr.common.beats.eq(asked.run),
                ddr.n1.eq(asked.n1), ddr.step1.eq(asked.ddr_step1), ddr.n2.eq(asked.n2),
                ddr.step2.eq(asked.ddr_step2),
            ]
            connect(m, front.bursts, flipped(self.m0.cmd))
            return m

    return Bare()


_SHOWS = (
    "what a master is asked for is a burst of the splitter, which `bursts_16` is about, given "
    "once; its windows are the block's, its error too"
)
_TINY = preset("tiny")


PROOFS = [
    Proof(
        "window_fetch", fetch, "`fetch.Fetch`", _SHOWS, "the machine's", "nothing",
        lambda module: WindowProof(module.Fetch(arch=_TINY), ("read",)), 6, 1,
        {
            "another window": Mutant("splitter.segments.eq", "self.segments", "0"),
            "another segment": Mutant(
                "runs.payload.segment.eq", "Segment.CODE", "Segment.INPUT"),
            "the error hidden": Mutant(
                "self.error.valid.eq(", "refused.valid | no_end", "no_end"),
            "another error": Mutant(
                "self.error.code.eq", "refused.valid, refused.code", "no_end, refused.code"),
            "another address": Mutant(
                "self.error.address.eq", "refused.address, 0", "0, 0"),
        },
    ),
    Proof(
        "window_front", front, "`front.DdrEngine`, `front.DdrFront`",
        _SHOWS + "; a run's segment is its instruction's", "the machine's", "nothing",
        lambda module: WindowProof(_bare(module), ("m0",)), 6, 1,
        {
            "another window": Mutant("splitter.segments.eq", "self.segments", "0"),
            "the engine's window not handed on": Mutant("front.segments.eq", "self.segments", "0"),
            "another segment": Mutant(
                "splitter.runs.payload.segment.eq", "run.common.segment", "3"),
            "another instruction": Mutant(
                "requests.boxes.payload.eq", "transfers.payload.ddr", "0"),
            "the offset's carry lost": Mutant(
                "splitter.runs.payload.offset.eq", "run.at", "run.at[:-1]"),
            "nothing refused": Mutant("BurstSplitter(arch", "refused=self.refused", "refused=()"),
            "the error hidden": Mutant("self.error.eq(splitter", "splitter.error", "0"),
            "the error not handed on": Mutant("self.error.eq(front", "front.error", "0"),
        },
    ),
    Proof(
        "window_load", load, "`load.LoadEngine`", _SHOWS, "the machine's", "nothing",
        lambda module: WindowProof(module.LoadEngine(arch=_TINY), ("m0", "m1")), 6, 1,
        {
            "another segment": Mutant(
                "request.common.segment.eq(load", "load.segment", "0"),
            "another segment of an image": Mutant(
                "request.common.segment.eq(image", "image.segment", "0"),
            "a burst to both ports": Mutant(
                "port.cmd.valid.eq", "bursts.valid & mine", "bursts.valid"),
            "a burst that is none": Mutant(
                "port.cmd.valid.eq", "bursts.valid & mine", "mine"),
            "ready of the other port": Mutant(
                "bursts.ready.eq", "Mux(turn,", "Mux(~turn,"),
        },
    ),
    Proof(
        "window_store", store, "`store.StoreEngine`",
        _SHOWS + "; segments CODE and INPUT are refused", "the machine's", "nothing",
        lambda module: WindowProof(module.StoreEngine(arch=_TINY, read_latency=4), ("m0",)), 6, 1,
        {
            "another segment": Mutant("ddr.common.segment.eq", "store.segment", "3"),
            "INPUT not refused": Mutant(
                "refused=(Segment", "(Segment.CODE, Segment.INPUT)", "(Segment.CODE,)"),
            "CODE not refused": Mutant(
                "refused=(Segment", "(Segment.CODE, Segment.INPUT)", "(Segment.INPUT,)"),
            "OUTPUT refused": Mutant(
                "refused=(Segment", "Segment.INPUT)", "Segment.INPUT, Segment.OUTPUT)"),
            "another segment refused": Mutant(
                "refused=(Segment", "Segment.INPUT)", "Segment.WORK)"),
        },
    ),
]
