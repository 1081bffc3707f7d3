"""The vector engine: loops, queues and datapath put together."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring

from falconet.isa import Arch
from falconet_hw.engine.shell import EngineShell, Results, compute_ports
from falconet_hw.stream.credits import Credits
from falconet_hw.stream.fifo import Fifo, RegisterSlice
from falconet_hw.vector.datapath import Token, VectorDatapath
from falconet_hw.vector.tokens import VectorLoops

__all__ = ["VectorEngine"]

_TOKENS = 16  # depth of the queue of tokens


class VectorEngine(EngineShell):
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
    read_req, read_data, write, load : see :func:`compute_ports`
        Words are written in the order of the loops; an instruction retires when ``write`` takes
        its last one (one without any output when it has run). Of what is loaded, VECTOR and
        VEC_TABLE are for this engine.
    """

    def __init__(self, arch: Arch, read_latency: int = 4) -> None:
        if read_latency < 3:
            raise ValueError(f"read_latency={read_latency} must be at least 3")
        self.datapath = VectorDatapath(arch=arch, read_latency=read_latency)
        super().__init__(arch, compute_ports(arch))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # From a step to its result's departure and back: loops, queues and slices, datapath,
        # counter.
        way = VectorLoops.LATENCY + 3 + self.datapath.latency + 3 + 3
        n_results = 1 << (way + 4 - 1).bit_length()
        m.submodules.loops = loops = VectorLoops(arch=self.arch)
        m.submodules.tokens = tokens = Fifo(Token(self.arch), depth=_TOKENS)
        m.submodules.datapath = datapath = self.datapath
        m.submodules.results = results = Results(arch=self.arch, depth=n_results, silent=True)
        # The scratchpad's ready comes late in the cycle: a slice keeps it out of the queue.
        m.submodules.token_slice = token_slice = RegisterSlice(Token(self.arch))
        wiring.connect(m, tokens.o, token_slice.i)
        wiring.connect(m, results.write, wiring.flipped(self.write))
        wiring.connect(m, wiring.flipped(self.instr), loops.instr)
        wiring.connect(m, wiring.flipped(self.load), datapath.load)

        moves = Signal()
        m.submodules.token_credits = token_credits = Credits(depth=_TOKENS)
        m.d.comb += [
            token_credits.take.eq(loops.step), token_credits.give.eq(moves),
            results.promise.eq(loops.step & loops.pushes),
            loops.go.eq(token_credits.room & results.room),
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
            results.valid.eq(datapath.o_valid),
            results.result.eq(datapath.o_result),
        ]
        self.follow(m, results.retire)
        return m
