"""The MAC engine: sequencer, weight memory, array, output stage, and the queues around them."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from falconet.isa import INSTRUCTION_BITS, Arch, Dst
from falconet_hw.bus import LoadSignature
from falconet_hw.credits import Credits
from falconet_hw.delay import delay
from falconet_hw.fifo import Fifo
from falconet_hw.layout import WriteBus
from falconet_hw.mac import MacArray
from falconet_hw.mac_params import MacParams
from falconet_hw.mac_sequencer import MacSequencer, MacStep
from falconet_hw.output import OutputStage
from falconet_hw.weights import WeightMemory

__all__ = ["MacEngine"]

_STEPS = 16  # depth of the queue of steps


class MacEngine(wiring.Component):
    """Runs MAC (docs/isa.md), in order, each instruction beginning while the former drains.

    The sequencer makes one step a cycle into a queue, which is emptied at one a cycle: a step that
    reads waits for ``read_req``, all others (padding, parameters) pass. Behind that nothing
    stalls: a step that ends a sum is let through only while the queue of results has room for all
    that is under way, and parameters only once those before them are in use, which costs blocks
    of fewer than ``array.latency`` steps the difference.

    Without stalls an instruction takes ``n_ob * (P + n_y * n_x * n_ky * n_kx * n_ib)`` cycles,
    and two between instructions.

    Parameters
    ----------
    arch : Arch
    read_latency : int
        Cycles from a transfer on ``read_req`` to its word on ``read_data``; at least 1.

    Members
    -------
    instr : In(stream.Signature(512))
        MAC only.
    read_req : Out(stream.Signature(16))
    read_data : In(8 * lanes)
    write : Out(stream.Signature(WriteBus))
        Words in the order of the loops.
    load : In(LoadSignature)
        Destinations WEIGHTS and MAC_TABLE; others are ignored.
    start, retire : Out(1)
        One cycle per instruction: taken from ``instr``; its last word has been accepted by
        ``write``.
    busy : Out(1)
        Instructions have started and not retired.
    """

    def __init__(self, arch: Arch, read_latency: int = 4) -> None:
        if read_latency < 1:
            raise ValueError(f"read_latency={read_latency} must be at least 1")
        self.arch = arch
        self.read_latency = read_latency
        self.array = MacArray(arch=arch)
        self.stage = OutputStage(arch=arch)
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
        result_layout = data.StructLayout({"word": WriteBus(arch), "last": 1})
        # Besides the pipeline a result spends a few cycles in the queue and its counter.
        n_results = 1 << ceil_log2(self.latency + 4)
        m.submodules.sequencer = sequencer = MacSequencer(arch=arch)
        m.submodules.steps = steps = Fifo(MacStep(arch), depth=_STEPS)
        m.submodules.weights = weights = WeightMemory(arch=arch)
        m.submodules.params = params = MacParams(arch=arch)
        m.submodules.array = array = self.array
        m.submodules.stage = stage = self.stage
        m.submodules.results = results = Fifo(result_layout, depth=n_results)

        wiring.connect(m, wiring.flipped(self.instr), sequencer.instr)
        wiring.connect(m, wiring.flipped(self.load), weights.load)
        # Steps made in this cycle and up to LATENCY + 1 before are not in the level yet.
        m.d.sync += sequencer.go.eq(steps.level <= _STEPS - sequencer.LATENCY - 2)
        m.d.comb += [steps.i.valid.eq(sequencer.valid), steps.i.payload.eq(sequencer.step)]

        step, permit, issue = steps.o.payload, Signal(), Signal()
        param = issue & step.param
        last_param = param & (step.index == arch.weight_param_words - 1)
        m.submodules.credits = credits = Credits(depth=n_results)
        m.d.comb += [
            credits.take.eq(issue & step.push),
            credits.give.eq(self.write.valid & self.write.ready),
        ]
        settled = self._settled(m, last_param)
        m.d.comb += [
            permit.eq(steps.o.valid & (credits.room | ~step.push) & (settled | ~step.param)),
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
        m.d.sync += x.eq(Mux(is_read, self.read_data, pad.replicate(lanes)))
        product = issue & ~step.param
        m.d.comb += [
            weights.addr.eq(
                delay(m, step.weight, operand_cycle - weights.LATENCY, name="weight")
            ),
            array.i_x.eq(x),
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

        result = results.o.payload
        m.d.comb += [
            results.i.valid.eq(stage.o_valid),
            results.i.payload.word.data.eq(stage.o_data),
            results.i.payload.word.addr.eq(delay(m, step.out_addr, self.latency, name="out_addr")),
            results.i.payload.last.eq(delay(m, step.last, self.latency, name="last")),
            self.write.payload.eq(result.word),
            self.write.valid.eq(results.o.valid),
            results.o.ready.eq(self.write.ready),
            self.retire.eq(self.write.valid & self.write.ready & result.last),
            self.start.eq(self.instr.valid & self.instr.ready),
        ]
        running = Signal(range(n_results + _STEPS))
        m.d.sync += running.eq(running + self.start - self.retire)
        m.d.comb += self.busy.eq(running.any())
        return m

    def _settled(self, m: Module, ends_params: Value) -> Value:
        """The parameters read last are in use, so that others may be read."""
        wait = Signal(range(self.array.latency))
        with m.If(ends_params):
            m.d.sync += wait.eq(self.array.latency - 1)
        with m.Elif(wait.any()):
            m.d.sync += wait.eq(wait - 1)
        return ~wait.any()
