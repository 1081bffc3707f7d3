"""The datapath of the vector engine: weight memory, taps, sums, output stage."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from falconet.isa import Arch, Dst
from falconet_hw.bus import LoadSignature
from falconet_hw.engine.output import OutputStage
from falconet_hw.engine.shell import Result
from falconet_hw.layout import WORD_ADDRESS, ParamLayout
from falconet_hw.stream.delay import copies, delay
from falconet_hw.vector.lane import LaneControl, VectorLane

__all__ = ["Token", "VectorDatapath", "VectorWeights"]


class Token(data.StructLayout):
    """What the datapath does in one cycle: one word read from vector weight memory, and

    * ``param``: those are parameters, number ``index`` of their block; or
    * ``read``: the word at ``addr`` of the scratchpad is multiplied by them; or
    * neither: ``pad`` is.

    ``first`` starts a column. ``push`` ends the column with a result: a word for ``out_addr`` if
    ``write``; ``last`` is the instruction's last token and pushes in any case. ``product``: the
    word is multiplied by that of the column's first token too.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "addr": WORD_ADDRESS, "read": 1, "param": 1,
            "first": 1, "push": 1, "write": 1, "last": 1,
            "index": range(arch.vector_param_words),
            "weight": range(arch.vector_words),
            "out_addr": WORD_ADDRESS,
            "fresh": arch.taps, "max": 1, "digits": 1, "product": 1,
            "pad": signed(8), "zp": signed(8), "lo": signed(8), "hi": signed(8), "table": 1,
        })


class VectorWeights(wiring.Component):
    """Vector weight memory: ``vector_words`` words of ``taps * lanes`` bytes.

    Lane word ``j`` of word ``w`` is written at address ``w * taps + j`` (modulo the size). A word
    read by an ``addr`` that comes two or more cycles after a lane word's ``load`` has it.

    Members
    -------
    load : In(LoadSignature)
        Taken if ``dst`` is VECTOR.
    addr : In
    data : Out(8 * taps * lanes)
        The word, ``LATENCY`` cycles after ``addr``; one a cycle.
    """

    LATENCY = 2

    def __init__(self, *, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "load": In(LoadSignature(arch)),
            "addr": In(range(arch.vector_words)),
            "data": Out(8 * arch.taps * arch.lanes),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, width = self.arch, 8 * self.arch.lanes
        n_column = ceil_log2(arch.taps)
        w_addr = delay(m, self.load.addr[n_column:][: len(self.addr)], 1, name="w_addr")
        w_data = delay(m, self.load.data, 1, name="w_data")
        hit = self.load.valid & (self.load.dst == Dst.VECTOR)
        for j in range(arch.taps):
            memory = Memory(shape=width, depth=arch.vector_words, init=[])
            m.submodules[f"column{j}"] = memory
            wp = memory.write_port()
            rp = memory.read_port()
            enable = delay(m, hit & (self.load.addr[:n_column] == j), 1, name=f"w_en{j}")
            m.d.comb += [
                wp.addr.eq(w_addr), wp.data.eq(w_data), wp.en.eq(enable),
                rp.addr.eq(self.addr), rp.en.eq(1),
                self.data[width * j : width * (j + 1)].eq(
                    delay(m, rp.data, 1, name=f"column{j}_out")
                ),
            ]
        return m


class VectorDatapath(wiring.Component):
    """Tokens in, results out, ``latency`` cycles later; one a cycle, no stall.

    Cycles, counted from ``i_valid`` with L = ``read_latency``: L the scratchpad's word is here,
    weights' address is L - 1; L + 1 operand and weights registered; the lanes (``VectorLane``)
    give an accumulator L + 1 + ``VectorLane.LATENCY``; then the output stage.

    Parameter words travel in line with the results before and after them, so those of one block
    may directly follow the last token of another.

    Members
    -------
    i_valid, i_token : In
    read_data : In(8 * lanes)
        Word for the token ``read_latency`` cycles ago.
    load : In(LoadSignature)
        Vector weights (VECTOR) and the output stage's table (VEC_TABLE).
    o_valid, o_result : Out
        One per token with ``push``.
    """

    _GROUP = 2  # lanes that share a copy of the controls

    def __init__(self, *, arch: Arch, read_latency: int) -> None:
        self.arch = arch
        self.read_latency = read_latency
        self.stage = OutputStage(arch=arch)
        super().__init__({
            "i_valid": In(1),
            "i_token": In(Token(arch)),
            "read_data": In(8 * arch.lanes),
            "load": In(LoadSignature(arch)),
            "o_valid": Out(1),
            "o_result": Out(Result(arch, silent=True)),
        })

    @property
    def _acc_cycle(self) -> int:
        return self.read_latency + 1 + VectorLane.LATENCY

    @property
    def latency(self) -> int:
        """Cycles from ``i_valid`` to ``o_valid``."""
        return self._acc_cycle + self.stage.latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, lanes, token = self.arch, self.arch.lanes, self.i_token
        L, acc_cycle = self.read_latency, self._acc_cycle
        m.submodules.weights = weights = VectorWeights(arch=arch)
        m.submodules.stage = stage = self.stage

        for name in ("valid", "dst", "addr", "data"):
            m.d.comb += getattr(weights.load, name).eq(getattr(self.load, name))
        m.d.comb += weights.addr.eq(
            delay(m, token.weight, L + 1 - weights.LATENCY, name="weight_addr")
        )

        # The operand. Where there is none (bubbles, parameters) 0 adds nothing to any sum.
        worked = self.i_valid & ~token.param
        is_read = delay(m, worked & token.read, L, name="is_read")
        is_pad = delay(m, worked & ~token.read, L, name="is_pad")
        pad = delay(m, token.pad.as_unsigned(), L, name="pad")
        x = Signal(8 * lanes, reset_less=True)
        m.d.sync += x.eq(
            (self.read_data & is_read.replicate(len(x)))
            | (pad & is_pad.replicate(8)).replicate(lanes)
        )

        first = worked & token.first
        controls = {
            "max_enable": worked,
            "max_first": token.first,
            "product": token.product & ~token.first,
            "hold": ~first,
            "shift": ~token.fresh,
            "digits": token.digits,
            "max": token.max,
        }
        n_groups = lanes // self._GROUP
        shared = {
            name: copies(
                m, delay(m, value, L + 1 + LaneControl.CYCLE[name] - 2, name=name), n_groups,
                name=name,
            )
            for name, value in controls.items()
        }
        for i in range(lanes):
            m.submodules[f"lane{i}"] = lane = VectorLane(arch=arch)
            m.d.comb += lane.x.eq(x[8 * i : 8 * i + 8])
            for p in range(arch.taps // 2):
                at = 8 * 2 * (p * lanes + i)
                m.d.comb += lane.w[16 * p : 16 * p + 16].eq(weights.data[at : at + 16])
            m.d.comb += [
                getattr(lane.control, name).eq(values[i // self._GROUP])
                for name, values in shared.items()
            ]
            m.d.comb += stage.i_acc[i].eq(lane.acc)

        # Parameters overtake no result: their registers change as the first result that needs
        # them enters the output stage.
        width = ParamLayout(arch).size
        per_word = len(weights.data) // width
        words = [
            delay(m, weights.data[width * k : width * (k + 1)], VectorLane.LATENCY - 1,
                  name=f"param{k}")
            for k in range(per_word)
        ]
        for p in range(arch.vector_param_words):
            load = delay(m, self.i_valid & token.param & (token.index == p), acc_cycle - 1,
                         name=f"load_param{p}")
            for k, word in enumerate(words):
                held = Signal(ParamLayout(arch), name=f"lane{per_word * p + k}_params",
                              reset_less=True)
                with m.If(load):
                    m.d.sync += held.eq(word)
                m.d.comb += stage.i_params[per_word * p + k].eq(held)

        for name in ("zp", "lo", "hi", "table"):
            m.d.comb += getattr(stage, f"i_{name}").eq(
                delay(m, getattr(token, name), acc_cycle, name=name)
            )
        m.d.comb += [
            stage.i_valid.eq(
                delay(m, self.i_valid & token.push, acc_cycle, name="push", reset=True)
            ),
            stage.table_en.eq(self.load.valid & (self.load.dst == Dst.VEC_TABLE)),
            stage.table_addr.eq(self.load.addr),
            stage.table_data.eq(self.load.data),
        ]

        m.d.comb += [
            self.o_valid.eq(stage.o_valid),
            self.o_result.word.data.eq(stage.o_data),
            self.o_result.word.addr.eq(delay(m, token.out_addr, self.latency, name="out_addr")),
            self.o_result.write.eq(delay(m, token.write, self.latency, name="write")),
            self.o_result.last.eq(delay(m, token.last, self.latency, name="last")),
        ]
        return m
