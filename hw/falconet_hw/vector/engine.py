"""The vector engine: loops, queues and datapath put together."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring

from falconet.isa import Arch
from falconet_hw.engine.shell import EngineShell, Results, compute_ports
from falconet_hw.row.row_loops import RowLoops
from falconet_hw.stream.credits import Credits
from falconet_hw.stream.fifo import Fifo, RegisterSlice
from falconet_hw.vector.datapath import VectorDatapath
from falconet_hw.vector.token import Token
from falconet_hw.vector.tokens import VectorLoops

__all__ = ["VectorEngine"]

_TOKENS = 16  # depth of the queue of tokens


class VectorEngine(EngineShell):
    """Runs WINDOW, ELTW and ROW (docs/isa.md), in order, each beginning while the former drains;
    but nothing does so behind a ROW.

    The loops make one token a cycle into a queue, which is emptied at one a cycle: a token that
    reads waits for ``read_req``, all others (padding, parameters) pass. Behind the queue nothing
    stalls: the loops stand still while the queue of results has no room for one more of what is
    under way.

    Without stalls an instruction takes ``n_b * (P + n_y * n_x * n_ky * n_kx)`` cycles (``n_src``
    in place of ``n_ky * n_kx`` for ELTW), and four between instructions. A ROW's token takes four.

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
        m.submodules.row = row = RowLoops(arch=self.arch)
        m.submodules.tokens = tokens = Fifo(Token(self.arch), depth=_TOKENS)
        m.submodules.datapath = datapath = self.datapath
        m.submodules.results = results = Results(arch=self.arch, depth=n_results, silent=True)
        # The scratchpad's ready comes late in the cycle: a slice keeps it out of the queue.
        m.submodules.token_slice = token_slice = RegisterSlice(Token(self.arch))
        wiring.connect(m, tokens.o, token_slice.i)
        wiring.connect(m, results.write, wiring.flipped(self.write))
        # Of the opcodes of this engine, ROW's alone has this bit.
        is_row = self.instr.payload[3]
        m.d.comb += [
            loops.instr.payload.eq(self.instr.payload), row.instr.payload.eq(self.instr.payload),
            loops.instr.valid.eq(self.instr.valid & ~is_row & row.idle),
            row.instr.valid.eq(self.instr.valid & is_row & loops.instr.ready),
            self.instr.ready.eq(loops.instr.ready & row.idle),
        ]
        wiring.connect(m, wiring.flipped(self.load), datapath.load)

        moves = Signal()
        m.submodules.token_credits = token_credits = Credits(depth=_TOKENS)
        m.d.comb += [
            token_credits.take.eq(loops.step | row.step), token_credits.give.eq(moves),
            results.promise.eq(loops.step & loops.pushes | row.step & row.pushes),
            loops.go.eq(token_credits.room & results.room),
            row.go.eq(token_credits.room & results.room),
        ]

        token, head = token_slice.o, token_slice.o.payload
        # A row token stays for four cycles. Where it pushes, its parameters, and the accumulators
        # with the last of them, follow in the next four: the row unit has these ready by then.
        quarter = Signal(2)
        begins = token.valid & head.row & (quarter == 0) & self.read_req.ready
        with m.If(begins | quarter.any()):
            m.d.sync += quarter.eq(quarter + 1)
        after = Signal(Token(self.arch), reset_less=True)
        follows = Signal()
        number = Signal(2, reset_less=True)
        with m.If((quarter == 3) & head.push):
            m.d.sync += [follows.eq(1), number.eq(0), after.eq(head)]
        with m.Else():
            m.d.sync += [
                follows.eq(follows & (number != 3)), number.eq(number + 1),
                after.weight.eq(after.weight + 1),
            ]
        m.d.comb += [
            tokens.i.valid.eq(loops.valid | row.valid),
            tokens.i.payload.eq(Mux(row.idle, loops.token, row.token)),
            self.read_req.payload.eq(head.addr),
            self.read_req.valid.eq(token.valid & head.read & (quarter == 0)),
            token.ready.eq(Mux(head.row, quarter == 3, ~head.read | self.read_req.ready)),
            moves.eq(token.valid & token.ready),
            datapath.i_valid.eq(moves & ~head.row | follows),
            datapath.i_token.eq(head),
            datapath.i_row.on.eq(begins | quarter.any()), datapath.i_row.quarter.eq(quarter),
            *(datapath.i_row[name].eq(head[name]) for name in ("first", "tail", "index")),
            datapath.row.eq(~row.idle), datapath.settings.eq(row.settings),
            row.top.eq(datapath.top), row.ready.eq(datapath.full), row.used.eq(datapath.used),
            row.finished.eq(datapath.o_valid & datapath.o_result.last),
            datapath.read_data.eq(self.read_data),
            results.valid.eq(datapath.o_valid),
            results.result.eq(datapath.o_result),
        ]
        with m.If(follows):
            m.d.comb += [
                datapath.i_token.eq(after), datapath.i_token.param.eq(1),
                datapath.i_token.index.eq(number), datapath.i_token.push.eq(number == 3),
            ]
        self.follow(m, results.retire)
        return m
