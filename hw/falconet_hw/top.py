"""The machine: all blocks, wired."""

from __future__ import annotations

from typing import Any

from amaranth import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetSignal,
    Signal,
)
from amaranth.lib.wiring import Component, Out, Signature, connect, flipped

from falconet.isa import Arch, Dst, Engine, ErrorCode, Segment
from falconet_hw.bus import (
    Axi3ReadSignature,
    Axi3WriteSignature,
    AxiLiteSignature,
    LoadSignature,
    TraceSignature,
)
from falconet_hw.control.dispatch import Dispatch
from falconet_hw.control.fetch import Fetch
from falconet_hw.control.registers import Registers
from falconet_hw.control.run import Counters, MachineControl
from falconet_hw.detect.engine import DetectEngine
from falconet_hw.dma.axi import ReadMaster, WriteMaster
from falconet_hw.dma.load import LoadEngine
from falconet_hw.dma.store import StoreEngine
from falconet_hw.engine.shell import EngineShell
from falconet_hw.mac.engine import MacEngine
from falconet_hw.scratchpad.banks import READ_LATENCY, Scratchpad
from falconet_hw.scratchpad.port import SharedPort
from falconet_hw.stream.delay import delay
from falconet_hw.vector.engine import VectorEngine

__all__ = ["Falconet"]


class _Blocks:
    """Everything that the machine is made of."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.registers = Registers(arch=arch)
        self.counters = Counters()
        self.fetch = Fetch(arch=arch)
        self.dispatch = Dispatch(arch=arch)
        self.load = LoadEngine(arch=arch)
        self.mac = MacEngine(arch=arch, read_latency=READ_LATENCY)
        self.vec = VectorEngine(arch=arch, read_latency=READ_LATENCY)
        self.store = StoreEngine(arch=arch, read_latency=READ_LATENCY)
        self.detect = DetectEngine(arch=arch, read_latency=READ_LATENCY)
        self.scratchpad = Scratchpad(arch=arch)
        self.port = SharedPort()
        self.read0 = ReadMaster(arch=arch)
        self.read1 = ReadMaster(arch=arch)
        self.write0 = WriteMaster(arch=arch)
        self.engines: dict[Engine, EngineShell] = {
            Engine.LOAD: self.load, Engine.MAC: self.mac, Engine.VEC: self.vec,
            Engine.STORE: self.store, Engine.DETECT: self.detect,
        }
        self.fallible: tuple[Any, ...] = (
            self.load, self.store, self.read0, self.read1, self.write0, self.fetch,
        )
        self.control = MachineControl(n_sources=1 + len(self.fallible))  # and dispatch


class Falconet(Component):
    """One Falconet machine.

    Synchronous to ``sync``. Its reset is taken into registers and passed from block to block, one
    cycle each, so that no net reaches all registers; RESET and START of the register CONTROL go
    the same way (:class:`falconet_hw.control.run.MachineControl`).

    Parameters
    ----------
    arch: Arch
    trace: bool
        Add the port ``trace``.

    Members
    -------
    axil: Out(AxiLiteSignature())
        The registers.
    m0: Out({"read": Out(Axi3ReadSignature()), "write": Out(Axi3WriteSignature())})
        LOAD, FETCH and STORE.
    m1: Out({"read": Out(Axi3ReadSignature())})
        LOAD.
    irq: Out(1)
        High while DONE or ERROR is set and IRQ_ENABLE is.
    trace: Out(TraceSignature(arch))
        Words accepted by the memories, engines' starts and retirements, in the cycle in which
        they happen. A start counts when the engine reports it.
    """

    def __init__(self, *, arch: Arch, trace: bool = False) -> None:
        self.arch = arch.validate()
        members: dict[str, Any] = {
            "axil": Out(AxiLiteSignature()),
            "m0": Out(Signature({
                "read": Out(Axi3ReadSignature()), "write": Out(Axi3WriteSignature()),
            })),
            "m1": Out(Signature({"read": Out(Axi3ReadSignature())})),
            "irq": Out(1),
        }
        if trace:
            members["trace"] = Out(TraceSignature(arch))
        self.has_trace = trace
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rst = Signal()
        m.domains.machine = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal("machine").eq(ClockSignal("sync")), rst.eq(ResetSignal("sync"))]
        m.submodules.machine = DomainRenamer({"sync": "machine"})(self._machine(rst))
        return m

    def _machine(self, rst: Signal) -> Module:
        m = Module()
        blocks = _Blocks(self.arch)
        self._reset(m, blocks, rst)
        self._control(m, blocks)
        self._instructions(m, blocks)
        self._words(m, blocks)
        self._ddr(m, blocks)
        if self.has_trace:
            self._trace(m, blocks)
        return m

    @staticmethod
    def _reset(m: Module, b: _Blocks, rst: Signal) -> None:
        """Two chains, every stage of which resets one block: a domain each, all of one clock."""
        for reset, chain in (
            (rst, ("registers", "control")),
            (b.control.clear, (
                "counters", "fetch", "dispatch", "load", "mac", "vec", "store", "detect",
                "scratchpad", "read0", "read1", "write0",
            )),
        ):
            for name in chain:
                reset = delay(m, reset, 1, name=f"reset_{name}")
                domain = ClockDomain(name)
                m.domains += domain
                m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(reset)]
                m.submodules[name] = DomainRenamer(name)(getattr(b, name))
        m.submodules.port = b.port  # no registers

    def _control(self, m: Module, b: _Blocks) -> None:
        """Control, its registers, and what stops when it says so."""
        registers, control = b.registers, b.control
        connect(m, flipped(self.axil), registers.axil)
        quiet = Signal()
        m.d.sync += quiet.eq(b.read0.idle & b.read1.idle & b.write0.idle)
        m.d.comb += [
            self.irq.eq(registers.irq),
            control.start.eq(registers.start), control.reset.eq(registers.reset),
            control.quiet.eq(quiet), control.finished.eq(b.fetch.ended & b.dispatch.idle),
            registers.status.eq(control.status),
            registers.error_code.eq(control.error_code),
            registers.error_info.eq(control.error_info),
            registers.cycles.eq(b.counters.cycles),
            b.counters.running.eq(control.running),
            b.fetch.start.eq(control.go),
            b.fetch.offset.eq(registers.program_offset),
            b.fetch.length.eq(registers.program_length),
            b.dispatch.halt.eq(control.stop),
            *(x.stop.eq(control.stop)
              for x in (b.fetch, b.load, b.store, b.read0, b.read1, b.write0)),
        ]
        for s in Segment:
            for block in (b.fetch, b.load, b.store):
                m.d.comb += [
                    block.segments[s].base.eq(getattr(registers, f"{s.name.lower()}_base")),
                    block.segments[s].size.eq(getattr(registers, f"{s.name.lower()}_size")),
                ]
        refused, *errors = control.errors
        m.d.comb += [
            refused.valid.eq(b.dispatch.bad_opcode | b.dispatch.bad_field),
            refused.code.eq(Mux(b.dispatch.bad_opcode, ErrorCode.OPCODE, ErrorCode.FIELD)),
            refused.address.eq(b.dispatch.index),
            *(e.eq(block.error) for e, block in zip(errors, b.fallible)),
        ]

    @staticmethod
    def _instructions(m: Module, b: _Blocks) -> None:
        connect(m, b.fetch.instr, b.dispatch.instr)
        for e, engine in b.engines.items():
            name = e.name.lower()
            connect(m, b.dispatch.engines[e], engine.instr)
            m.d.comb += [
                b.dispatch.retire[e].eq(engine.retire),
                b.counters.busy[e].eq(engine.busy),
                getattr(b.registers, f"retired_{name}").eq(b.dispatch.retired[e]),
                getattr(b.registers, f"busy_{name}").eq(b.counters.busy_cycles[e]),
            ]

    @staticmethod
    def _words(m: Module, b: _Blocks) -> None:
        """Words on chip: the scratchpad's ports, the records, the load bus."""
        scratchpad, port = b.scratchpad, b.port
        for name, reader in (("mac", b.mac), ("vec", b.vec)):
            connect(m, reader.read_req, getattr(scratchpad, f"{name}_req"))
            m.d.comb += reader.read_data.eq(getattr(scratchpad, f"{name}_data"))
        connect(m, port.req, scratchpad.store_req)
        for name, reader in (("store", b.store), ("detect", b.detect)):
            connect(m, reader.read_req, getattr(port, name))
            m.d.comb += reader.read_data.eq(scratchpad.store_data)
        connect(m, b.store.record_req, b.detect.record_req)
        m.d.comb += b.store.record_data.eq(b.detect.record_data)
        for name, writer in (("mac", b.mac), ("vec", b.vec), ("load", b.load)):
            connect(m, writer.write, getattr(scratchpad, f"{name}_write"))
        # Registers on the load bus; retirement takes longer to get around.
        bus = {n: getattr(b.load.load, n) for n in LoadSignature(b.arch).members}
        for name, user in (("mac", b.mac), ("vec", b.vec), ("detect", b.detect)):
            bus = {
                n: delay(m, v, 1, name=f"{name}_load_{n}", reset=n == "valid")
                for n, v in bus.items()
            }
            m.d.comb += [getattr(user.load, n).eq(v) for n, v in bus.items()]

    def _ddr(self, m: Module, b: _Blocks) -> None:
        connect(m, b.load.m0, b.read0.load)
        connect(m, b.load.m1, b.read1.load)
        connect(m, b.fetch.read, b.read0.fetch)
        connect(m, b.store.m0, b.write0.client)
        connect(m, b.read0.bus, flipped(self.m0.read))
        connect(m, b.read1.bus, flipped(self.m1.read))
        connect(m, b.write0.bus, flipped(self.m0.write))

    def _trace(self, m: Module, b: _Blocks) -> None:
        trace = self.trace
        for name, writer in (("load", b.load), ("mac", b.mac), ("vec", b.vec)):
            word = writer.write
            m.d.comb += [
                getattr(trace, f"{name}_valid").eq(word.valid & word.ready),
                getattr(trace, f"{name}_addr").eq(word.payload.addr),
                getattr(trace, f"{name}_data").eq(word.payload.data),
            ]
        m.d.comb += trace.load_dst.eq(Dst.SCRATCHPAD)
        with m.If(b.load.load.valid):
            m.d.comb += [
                trace.load_valid.eq(1), trace.load_dst.eq(b.load.load.dst),
            ]
        for e, engine in b.engines.items():
            m.d.comb += [trace.start[e].eq(engine.start), trace.retire[e].eq(engine.retire)]
