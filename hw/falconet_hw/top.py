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
from falconet_hw.axi import ReadMaster, WriteMaster
from falconet_hw.bus import (
    Axi3ReadSignature,
    Axi3WriteSignature,
    AxiLiteSignature,
    TraceSignature,
)
from falconet_hw.control import Counters, MachineControl
from falconet_hw.delay import delay
from falconet_hw.detect.engine import DetectEngine
from falconet_hw.dispatch import Dispatch
from falconet_hw.fetch import Fetch
from falconet_hw.load import LoadEngine
from falconet_hw.mac_engine import MacEngine
from falconet_hw.port import SharedPort
from falconet_hw.registers import Registers
from falconet_hw.scratchpad import READ_LATENCY, Scratchpad
from falconet_hw.store import StoreEngine
from falconet_hw.vector_engine import VectorEngine

__all__ = ["Falconet"]


class Falconet(Component):
    """One Falconet machine.

    Synchronous to ``sync``. Its reset is taken into registers and passed from block to block, one
    cycle each, so that no net reaches all registers; RESET and START of the register CONTROL go
    the same way (:class:`falconet_hw.control.MachineControl`).

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
        arch = self.arch
        registers = Registers(arch=arch)
        control = MachineControl(n_sources=7)
        counters = Counters()
        fetch = Fetch(arch=arch)
        dispatch = Dispatch(arch=arch)
        load = LoadEngine(arch=arch)
        mac = MacEngine(arch=arch, read_latency=READ_LATENCY)
        vec = VectorEngine(arch=arch, read_latency=READ_LATENCY)
        store = StoreEngine(arch=arch, read_latency=READ_LATENCY)
        detect = DetectEngine(arch=arch, read_latency=READ_LATENCY)
        scratchpad = Scratchpad(arch=arch)
        m.submodules.port = port = SharedPort()
        read0, read1 = ReadMaster(arch=arch), ReadMaster(arch=arch)
        write0 = WriteMaster(arch=arch)
        engines = {
            Engine.LOAD: load, Engine.MAC: mac, Engine.VEC: vec, Engine.STORE: store,
            Engine.DETECT: detect,
        }

        # Every stage of these two chains resets one block: a domain each, all of one clock.
        for reset, chain in (
            (rst, {"registers": registers, "control": control}),
            (control.clear, {
                "counters": counters, "fetch": fetch, "dispatch": dispatch, "load": load,
                "mac": mac, "vec": vec, "store": store, "detect": detect,
                "scratchpad": scratchpad,
                "read0": read0, "read1": read1, "write0": write0,
            }),
        ):
            for name, block in chain.items():
                reset = delay(m, reset, 1, name=f"reset_{name}")
                domain = ClockDomain(name)
                m.domains += domain
                m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(reset)]
                m.submodules[name] = DomainRenamer(name)(block)

        # Control and what stops when it says so.
        connect(m, flipped(self.axil), registers.axil)
        quiet = Signal()
        m.d.sync += quiet.eq(read0.idle & read1.idle & write0.idle)
        m.d.comb += [
            self.irq.eq(registers.irq),
            control.start.eq(registers.start), control.reset.eq(registers.reset),
            control.quiet.eq(quiet), control.finished.eq(fetch.ended & dispatch.idle),
            registers.status.eq(control.status),
            registers.error_code.eq(control.error_code),
            registers.error_info.eq(control.error_info),
            registers.cycles.eq(counters.cycles),
            counters.running.eq(control.running),
            fetch.start.eq(control.go),
            fetch.offset.eq(registers.program_offset), fetch.length.eq(registers.program_length),
            dispatch.halt.eq(control.stop),
            *(b.stop.eq(control.stop) for b in (fetch, load, store, read0, read1, write0)),
        ]
        for s in Segment:
            for block in (fetch, load, store):
                m.d.comb += [
                    block.segments[s].base.eq(getattr(registers, f"{s.name.lower()}_base")),
                    block.segments[s].size.eq(getattr(registers, f"{s.name.lower()}_size")),
                ]
        refused, *errors = control.errors
        m.d.comb += [
            refused.valid.eq(dispatch.bad_opcode | dispatch.bad_field),
            refused.code.eq(Mux(dispatch.bad_opcode, ErrorCode.OPCODE, ErrorCode.FIELD)),
            refused.address.eq(dispatch.index),
            *(e.eq(b.error) for e, b in zip(errors, (load, store, read0, read1, write0, fetch))),
        ]

        # Instructions.
        connect(m, fetch.instr, dispatch.instr)
        for e, engine in engines.items():
            name = e.name.lower()
            connect(m, dispatch.engines[e], engine.instr)
            m.d.comb += [
                dispatch.retire[e].eq(engine.retire),
                counters.busy[e].eq(engine.busy),
                getattr(registers, f"retired_{name}").eq(dispatch.retired[e]),
                getattr(registers, f"busy_{name}").eq(counters.busy_cycles[e]),
            ]

        # Words on chip.
        for name, reader in (("mac", mac), ("vec", vec)):
            connect(m, reader.read_req, getattr(scratchpad, f"{name}_req"))
            m.d.comb += reader.read_data.eq(getattr(scratchpad, f"{name}_data"))
        connect(m, port.req, scratchpad.store_req)
        for name, reader in (("store", store), ("detect", detect)):
            connect(m, reader.read_req, getattr(port, name))
            m.d.comb += reader.read_data.eq(scratchpad.store_data)
        connect(m, store.record_req, detect.record_req)
        m.d.comb += store.record_data.eq(detect.record_data)
        for name, writer in (("mac", mac), ("vec", vec), ("load", load)):
            connect(m, writer.write, getattr(scratchpad, f"{name}_write"))
        # Registers on the load bus; retirement takes longer to get around.
        bus = {n: load.load[n] for n in ("dst", "addr", "data")}
        valid = load.load_valid
        for name, user in (("mac", mac), ("vec", vec), ("detect", detect)):
            bus = {n: delay(m, v, 1, name=f"{name}_load_{n}") for n, v in bus.items()}
            valid = delay(m, valid, 1, name=f"{name}_load_valid", reset=True)
            m.d.comb += [getattr(user.load, n).eq(v) for n, v in bus.items()]
            m.d.comb += user.load.valid.eq(valid)

        # DDR.
        connect(m, load.m0, read0.load)
        connect(m, load.m1, read1.load)
        connect(m, fetch.read, read0.fetch)
        connect(m, store.m0, write0.client)
        connect(m, read0.bus, flipped(self.m0.read))
        connect(m, read1.bus, flipped(self.m1.read))
        connect(m, write0.bus, flipped(self.m0.write))

        if self.has_trace:
            self._trace(m, load, mac, vec, engines)
        return m

    def _trace(self, m: Module, load: Any, mac: Any, vec: Any, engines: dict[Engine, Any]) -> None:
        trace = self.trace
        for name, writer in (("load", load), ("mac", mac), ("vec", vec)):
            word = writer.write
            m.d.comb += [
                getattr(trace, f"{name}_valid").eq(word.valid & word.ready),
                getattr(trace, f"{name}_addr").eq(word.payload.addr),
                getattr(trace, f"{name}_data").eq(word.payload.data),
            ]
        m.d.comb += trace.load_dst.eq(Dst.SCRATCHPAD)
        with m.If(load.load_valid):
            m.d.comb += [
                trace.load_valid.eq(1), trace.load_dst.eq(load.load.dst),
            ]
        for e, engine in engines.items():
            m.d.comb += [trace.start[e].eq(engine.start), trace.retire[e].eq(engine.retire)]
