"""The MAC engine: sequencer, weight memory, array, output stage, and the queues around them."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from falconet.isa import Arch, Dst
from falconet_hw.engine.output import OutputStage
from falconet_hw.engine.shell import EngineShell, Results, compute_ports
from falconet_hw.mac.array import MacArray
from falconet_hw.mac.params import MacParams
from falconet_hw.mac.sequencer import MacSequencer, MacStep
from falconet_hw.mac.weights import WeightMemory
from falconet_hw.stream.delay import delay
from falconet_hw.stream.fifo import Fifo

__all__ = ["MacEngine"]

_STEPS = 16  # depth of the queue of steps


class MacEngine(EngineShell):
    """Runs MAC (docs/isa.md), in order, each instruction beginning while the former drains.

    The sequencer makes one step a cycle into a queue, which is emptied at one a cycle: a step that
    reads waits for ``read_req``, all others (padding, parameters) pass. Behind that nothing
    stalls: a step that ends a sum is let through only while the queue of results has room for all
    that is under way, and parameters only once those before them are in use, which costs blocks
    of fewer than ``array.latency + P - 1`` steps, ``P`` of them for parameters, the difference.

    Without stalls a block takes ``P + n_y * n_x * n_ky * n_kx * n_ib * S`` cycles, or that number
    if it has fewer, and there are two between instructions. A word is read once and multiplied in
    ``S = word_steps`` steps.

    Parameters
    ----------
    arch : Arch
    read_latency : int
        Cycles from a transfer on ``read_req`` to its word on ``read_data``; at least 1.

    Members
    -------
    read_req, read_data, write, load : see :func:`compute_ports`
        Words are written in the order of the loops; an instruction retires when ``write`` takes
        its last one. Of what is loaded, WEIGHTS and MAC_TABLE are for this engine.
    """

    def __init__(self, arch: Arch, read_latency: int = 4) -> None:
        if read_latency < 1:
            raise ValueError(f"read_latency={read_latency} must be at least 1")
        self.read_latency = read_latency
        self.array = MacArray(arch=arch)
        self.stage = OutputStage(arch=arch)
        super().__init__(arch, compute_ports(arch))

    @property
    def acc_latency(self) -> int:
        """Cycles from a step's issue to its accumulator: read, padding, array."""
        return self.read_latency + 1 + self.array.latency

    @property
    def latency(self) -> int:
        """Cycles from a step's issue to its word at the queue of results."""
        return self.acc_latency + self.stage.latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        arch, lanes = self.arch, self.arch.lanes
        # Besides the pipeline a result spends a few cycles in the queue and its counter.
        n_results = 1 << ceil_log2(self.latency + 4)
        m.submodules.sequencer = sequencer = MacSequencer(arch=arch)
        m.submodules.steps = steps = Fifo(MacStep(arch), depth=_STEPS)
        m.submodules.weights = weights = WeightMemory(arch=arch)
        m.submodules.params = params = MacParams(arch=arch)
        m.submodules.array = array = self.array
        m.submodules.stage = stage = self.stage
        m.submodules.results = results = Results(arch=arch, depth=n_results)

        wiring.connect(m, wiring.flipped(self.instr), sequencer.instr)
        wiring.connect(m, wiring.flipped(self.load), weights.load)
        # Steps made in this cycle and up to LATENCY + 1 before are not in the level yet.
        m.d.sync += sequencer.go.eq(steps.level <= _STEPS - sequencer.LATENCY - 2)
        m.d.comb += [steps.i.valid.eq(sequencer.valid), steps.i.payload.eq(sequencer.step)]

        step = steps.o.payload
        permit = Signal()
        issue = Signal()
        param = issue & step.param
        last_param = param & (step.index == arch.weight_param_words - 1)
        m.d.comb += results.promise.eq(issue & step.push)
        settled = self._settled(m, last_param)
        m.d.comb += [
            permit.eq(steps.o.valid & (results.room | ~step.push) & (settled | ~step.param)),
            self.read_req.valid.eq(permit & step.read),
            self.read_req.payload.eq(step.addr),
            steps.o.ready.eq(permit & (self.read_req.ready | ~step.read)),
            issue.eq(steps.o.ready),
        ]

        # Cycle 0 is that of the issue; the operand and slice 0 of the weights come together.
        operand_cycle = self.read_latency + 1
        is_read = delay(m, step.read, self.read_latency, name="is_read", shared=True)
        pad = delay(m, step.pad.as_unsigned(), self.read_latency, name="pad", shared=True)
        x = Signal(8 * lanes, reset_less=True)
        word = Mux(is_read, self.read_data, pad.replicate(lanes))
        if arch.word_steps == 1:
            m.d.sync += x.eq(word)
        else:
            fresh, shift = (
                delay(m, issue & bit, self.read_latency, name=name)
                for name, bit in (("fresh", ~step.shift), ("shift", step.shift))
            )
            with m.If(fresh):
                m.d.sync += x.eq(word)
            with m.Elif(shift):
                m.d.sync += x.eq(x >> 8 * arch.rows)
        product = issue & ~step.param
        m.d.comb += [
            weights.addr.eq(
                delay(m, step.weight, operand_cycle - weights.LATENCY, name="weight")
            ),
            array.i_x.eq(x[: 8 * arch.rows]),
            array.i_weights.eq(weights.data),
            array.i_enable.eq(delay(m, product, operand_cycle, name="enable", reset=True)),
            array.i_first.eq(delay(m, step.first, operand_cycle, name="first")),
        ]

        # Parameters come into use between the last sum of one block and the first of the next.
        m.d.comb += params.i_weights.eq(weights.data)
        m.d.comb += [
            params.i_load[p].eq(
                delay(m, param & (step.index == p), operand_cycle - 2, name=f"load_params{p}")
            )
            for p in range(arch.weight_param_words)
        ]
        m.d.comb += params.i_switch.eq(delay(
            m, last_param, self.acc_latency + 1 - params.SWITCH_LATENCY, name="switch",
        ))

        m.d.comb += [
            stage.i_valid.eq(
                delay(m, issue & step.push, self.acc_latency, name="push", reset=True)
            ),
            stage.i_acc.eq(array.o_acc),
            stage.i_params.eq(params.o_params),
            stage.table_en.eq(self.load.valid & (self.load.dst == Dst.MAC_TABLE)),
            stage.table_addr.eq(self.load.addr),
            stage.table_data.eq(self.load.data),
        ]
        for name in ("zp", "lo", "hi", "table"):
            m.d.comb += getattr(stage, f"i_{name}").eq(
                delay(m, step[name], self.acc_latency, name=name)
            )

        m.d.comb += [
            results.valid.eq(stage.o_valid),
            results.result.word.data.eq(stage.o_data),
            results.result.word.addr.eq(delay(m, step.out_addr, self.latency, name="out_addr")),
            results.result.last.eq(delay(m, step.last, self.latency, name="last")),
        ]
        wiring.connect(m, results.write, wiring.flipped(self.write))
        self.follow(m, results.retire)
        return m

    def _settled(self, m: Module, ends_params: Value) -> Value:
        """The parameters read last are in use, so that others may be read."""
        wait = Signal(range(self.array.latency))
        with m.If(ends_params):
            m.d.sync += wait.eq(self.array.latency - 1)
        with m.Elif(wait.any()):
            m.d.sync += wait.eq(wait - 1)
        return ~wait.any()
