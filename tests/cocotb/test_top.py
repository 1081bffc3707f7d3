"""The whole machine on a small hand-written program, as its driver and its memory see it."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component, Out, Signature, connect, flipped
from axi_bench import (
    Axi4Signature,
    Ddr,
    Rules,
    pauses,
    read_slave,
    reset,
    start,
    widen,
    write_slave,
)
from bench import run, settings
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from programs import Assembler, mac_words, params, tap_words

from falconet.isa import (
    Control,
    Dst,
    Elementwise,
    Engine,
    ErrorCode,
    Load,
    Mac,
    Program,
    Segment,
    Status,
    Store,
    Window,
    output_stage,
    preset,
    register,
)
from falconet_hw.bus import Axi3ReadSignature, Axi3WriteSignature, AxiLiteSignature
from falconet_hw.top import Falconet

ARCH = preset("tiny")
LANES, H, W, N_OB = ARCH.lanes, 6, 7, 2
BASES = {Segment.CODE: 0x1000_0000, Segment.INPUT: 0x2004_0000, Segment.OUTPUT: 0x2006_0000,
         Segment.WORK: 0xFFF8_0000}
SIZES = {Segment.CODE: 0x8000, Segment.INPUT: 0x1000, Segment.OUTPUT: 0x1000, Segment.WORK: 0x1000}
STRIDE = {"y_step": W * N_OB, "x_step": 1, "b_step": W}  # of a tensor of N_OB blocks
WORDS = H * W * N_OB
PADDED = {"iy0": -1, "ix0": -1, "in_h": H, "in_w": W, "stride_y": 1, "stride_x": 1, "dil_y": 1,
          "dil_x": 1, "n_ky": 3, "n_kx": 3, "n_y": H, "n_x": W}


class TopBench(Component):
    """The machine with AXI4's lengths, for the memory models."""

    def __init__(self) -> None:
        super().__init__({
            "axil": Out(AxiLiteSignature()),
            "m0": Out(Signature({
                "read": Out(Axi4Signature(Axi3ReadSignature())),
                "write": Out(Axi4Signature(Axi3WriteSignature())),
            })),
            "m1": Out(Signature({"read": Out(Axi4Signature(Axi3ReadSignature()))})),
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.top = top = Falconet(arch=ARCH)
        connect(m, flipped(self.axil), top.axil)
        m.d.comb += self.irq.eq(top.irq)
        widen(m, top.m0.read, self.m0.read)
        widen(m, top.m0.write, self.m0.write)
        widen(m, top.m1.read, self.m1.read)
        return m


# --------------------------------------------------------------------------- the program


def prefixed(prefix: str, base: int, steps: dict[str, int]) -> dict[str, int]:
    return {f"{prefix}_base": base, **{f"{prefix}_{k}": v for k, v in steps.items()}}


class Case:
    """Convolution 3x3, depthwise 3x3 of it, their sum: program, input and expected output."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.integers(-128, 128, (H, W, LANES)).astype(np.int8)
        conv = rng.integers(-127, 128, (N_OB, 3, 3, 1, LANES, LANES))
        depthwise = rng.integers(-127, 128, (N_OB, 3, 3, LANES))
        shifts = {"MAC": 24, "WINDOW": 22, "ELTW": 24}
        self.params = {
            op: [[{"bias": int(rng.integers(-5000, 5000)), "mult": int(rng.integers(1, 2**17)),
                   "mult_neg": int(rng.integers(1, 2**17)), "shift": shift}
                  for _ in range(LANES)] for _ in range(N_OB)]
            for op, shift in shifts.items()
        }
        self.stage = {op: {"zp": int(rng.integers(-9, 9)), "lo": -120, "hi": 110}
                      for op in shifts}
        pad = {"MAC": -3, "WINDOW": 5}
        scales = [300, -77]

        a = self.layer("MAC", self.windows(self.x[..., None, :], pad["MAC"], lambda b, win: (
            np.einsum("hwi,hwio->o", win[:, :, 0], conv[b, :, :, 0]))))
        b = self.layer("WINDOW", self.windows(a, pad["WINDOW"], lambda b, win: (
            (win[:, :, b] * depthwise[b]).sum((0, 1)))))
        total = a.astype(int) * scales[0] + b.astype(int) * scales[1]
        self.expected = self.layer("ELTW", total).transpose(0, 2, 1, 3)  # row, block, column, lane

        asm = Assembler(ARCH)
        blocks = {
            op: [params(*([q[k] for q in block] for k in ("bias", "mult", "shift", "mult_neg")))
                 for block in of] for op, of in self.params.items()
        }
        x_at, y_at = asm.input("x", H * W), asm.output("y", WORDS)
        asm.constant(mac_words(ARCH, conv, blocks["MAC"]), Dst.WEIGHTS)
        taps = np.zeros((N_OB, 9, ARCH.taps, LANES), int)
        taps[:, :, -1] = depthwise.reshape(N_OB, 9, LANES)
        words = tap_words(ARCH, taps, blocks["WINDOW"])
        eltw_at = len(words) // (ARCH.taps * LANES)
        digits = np.zeros((N_OB, 2, ARCH.taps, LANES), int)
        for i, c in enumerate(scales):
            low = (c + 64) % 128 - 64
            digits[:, i, -1], digits[:, i, -2] = low, (c - low) >> 7
        words += tap_words(ARCH, digits, blocks["ELTW"])
        asm.constant(words, Dst.VECTOR)
        asm.add(Load(segment=Segment.INPUT, offset=x_at, dst=Dst.SCRATCHPAD, base=8, run=H * W))
        # A view begins at the first window's first pixel, which is padding: not in the tensor.
        x_steps = {"y_step": W, "x_step": 1, "ky_step": W, "kx_step": 1}
        asm.add(Mac(**prefixed("in", 8 - W - 1, x_steps), **PADDED,
                    **prefixed("out", 400, STRIDE), n_ob=N_OB, n_ib=1, pad=pad["MAC"],
                    **self.stage["MAC"]))
        a_steps = {**STRIDE, "ky_step": W * N_OB, "kx_step": 1}
        asm.add(Window(**prefixed("in", 400 - W * N_OB - 1, a_steps), **PADDED,
                       **prefixed("out", 800, STRIDE), n_b=N_OB,
                       fresh=1 << (ARCH.taps - 1), skip=0, every=1, w_base=0,
                       w_b_step=ARCH.vector_param_words + 9, w_k_step=1, pad=pad["WINDOW"],
                       **self.stage["WINDOW"]))
        asm.add(Elementwise(**prefixed("a", 400, STRIDE), **prefixed("b", 800, STRIDE),
                            **prefixed("out", 1200, STRIDE), n_src=2, n_b=N_OB, n_y=H, n_x=W,
                            w_base=eltw_at, w_b_step=ARCH.vector_param_words + 2,
                            **self.stage["ELTW"]))
        asm.add(Store(segment=Segment.OUTPUT, offset=y_at, base=1200, run=WORDS))
        self.program: Program = asm.program()

    @staticmethod
    def windows(x: np.ndarray, pad: int, acc: Any) -> np.ndarray:
        """Accumulators [row, column, block, lane]."""
        padded = np.pad(x.astype(int), ((1, 1), (1, 1), (0, 0), (0, 0)), constant_values=pad)
        return np.array([[[acc(b, padded[y : y + 3, x : x + 3]) for b in range(N_OB)]
                          for x in range(W)] for y in range(H)])

    def layer(self, op: str, acc: np.ndarray) -> np.ndarray:
        out = np.empty_like(acc)
        for at in np.ndindex(*acc.shape):
            out[at] = output_stage(
                int(acc[at]), **self.params[op][at[2]][at[3]], **self.stage[op])
        return out.astype(np.int8)


# --------------------------------------------------------------------------- driver and memory


class Driver:
    """What a driver does, in a few lines, and the machine's memory."""

    def __init__(self, dut: Any, case: Case, rng: random.Random, share: float) -> None:
        self.dut, self.case, self.rng = dut, case, rng
        self.ddr = Ddr(rng.getrandbits(16))
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "axil_"), dut.clk, dut.rst)
        for channel in (self.axi.write_if.aw_channel, self.axi.write_if.w_channel,
                        self.axi.read_if.r_channel):
            channel.set_pause_generator(pauses(rng, share))
        for port in ("m0__read", "m1__read"):
            read_slave(dut, port, self.ddr, rng, share)
        write_slave(dut, "m0__write", self.ddr, rng, share)

    async def begin(self) -> None:
        await start(self.dut)
        self.rules = [
            Rules(self.dut, port, ARCH, [
                (BASES[s], SIZES[s]) for s in Segment
                if port != "m0__write" or s in (Segment.OUTPUT, Segment.WORK)])
            for port in ("m0__read", "m1__read", "m0__write")
        ]
        await self.setup()

    async def write(self, name: str, value: int) -> None:
        await self.axi.write_dword(register(name).offset, value)

    async def read(self, name: str) -> int:
        return int(await self.axi.read_dword(register(name).offset))

    async def setup(self, **changes: int) -> None:
        """Write every register that a program needs; ``changes`` go last."""
        values = {"IRQ_ENABLE": 1, "PROGRAM_OFFSET": 0,
                  "PROGRAM_LENGTH": self.case.program.n_instructions}
        for s in Segment:
            values |= {f"{s.name}_BASE": BASES[s], f"{s.name}_SIZE": SIZES[s]}
        for name, value in (values | changes).items():
            await self.write(name, value)

    async def place(self, code: bytes | None = None) -> None:
        """Program and input to memory; what is not of them is noise, the output too."""
        await self.ddr.write(BASES[Segment.CODE], self.case.program.code if code is None else code)
        await self.ddr.write(BASES[Segment.INPUT], self.case.x.tobytes())
        await self.ddr.write(BASES[Segment.OUTPUT], self.rng.randbytes(SIZES[Segment.OUTPUT]))

    async def start(self) -> None:
        await self.write("CONTROL", Control.START)

    async def wait(self) -> int:
        for _ in range(400):
            await ClockCycles(self.dut.clk, 25)
            if int(self.dut.irq.value):
                assert all(r.outstanding == 0 for r in self.rules)
                return await self.read("STATUS")
        raise AssertionError("the machine never came to an end")

    async def check_good_run(self) -> None:
        """A run of the unchanged program, memory and counters compared."""
        await self.place()
        before = self.ddr.bytes.copy()
        await self.start()
        assert await self.wait() == Status.DONE
        at = BASES[Segment.OUTPUT] & 0xFFFFF
        before[at : at + self.case.expected.size] = self.case.expected.astype(np.uint8).ravel()
        np.testing.assert_array_equal(self.ddr.bytes, before)
        assert await self.read("ERROR_CODE") == ErrorCode.NONE
        cycles = await self.read("CYCLES")
        for engine, n in ((Engine.LOAD, 3), (Engine.MAC, 1), (Engine.VEC, 2), (Engine.STORE, 1)):
            assert await self.read(f"RETIRED_{engine.name}") == n
            assert 0 < await self.read(f"BUSY_{engine.name}") < cycles
        assert await self.read("BUSY_MAC") >= N_OB * (ARCH.weight_param_words + H * W * 9)
        assert await self.read("CYCLES") == cycles

    async def check_error(self, code: ErrorCode, info: int) -> None:
        await self.start()
        assert await self.wait() == Status.ERROR
        assert await self.read("ERROR_CODE") == code
        assert await self.read("ERROR_INFO") == info, f"{await self.read('ERROR_INFO'):#x}"
        memory = self.ddr.bytes.copy()
        await ClockCycles(self.dut.clk, 200)
        np.testing.assert_array_equal(self.ddr.bytes, memory)
        assert all(r.outstanding == 0 for r in self.rules)

    async def reset(self) -> None:
        await self.write("CONTROL", Control.RESET)
        while await self.read("STATUS"):
            pass
        for name in ("ERROR_CODE", "ERROR_INFO", "CYCLES", "RETIRED_LOAD", "BUSY_LOAD"):
            assert await self.read(name) == 0


async def driver(dut: Any, share: float) -> Driver:
    seed = settings()["seed"]
    d = Driver(dut, Case(seed), random.Random(seed), share)
    await d.begin()
    return d


@cocotb.test()
async def program_twice(dut: Any) -> None:
    """Without pauses, from two places in memory."""
    d = await driver(dut, 0.0)
    await d.check_good_run()
    await d.write("IRQ_ENABLE", 0)
    await ClockCycles(dut.clk, 2)
    assert not int(dut.irq.value)
    await d.setup(PROGRAM_OFFSET=0x4040)
    code = d.case.program.code
    await d.ddr.write(BASES[Segment.CODE] + 0x4040, code[: 64 * d.case.program.n_instructions])
    await d.check_good_run()


@cocotb.test()
async def errors_and_recovery(dut: Any) -> None:
    """One run for each way to fail; then, without or with RESET, a good one."""
    d = await driver(dut, 0.4)
    code, n = d.case.program.code, d.case.program.n_instructions
    load = code[:64]
    end = bytes([7]) + bytes(63)
    outside = Load(segment=Segment.WORK, offset=0xFF8, dst=Dst.SCRATCHPAD, run=2).encode()
    wrapped = Load(segment=Segment.INPUT, offset=0xFFFF_FFF8, dst=Dst.SCRATCHPAD, run=1).encode()
    read_only = Store(segment=Segment.INPUT, offset=0x80, run=1).encode()
    for code_, registers, faults, expected, info in (
        (load * 2 + bytes(64) + end, {}, (), ErrorCode.OPCODE, 2),
        (b"\x0b" + load[1:], {}, (), ErrorCode.OPCODE, 0),
        (load * 2 + b"\x01" + bytes(63) + end, {}, (), ErrorCode.FIELD, 2),
        (load * 3 + outside + end, {}, (), ErrorCode.WINDOW, BASES[Segment.WORK] + 0x1000),
        (wrapped + end, {}, (), ErrorCode.WINDOW, BASES[Segment.INPUT] - 8),
        (read_only + end, {}, (), ErrorCode.WINDOW, BASES[Segment.INPUT] + 0x80),
        (code, {"INPUT_SIZE": 128}, (), ErrorCode.WINDOW, BASES[Segment.INPUT] + 128),
        (code, {"CODE_SIZE": 256}, (), ErrorCode.WINDOW, BASES[Segment.CODE] + 256),
        (code, {"PROGRAM_LENGTH": n - 1}, (), ErrorCode.NO_END, 0),
        (code, {"PROGRAM_LENGTH": 0}, (), ErrorCode.NO_END, 0),
        (code, {}, (BASES[Segment.INPUT] + 0x88,), ErrorCode.READ, BASES[Segment.INPUT] + 0x80),
        (code, {}, (BASES[Segment.CODE] + 64,), ErrorCode.READ, BASES[Segment.CODE] + 64),
        (code, {}, (BASES[Segment.OUTPUT] + 0x100,), ErrorCode.WRITE,
         BASES[Segment.OUTPUT] + 0x100),
    ):
        await d.setup(**registers)
        await d.place(code_)
        d.ddr.faults = set(faults)
        await d.check_error(expected, info)
        d.ddr.faults.clear()
        await d.setup()
        if d.rng.random() < 0.5:
            await d.reset()
        if d.rng.random() < 0.4:
            await d.check_good_run()
    await d.check_good_run()


@cocotb.test()
async def reset_at_any_time(dut: Any) -> None:
    """RESET in the middle of transfers leaves no transaction behind; START may follow at once."""
    d = await driver(dut, 0.4)
    for _ in range(8):
        await d.place()
        await d.start()
        await ClockCycles(dut.clk, d.rng.choice([1, 20, 100, 200, 300, 500, 800, 1500]))
        if d.rng.random() < 0.5:
            await d.start()  # ignored
        await d.reset()
        assert all(r.outstanding == 0 for r in d.rules) and not int(dut.irq.value)
    await d.place()
    await d.start()
    await ClockCycles(dut.clk, 250)
    await d.write("CONTROL", Control.RESET)
    await d.check_good_run()
    await reset(dut)
    await d.setup()
    await d.check_good_run()


@pytest.mark.timeout(900)
def test_top() -> None:
    run(TopBench, "top_tiny", __file__, seed=5)
