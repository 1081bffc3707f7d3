"""The vector engine: loops, queues and datapath put together."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from falconet.isa import INSTRUCTION_BITS, Arch
from falconet_hw.bus import LoadSignature
from falconet_hw.credits import Credits
from falconet_hw.fifo import Fifo, RegisterSlice
from falconet_hw.layout import WriteBus
from falconet_hw.vector import Token, VectorDatapath, VectorResult
from falconet_hw.vector_loops import VectorLoops

__all__ = ["VectorEngine"]

_TOKENS = 16  # depth of the queue of tokens


class VectorEngine(wiring.Component):
    """Runs WINDOW and ELTW (docs/isa.md), in order, each beginning while the former drains.

    The loops make one token a cycle into a queue, which is emptied at one a cycle: a token that
    reads waits for ``read_req``, all others (padding, parameters) pass. Behind the queue nothing
    stalls: the loops stand still while the queue of results has no room for one more of what is
    under way.

    Without stalls an instruction takes ``n_b * (P + n_y * n_x * n_ky * n_kx)`` cycles (``n_src``
    in place of ``n_ky * n_kx`` for ELTW), and four between instructions.

    Parameters
    ----------
    arch : Arch
    read_latency : int
        Cycles from a transfer on ``read_req`` to its word on ``read_data``; at least 3.

    Members
    -------
    instr : In(stream.Signature(512))
        WINDOW and ELTW only.
    read_req : Out(stream.Signature(16))
    read_data : In(8 * lanes)
    write : Out(stream.Signature(WriteBus))
        Words in the order of the loops.
    load : In(LoadSignature)
        Destinations VECTOR and VEC_TABLE; others are ignored.
    start, retire : Out(1)
        One cycle per instruction: taken from ``instr``; its last word has been accepted by
        ``write`` (an instruction without any output retires when it has run).
    busy : Out(1)
        Instructions have started and not retired.
    """

    def __init__(self, arch: Arch, read_latency: int = 4) -> None:
        if read_latency < 3:
            raise ValueError(f"read_latency={read_latency} must be at least 3")
        self.arch = arch
        self.datapath = VectorDatapath(arch=arch, read_latency=read_latency)
        super().__init__({
            "instr": In(stream.Signature(INSTRUCTION_BITS)),
            "read_req": Out(stream.Signature(16)),
            "read_data": In(8 * arch.lanes),
            "write": Out(stream.Signature(WriteBus(arch))),
            "load": In(LoadSignature(arch)),
            "start": Out(1),
            "retire": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # From a step to its result's departure and back: loops, queues and slices, datapath,
        # counter.
        way = VectorLoops.LATENCY + 3 + self.datapath.latency + 3 + 3
        n_results = 1 << (way + 4 - 1).bit_length()
        m.submodules.loops = loops = VectorLoops(arch=self.arch)
        m.submodules.tokens = tokens = Fifo(Token(self.arch), depth=_TOKENS)
        m.submodules.datapath = datapath = self.datapath
        m.submodules.results = results = Fifo(VectorResult(self.arch), depth=n_results)
        # The scratchpad's ready comes late in the cycle: slices keep it out of the queues.
        m.submodules.token_slice = token_slice = RegisterSlice(Token(self.arch))
        m.submodules.result_slice = result_slice = RegisterSlice(VectorResult(self.arch))
        wiring.connect(m, tokens.o, token_slice.i)
        wiring.connect(m, results.o, result_slice.i)
        wiring.connect(m, wiring.flipped(self.instr), loops.instr)
        wiring.connect(m, wiring.flipped(self.load), datapath.load)

        moves, left = Signal(), Signal()
        m.submodules.token_credits = token_credits = Credits(depth=_TOKENS)
        m.submodules.result_credits = result_credits = Credits(depth=n_results)
        m.d.comb += [
            token_credits.take.eq(loops.step), token_credits.give.eq(moves),
            result_credits.take.eq(loops.step & loops.pushes), result_credits.give.eq(left),
            loops.go.eq(token_credits.room & result_credits.room),
        ]

        token = token_slice.o
        m.d.comb += [
            tokens.i.valid.eq(loops.valid), tokens.i.payload.eq(loops.token),
            self.read_req.payload.eq(token.payload.addr),
            self.read_req.valid.eq(token.valid & token.payload.read),
            token.ready.eq(~token.payload.read | self.read_req.ready),
            moves.eq(token.valid & token.ready),
            datapath.i_valid.eq(moves),
            datapath.i_token.eq(token.payload),
            datapath.read_data.eq(self.read_data),
            results.i.valid.eq(datapath.o_valid),
            results.i.payload.eq(datapath.o_result),
        ]

        result = result_slice.o
        m.d.comb += [
            self.write.payload.eq(result.payload.word),
            self.write.valid.eq(result.valid & result.payload.write),
            result.ready.eq(~result.payload.write | self.write.ready),
            left.eq(result.valid & result.ready),
            self.retire.eq(left & result.payload.last),
            self.start.eq(self.instr.valid & self.instr.ready),
        ]
        running = Signal(range(n_results + _TOKENS))
        m.d.sync += running.eq(running + self.start - self.retire)
        m.d.comb += self.busy.eq(running != 0)
        return m
