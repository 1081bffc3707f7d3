"""The vector engine against the ISA reference: random instructions, stalls on every side."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

import cocotb
import numpy as np
import pytest
from bench import run, settings
from cocotb.triggers import FallingEdge
from engine_bench import EngineBench

from falconet.isa import (
    Arch,
    Dst,
    Elementwise,
    Instruction,
    Window,
    output_stage,
    pack_pair,
    preset,
    unpack_pair,
)
from falconet_hw.vector.engine import VectorEngine

READ_LATENCY = 4


# --------------------------------------------------------------------------- reference model

def view(i: Instruction, prefix: str, y: int, x: int, b: int, ky: int = 0, kx: int = 0) -> int:
    def f(name: str) -> int:
        return getattr(i, f"{prefix}_{name}", 0)

    row = f("row") + y * f("y_step") + ky * f("ky_step")
    if f("ring"):
        row %= f("ring")
    return (f("base") + row + x * f("x_step") + kx * f("kx_step") + b * f("b_step")) & 0xFFFF


def tap_word(arch: Arch, word: bytes) -> np.ndarray:
    """Weights [tap, lane] of a vector weight word."""
    raw = np.frombuffer(word, np.int8).astype(int)
    out = np.zeros((arch.taps, arch.lanes), int)
    for p in range(arch.taps // 2):
        for i in range(arch.lanes):
            at = (p * arch.lanes + i) * 2
            out[2 * p, i], out[2 * p + 1, i] = unpack_pair(int(raw[at]), int(raw[at + 1]))
    return out


def model(arch: Arch, i: Instruction, memory: np.ndarray, weights: list[bytes],
          table: list[int]) -> list[tuple[int, int]]:
    """Every (address, word) the instruction writes, straight from the reference."""
    words: list[tuple[int, int]] = []
    n_params = arch.vector_param_words

    def weight(b: int, k: int) -> bytes:
        return weights[(i.w_base + b * i.w_b_step + k) % arch.vector_words]

    def emit(acc: np.ndarray, b: int, y: int, x: int) -> None:
        params = b"".join(weight(b, k) for k in range(n_params))
        data = 0
        for lane in range(arch.lanes):
            bias, mult, mult_neg, shift = struct.unpack_from("<iIIB", params, 16 * lane)
            q = output_stage(
                int(acc[lane]), bias=bias, mult=mult, mult_neg=mult_neg, shift=shift,
                zp=i.zp, lo=i.lo, hi=i.hi, table=table if i.table else None,
            )
            data |= (q & 0xFF) << (8 * lane)
        words.append((view(i, "out", y, x, b), data))

    taps = {(b, k): tap_word(arch, weight(b, n_params + k))
            for b in range(i.n_b) for k in range(count(i))}
    for b in range(i.n_b):
        for y in range(i.n_y):
            sums = np.zeros((arch.taps, arch.lanes), int)
            for x in range(i.n_x):
                if isinstance(i, Elementwise):
                    acc = np.zeros(arch.lanes, int)
                    operands = [memory[view(i, "ab"[s], y, x, b)] for s in range(i.n_src)]
                    for s, v in enumerate(operands):
                        w = taps[b, s]
                        c = w[3] + (w[2] << 7)
                        c += operands[0] if s and i.product else (w[1] << 14) + w[0]
                        acc += v * c
                    emit(acc, b, y, x)
                    continue
                previous, best = sums, None
                for ky in range(i.n_ky):
                    for kx in range(i.n_kx):
                        row = i.iy0 + y * i.stride_y + ky * i.dil_y
                        col = i.ix0 + x * i.stride_x + kx * i.dil_x
                        inside = 0 <= row < i.in_h and 0 <= col < i.in_w
                        v = (memory[view(i, "in", y, x, b, ky, kx)] if inside
                             else np.full(arch.lanes, i.pad))
                        if best is None:
                            sums = np.array([
                                0 * v if i.fresh >> t & 1 or t == 0 else previous[t - 1]
                                for t in range(arch.taps)
                            ])
                            best = v
                        best = np.maximum(best, v)
                        sums = sums + v * taps[b, (ky * i.n_kx + kx) * i.w_k_step]
                if x >= i.skip and (x - i.skip) % i.every == 0:
                    emit(best if i.op else sums[-1], b, y, (x - i.skip) // i.every)
    return words


def count(i: Instruction) -> int:
    """Tap words of a block."""
    if isinstance(i, Elementwise):
        return i.n_src
    return i.n_ky * i.n_kx if i.w_k_step else 1


def cycles(arch: Arch, i: Instruction) -> int:
    per_output = i.n_src if isinstance(i, Elementwise) else i.n_ky * i.n_kx
    return i.n_b * (arch.vector_param_words + i.n_y * i.n_x * per_output)


# --------------------------------------------------------------------------- random programs

def random_view(rng: random.Random, prefix: str, kernel: bool = False) -> dict[str, int]:
    ring = rng.choice([0, rng.randrange(1, 60), rng.randrange(1, 1 << 16)])
    rows = ring or 1 << 16
    v = dict(base=rng.randrange(1 << 16), row=rng.randrange(rows), ring=ring,
             y_step=rng.randrange(rows), x_step=rng.choice([0, 1, 2, rng.randrange(1 << 16)]),
             b_step=rng.randrange(1 << 16))
    if kernel:
        v |= dict(ky_step=rng.randrange(rows), kx_step=rng.randrange(1 << 16))
    return {f"{prefix}_{k}": n for k, n in v.items()}


def random_output(rng: random.Random) -> dict[str, int]:
    lo, hi = sorted(rng.randrange(-128, 128) for _ in range(2))
    if rng.random() < 0.7:
        lo, hi = -128, 127
    return dict(zp=rng.randrange(-128, 128), lo=lo, hi=hi, table=rng.randrange(2),
                n_b=rng.randint(1, 3), n_y=rng.randint(1, 4))


def random_window(rng: random.Random, arch: Arch) -> Window:
    fields = random_view(rng, "in", True) | random_view(rng, "out") | random_output(rng) | dict(
        iy0=rng.randint(-5, 4), ix0=rng.randint(-5, 4),
        in_h=rng.randint(0, 9), in_w=rng.randint(0, 9),
        stride_y=rng.choice([1, 1, 2, 15]), dil_y=rng.choice([1, 1, 2, 63]),
        dil_x=rng.choice([1, 1, 2, 63]), n_x=rng.randint(1, 9), pad=rng.randrange(-128, 128),
        w_k_step=int(rng.random() < 0.8),
    )
    if rng.random() < 0.5:  # sliding
        width = rng.randint(1, arch.taps)
        fields |= dict(
            n_ky=rng.randint(1, 5), n_kx=1, stride_x=1, fresh=1 << (arch.taps - width),
            skip=rng.randint(width - 1, 7) if rng.random() < 0.2 else width - 1,
            every=rng.randint(1, 3),
        )
    else:
        fields |= dict(
            n_ky=rng.randint(1, 4), n_kx=rng.randint(1, 4), stride_x=rng.choice([1, 1, 2, 3, 15]),
            fresh=1 << (arch.taps - 1), every=rng.choice([1, 1, 7]), op=rng.randrange(2),
        )
    return Window(**fields)


def random_eltw(rng: random.Random, arch: Arch) -> Elementwise:
    return Elementwise(
        **random_view(rng, "a"), **random_view(rng, "b"), **random_view(rng, "out"),
        **random_output(rng), n_src=rng.randint(1, 2), n_x=rng.randint(1, 12),
        product=rng.randrange(2),
    )


def digits(c: int) -> tuple[int, int, int]:
    d0 = (c + 64) % 128 - 64
    d1 = ((c - d0) // 128 + 64) % 128 - 64
    return d0, d1, (c - d0 - 128 * d1) >> 14


def random_weights(rng: random.Random, arch: Arch, i: Instruction) -> list[bytes]:
    """Parameters and tap words of one block."""
    spread = 1 << (24 if isinstance(i, Elementwise) else 16)
    params = bytearray()
    for _ in range(arch.lanes):
        bias = rng.randrange(-spread >> 4, spread >> 4)
        mult, mult_neg = (rng.randrange(1 << arch.mult_bits) for _ in range(2))
        low = spread.bit_length() + 1
        params += struct.pack("<iIIB3x", bias, mult, mult_neg, min(47, rng.randint(low, low + 8)))
    size = arch.taps * arch.lanes
    words = [bytes(params[k : k + size]) for k in range(0, len(params), size)]
    for _ in range(count(i)):
        word = bytearray(size)
        for lane in range(arch.lanes):
            w = [rng.choice([-127, 127, rng.randrange(-127, 128)]) for _ in range(arch.taps)]
            if isinstance(i, Elementwise):
                d0, d1, d2 = digits(rng.randint(-60000, 60000))
                w[-1], w[-2], w[-3] = d0, d1, d2
            for p in range(arch.taps // 2):
                at = (p * arch.lanes + lane) * 2
                b0, b1 = pack_pair(w[2 * p], w[2 * p + 1])
                word[at], word[at + 1] = b0 & 0xFF, b1 & 0xFF
        words.append(bytes(word))
    return words


@dataclass
class Round:
    """Instructions run back to back, and what the engine's memories hold meanwhile."""

    weights: list[bytes]
    table: list[int]
    program: list[Instruction] = field(default_factory=list)


def random_round(rng: random.Random, arch: Arch, n: int) -> Round:
    weights = [rng.randbytes(arch.taps * arch.lanes) for _ in range(arch.vector_words)]
    this = Round(weights, [rng.randrange(-128, 128) for _ in range(256)])
    at = rng.randrange(arch.vector_words)  # regions may wrap around
    used = 0
    while len(this.program) < n:
        i = rng.choice([random_window, random_window, random_eltw])(rng, arch)
        block = len(random_weights(rng, arch, i))
        shared = rng.random() < 0.3
        need = block if shared else block * i.n_b
        if used + need > arch.vector_words:
            break
        for b in range(1 if shared else i.n_b):
            for k, word in enumerate(random_weights(rng, arch, i)):
                weights[(at + b * block + k) % arch.vector_words] = word
        i = i.replace(w_base=at, w_b_step=0 if shared else block)
        this.program.append(i)
        at, used = (at + need) % arch.vector_words, used + need
    return this


# --------------------------------------------------------------------------- tests

async def play(bench: EngineBench, rng: random.Random, arch: Arch, n: int) -> tuple[int, int]:
    """Run a random round; cycles it took, and what the reference says."""
    this = random_round(rng, arch, n)
    await FallingEdge(bench.dut.clk)
    await bench.fill(Dst.VECTOR, b"".join(this.weights))
    await bench.fill(Dst.VEC_TABLE, bytes(v & 0xFF for v in this.table))
    expected = [model(arch, i, bench.memory, this.weights, this.table) for i in this.program]
    work = sum(cycles(arch, i) for i in this.program)
    took = await bench.play(this.program, expected, 2000 + 60 * work)
    return took, work + 4 * len(this.program)


async def make_bench(dut: object) -> tuple[EngineBench, random.Random, Arch, dict]:
    s = settings()
    rng, arch = random.Random(s["seed"]), preset(s["preset"])
    bench = EngineBench(
        dut, arch, rng, stall=s["stall"], read_latency=READ_LATENCY,
        others=[Dst.SCRATCHPAD, Dst.WEIGHTS, Dst.MAC_TABLE],
    )
    await bench.reset()
    return bench, rng, arch, s


@cocotb.test()
async def random_programs(dut: object) -> None:
    bench, rng, arch, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        await play(bench, rng, arch, s["instructions"])


@cocotb.test()
async def full_speed(dut: object) -> None:
    """Without stalls four cycles are lost per instruction, and the pipeline's length at the end."""
    bench, rng, arch, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        took, work = await play(bench, rng, arch, s["instructions"])
        assert took <= work + 45


@cocotb.test()
async def reset_at_work(dut: object) -> None:
    """Whatever is under way at a reset leaves no trace in what runs afterwards."""
    bench, rng, arch, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        bench.pending.extend(random_round(rng, arch, s["instructions"]).program)
        for _ in range(rng.randint(20, 300)):
            await bench.cycle()
        await FallingEdge(bench.dut.clk)
        bench.pending.clear()
        bench.offered = False
        bench.dut.instr__valid.value = bench.dut.load__valid.value = 0
        bench.dut.rst.value = 1
        await FallingEdge(bench.dut.clk)
        bench.dut.rst.value = 0
        await play(bench, rng, arch, s["instructions"])


@pytest.mark.parametrize("name", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("testcase, stall, rounds", [
    ("random_programs", 0.3, 3), ("full_speed", 0.0, 2), ("reset_at_work", 0.2, 2),
])
@pytest.mark.timeout(400)
def test_vector_engine(name: str, testcase: str, stall: float, rounds: int) -> None:
    run(
        lambda: VectorEngine(preset(name), read_latency=READ_LATENCY),
        f"vector_engine_{name.replace('-', '_')}", __file__,
        testcase=testcase, seed=7, preset=name, stall=stall, rounds=rounds, instructions=12,
    )
