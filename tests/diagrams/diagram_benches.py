"""What the timing diagrams of docs/architecture.md show: some cycles of a block of ``tiny``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import Module
from amaranth.sim import Simulator

from falconet.isa import Engine, Load, Mac, Window, instruction_classes, preset
from falconet_hw.control.dispatch import Dispatch
from falconet_hw.engine.output import OutputStage
from falconet_hw.scratchpad.banks import READ_LATENCY, Scratchpad, bank_of
from falconet_sim.wave.picture import Labels, draw
from falconet_sim.wave.vcd import Recording, matching, names, record

__all__ = ["DIAGRAMS", "Diagram"]

ARCH = preset("tiny")
_BUSY = (Engine.LOAD, Engine.MAC, Engine.VEC)


@dataclass(frozen=True)
class Diagram:
    """``bench(dut, ctx)`` drives what ``make`` makes, called ``block``; of ``cycles`` cycles its
    ``signals`` are drawn, those of ``labels`` not as hex."""

    block: str
    make: Callable[[], Any]
    bench: Callable[[Any, Any], Any]
    signals: tuple[str, ...]
    cycles: int
    labels: Labels

    def record(self, folder: Path) -> Recording:
        """A simulation of the RTL, by way of a VCD file in ``folder``."""
        m, dut, file = Module(), self.make(), folder / "block.vcd"
        m.submodules[self.block] = dut
        simulator = Simulator(m)
        simulator.add_clock(1e-8)

        async def run(ctx: Any) -> None:
            await self.bench(dut, ctx)

        simulator.add_testbench(run)
        with simulator.write_vcd(str(file)):
            simulator.run_until((self.cycles + 0.75) * 1e-8)
        known = names(file)
        own = [f"top.{self.block}.{s}" for s in self.signals]
        return record(file, known, matching(known, own), cycles=self.cycles)

    def draw(self, folder: Path, picture: Path) -> None:
        draw(self.record(folder), picture, self.labels)


async def _scratchpad(dut: Any, ctx: Any) -> None:
    """LOAD writes three words; the MAC and the vector engine read from two banks, then from one."""
    twin = next(a for a in range(3, 512) if bank_of(a, ARCH.banks) == bank_of(1, ARCH.banks))
    ctx.set(dut.load_write.valid, 1)
    for address, data in ((1, 0x11), (2, 0x22), (twin, 0x33)):
        ctx.set(dut.load_write.payload, {"addr": address, "data": data})
        await ctx.tick()
    ctx.set(dut.load_write.valid, 0)
    ctx.set(dut.load_write.payload, {"addr": 0, "data": 0})
    await ctx.tick()
    for addresses in ((1, 2), (1, twin)):
        wanted = dict(zip((dut.mac_req, dut.vec_req), addresses))
        while wanted:
            for port in (dut.mac_req, dut.vec_req):
                ctx.set(port.valid, port in wanted)
                ctx.set(port.payload, wanted.get(port, 0))
            taken = [p for p in wanted if ctx.get(p.ready)]
            await ctx.tick()
            wanted = {p: a for p, a in wanted.items() if p not in taken}
    for port in (dut.mac_req, dut.vec_req):
        ctx.set(port.valid, 0)
        ctx.set(port.payload, 0)


async def _output(dut: Any, ctx: Any) -> None:
    """Two words one behind the other, a third through the table, after one entry was written."""
    params = [{"bias": 10, "mult": 1 << 16, "mult_neg": 1 << 13, "shift": 18, "zero": 0}
              ] * ARCH.lanes
    ctx.set(dut.table_en, 1)
    ctx.set(dut.table_addr, 144 // ARCH.lanes)
    ctx.set(dut.table_data, 0x55)
    await ctx.tick()
    ctx.set(dut.table_en, 0)
    for name, value in (("lo", -128), ("hi", 127), ("zp", 3)):
        ctx.set(getattr(dut, f"i_{name}"), value)
    for acc, table in ((190, 0), (-400, 0), (42, 1)):
        ctx.set(dut.i_acc[0], acc)
        for i, lane in enumerate(params):
            for key, value in lane.items():
                if key != "zero":
                    ctx.set(dut.i_params[i][key], value)
        ctx.set(dut.i_table, table)
        ctx.set(dut.i_valid, 1)
        await ctx.tick()
    ctx.set(dut.i_valid, 0)


async def _dispatch(dut: Any, ctx: Any) -> None:
    """A MAC instruction waits for the LOAD before it, a WINDOW for the MAC; all engines are idle
    and take what they are offered at once."""
    for e in _BUSY:
        ctx.set(dut.engines[e].ready, 1)
    program = [Load(run=1), Mac(wait_load=1), Window(wait_mac=1)]
    left = list(program)
    busy: dict[int, int] = {}
    cycle = 0
    while True:
        ctx.set(dut.instr.valid, bool(left))
        if left:
            ctx.set(dut.instr.payload, int.from_bytes(left[0].encode(), "little"))
        started = [e for e in Engine if ctx.get(dut.start[e])]
        taken = left and ctx.get(dut.instr.ready)
        await ctx.tick()
        cycle += 1
        if taken:
            left.pop(0)
        busy.update({int(e): cycle + 2 for e in started})  # each works for three cycles
        ctx.set(dut.retire, sum(1 << e for e, end in busy.items() if end == cycle))


_OPCODES = {c.opcode: c.mnemonic for c in instruction_classes()}


def _mnemonic(word: int) -> str:
    return _OPCODES.get(int.from_bytes(word.to_bytes(64, "little")[:1], "little"), "")


def _engines(bits: int) -> str:
    return " ".join(e.name for e in Engine if bits >> e & 1)


def _signed(bits: int) -> Callable[[int], str]:
    return lambda v: str(v - (1 << bits) if v >> (bits - 1) else v)


_WRITE = ("valid", "ready", "payload.addr", "payload.data")
_READ = ("valid", "ready", "payload")

DIAGRAMS = {d.block: d for d in (
    Diagram(
        "scratchpad", lambda: Scratchpad(arch=ARCH), _scratchpad,
        (*(f"load_write__{s}" for s in _WRITE), *(f"mac_req__{s}" for s in _READ), "mac_data",
         *(f"vec_req__{s}" for s in _READ), "vec_data"),
        10 + READ_LATENCY, {s: "{:x}".format for s in ("addr", "data", "payload")}),
    Diagram(
        "output", lambda: OutputStage(arch=ARCH), _output,
        ("table_en", "i_valid", "i_acc", "i_table", "o_valid", "o_data"), 18,
        {"i_acc": _signed(ARCH.acc_bits), "o_data": lambda v: _signed(8)(v & 0xFF)}),
    Diagram(
        "dispatch", lambda: Dispatch(arch=ARCH), _dispatch,
        ("instr__valid", "instr__ready", "instr__payload", "start", "retire",
         *(f"retired__{e.value}" for e in _BUSY)), 20,
        {"instr__payload": _mnemonic, "start": _engines, "retire": _engines,
         **{f"retired__{e.value}": str for e in _BUSY}}),
)}
"""By the name of the block."""
