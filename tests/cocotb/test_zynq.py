"""The design of a Zynq-7000 board behind PS7's own pins: a network by GP0, HP0 and HP1.

The other side of the pins is cocotbext-axi: a master with random IDs as the processor, slaves with
random pauses as the memory controller.
"""

from __future__ import annotations

import dataclasses
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from axi_bench import Ddr, Rules, pauses, read_slave, start, write_slave
from bench import run_verilog, settings
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiMaster

from falconet.compiler import compile_model
from falconet.isa import (
    MAGIC,
    REGISTERS,
    Control,
    Program,
    Segment,
    Status,
    board,
    preset,
    register,
)
from falconet.runtime.driver import segment_sizes
from falconet.runtime.tensors import pack_input, unpack_output
from falconet_hw.board import TOP, board_top
from falconet_hw.build.verilog import to_verilog
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.hosts.model import model_text

Z2 = board("pynq-z2")
TINY = dataclasses.replace(Z2, preset="tiny")
ARCH = preset("tiny")
MODEL = Path(__file__).parents[1] / "data/brevitas_digits.onnx"
BASES = {s: 0x0002_0000 * (i + 1) for i, s in enumerate(Segment)}
NAME = "zynq7_pins"

_PORT = re.compile(r"^\s+(input|output) (?:\[(\d+):0\] )?(\w+)", re.MULTILINE)
_WIDE = {"len": 8, "size": 3}  # as AXI4 has them, for the models


@cache
def bench_text() -> str:
    """The design, PS7, and a top with PS7's pins in AXI4's widths."""
    model = model_text(Z2)
    ports = _PORT.findall(model.partition("module zynq7_ports (")[2].partition(");")[0])
    outer, inner = [], []
    for direction, high, name in ports:
        width = int(high or 0) + 1
        wide = next((w for n, w in _WIDE.items()
                     if re.search(rf"__a[rw]{n}$", name)), width)
        outer.append(f"    {direction} [{wide - 1}:0] {name}")
        # A pin that is narrower than ours: an output's upper bits are 0.
        if wide != width and direction == "output":
            inner.append(f"  assign {name}[{wide - 1}:{width}] = 0;")
    pins = ", ".join(f".{n}({n}[{int(h or 0)}:0])" for _, h, n in ports)
    top = (f"module {NAME} (\n" + ",\n".join(outer) + ");\n" + "\n".join(inner)
           + f"\n  zynq7_ports ports ({pins});\nendmodule\n")
    return model + top + to_verilog(board_top(TINY), TOP)


class Host:
    """The processor and its memory."""

    def __init__(self, dut: Any, rng: random.Random, share: float) -> None:
        self.dut, self.rng = dut, rng
        self.ddr = Ddr(rng.getrandbits(16))
        self.gp0 = AxiMaster(AxiBus.from_prefix(dut, "gp0_"), dut.clk, dut.rst, max_burst_len=16)
        for side in (self.gp0.write_if, self.gp0.read_if):
            for name in ("aw", "w", "b", "ar", "r"):
                if (channel := getattr(side, f"{name}_channel", None)) is not None:
                    channel.set_pause_generator(pauses(rng, share))
        for port in ("m0__read", "m1__read"):
            read_slave(dut, port, self.ddr, rng, share)
        write_slave(dut, "m0__write", self.ddr, rng, share)

    async def write(self, name: str, value: int) -> None:
        done = await with_timeout(self.gp0.write_dword(
            Z2.registers + register(name).offset, value, awid=self.rng.getrandbits(12)), 50, "us")
        assert done is None or int(done.resp) == 0

    async def read(self, name: str) -> int:
        return int(await with_timeout(self.gp0.read_dword(
            Z2.registers + register(name).offset, arid=self.rng.getrandbits(12)), 50, "us"))


async def host(dut: Any) -> Host:
    made = Host(dut, random.Random(settings()["seed"]), settings()["share"])
    await start(dut)
    await ClockCycles(dut.clk, 20)  # the reset goes through its synchroniser
    return made


@cocotb.test()
async def registers(dut: Any) -> None:
    """Identity, writable bits, and all registers in bursts."""
    cpu = await host(dut)
    assert await cpu.read("ID") == MAGIC
    assert await cpu.read("ARCH_HASH") == ARCH.hash
    rng, expected = cpu.rng, {}
    for r in REGISTERS:
        if r.name.endswith("_BASE"):
            expected[r.name] = rng.getrandbits(20) << 12
            await cpu.write(r.name, expected[r.name])
    size = 4 * len(REGISTERS)
    found = await with_timeout(cpu.gp0.read(Z2.registers, size, arid=0xABC), 100, "us")
    words = np.frombuffer(bytes(found.data), "<u4")
    assert words[0] == MAGIC
    for name, value in expected.items():
        assert words[register(name).offset // 4] == value


@cocotb.test()
async def network(dut: Any) -> None:
    """A whole network, twice; its result is read from memory."""
    cpu = await host(dut)
    program = Program.load(settings()["program"])
    stored = np.load(settings()["inputs"])
    sizes = segment_sizes(program)
    rules = [Rules(dut, port, ARCH, [(BASES[s], sizes[s]) for s in Segment])
             for port in ("m0__read", "m1__read", "m0__write")]
    assert all(BASES[s] + sizes[s] <= BASES[s] + 0x0002_0000 for s in Segment)

    def put(at: int, data: bytes) -> None:
        cpu.ddr.bytes[at : at + len(data)] = np.frombuffer(data, np.uint8)

    for s in Segment:  # of the simulator's, memory is zero at first
        put(BASES[s], bytes(sizes[s]))
    put(BASES[Segment.CODE], program.code)
    for run in range(2):
        for t in program.header["inputs"]:
            data = pack_input(stored[f"{run}/{t['name']}"], t, ARCH.lanes)
            put(BASES[Segment.INPUT] + int(t["offset"]), data.tobytes())
        await cpu.write("CONTROL", Control.RESET)
        for s in Segment:
            await cpu.write(f"{s.name}_BASE", BASES[s])
            await cpu.write(f"{s.name}_SIZE", sizes[s])
        await cpu.write("PROGRAM_OFFSET", 0)
        await cpu.write("PROGRAM_LENGTH", program.n_instructions)
        await cpu.write("IRQ_ENABLE", 1)
        await cpu.write("CONTROL", Control.START)
        if not int(dut.irq.value):
            await with_timeout(RisingEdge(dut.irq), 20_000, "us")
        assert await cpu.read("STATUS") == Status.DONE
        at = BASES[Segment.OUTPUT]
        output = cpu.ddr.bytes[at : at + sizes[Segment.OUTPUT]]
        for t in program.header["outputs"]:
            found = unpack_output(output, t, ARCH.lanes)
            assert np.array_equal(found, stored[f"{run}/expected/{t['name']}"])
    assert all(r.bursts and not r.task.done() for r in rules)


def test_registers() -> None:
    run_verilog(bench_text(), NAME, __file__, testcase="registers", share=0.3)


def test_network(tmp_path: Path) -> None:
    program = compile_model(MODEL, ARCH, "digits")
    golden, arrays = GoldenDevice(program), {}
    for run in range(2):
        rng = np.random.default_rng(run)
        inputs = {t["name"]: rng.integers(-128, 128, t["shape"]).astype(np.int8)
                  for t in program.header["inputs"]}
        arrays |= {f"{run}/{n}": v for n, v in inputs.items()}
        arrays |= {f"{run}/expected/{n}": v for n, v in golden.run(inputs).outputs.items()}
    program.save(tmp_path / "digits.flc")
    np.savez(tmp_path / "inputs.npz", **arrays)
    run_verilog(bench_text(), NAME, __file__, testcase="network", share=0.3,
                program=str(tmp_path / "digits.flc"), inputs=str(tmp_path / "inputs.npz"))
