"""The MAC engine against the ISA reference: random instructions, stalls on every side."""

from __future__ import annotations

import random
import struct

import cocotb
import numpy as np
import pytest
from bench import run, settings
from cocotb.triggers import ClockCycles, RisingEdge
from engine_bench import EngineBench
from wide import WIDE

from falconet.isa import Arch, Dst, Mac, output_stage, pack_pair, preset, unpack_pair
from falconet_hw.mac.engine import MacEngine

READ_LATENCY = 4
ARCHS = {a.name: a for a in (preset("tiny"), preset("pynq-z2"), WIDE)}
K_MAX = 60  # products of lanes each that cannot overflow an accumulator


def view(i: Mac, prefix: str, y: int, x: int, b: int, ky: int = 0, kx: int = 0) -> int:
    def f(name: str) -> int:
        return getattr(i, f"{prefix}_{name}", 0)

    row = f("row") + y * f("y_step") + ky * f("ky_step")
    if f("ring"):
        row %= f("ring")
    return (f("base") + row + x * f("x_step") + kx * f("kx_step") + b * f("b_step")) & 0xFFFF


def unpack(arch: Arch, word: bytes) -> np.ndarray:
    """Weights [output lane, row] of a weight word."""
    raw = np.frombuffer(word, np.int8).reshape(arch.lanes // 2, arch.rows, 2)
    out = np.zeros((arch.lanes, arch.rows), np.int64)
    for j, i in np.ndindex(raw.shape[:2]):
        out[2 * j, i], out[2 * j + 1, i] = unpack_pair(int(raw[j, i, 0]), int(raw[j, i, 1]))
    return out


def n_products(arch: Arch, i: Mac) -> int:
    return i.n_ky * i.n_kx * i.n_ib * (arch.lanes // arch.rows)


def model(
    arch: Arch, i: Mac, memory: np.ndarray, weights: list[bytes], table: list[int],
) -> list[tuple[int, int]]:
    """Every (address, word) the instruction writes, straight from the reference."""
    words: list[tuple[int, int]] = []
    n_params = arch.weight_param_words
    for ob in range(i.n_ob):
        n_words = n_params + n_products(arch, i)
        at = i.w_base + ob * n_words
        block = [weights[(at + k) % arch.weight_words] for k in range(n_words)]
        params = [
            struct.unpack_from("<iIIB", b"".join(block[:n_params]), 16 * lane)
            for lane in range(arch.lanes)
        ]
        kernel = [unpack(arch, word) for word in block[n_params:]]
        for y in range(i.n_y):
            for x in range(i.n_x):
                acc, k = np.zeros(arch.lanes, np.int64), 0
                for ky in range(i.n_ky):
                    for kx in range(i.n_kx):
                        row = i.iy0 + y * i.stride_y + ky * i.dil_y
                        col = i.ix0 + x * i.stride_x + kx * i.dil_x
                        inside = 0 <= row < i.in_h and 0 <= col < i.in_w
                        for ib in range(i.n_ib):
                            v = (memory[view(i, "in", y, x, ib, ky, kx)] if inside
                                 else np.full(arch.lanes, i.pad))
                            for part in v.reshape(-1, arch.rows):
                                acc, k = acc + kernel[k] @ part, k + 1
                data = 0
                for lane, (bias, mult, mult_neg, shift) in enumerate(params):
                    q = output_stage(
                        int(acc[lane]), bias=bias, mult=mult, mult_neg=mult_neg, shift=shift,
                        zp=i.zp, lo=i.lo, hi=i.hi, table=table if i.table else None,
                    )
                    data |= (q & 0xFF) << (8 * lane)
                words.append((view(i, "out", y, x, ob), data))
    return words


def cycles(arch: Arch, i: Mac) -> int:
    return i.n_ob * (arch.weight_param_words + i.n_y * i.n_x * n_products(arch, i))


def random_view(rng: random.Random, prefix: str) -> dict[str, int]:
    ring = rng.choice([0, rng.randrange(1, 60), rng.randrange(1, 1 << 16)])
    rows = ring or 1 << 16
    v = dict(base=rng.randrange(1 << 16), row=rng.randrange(rows), ring=ring,
             y_step=rng.randrange(rows), x_step=rng.choice([0, 1, 2, rng.randrange(1 << 16)]),
             b_step=rng.randrange(1 << 16))
    if prefix == "in":
        v |= dict(ky_step=rng.randrange(rows), kx_step=rng.randrange(1 << 16))
    return {f"{prefix}_{k}": n for k, n in v.items()}


def random_mac(rng: random.Random) -> Mac:
    lo, hi = sorted(rng.randrange(-128, 128) for _ in range(2))
    if rng.random() < 0.7:
        lo, hi = -128, 127
    while True:
        kernel = dict(n_ky=rng.choice([1, 1, 2, 3]), n_kx=rng.choice([1, 1, 2, 3, 5]),
                      n_ib=rng.choice([1, 1, 2, 3, 7]))
        if np.prod(list(kernel.values())) <= K_MAX:
            break
    return Mac(
        **random_view(rng, "in"), **random_view(rng, "out"), **kernel,
        iy0=rng.choice([-4096, 4095, *range(-5, 5), *range(-5, 5)]), ix0=rng.randint(-5, 4),
        in_h=rng.randint(0, 9), in_w=rng.choice([4095, *range(10)]),
        stride_y=rng.choice([1, 1, 2, 15]), stride_x=rng.choice([1, 1, 2, 3, 15]),
        dil_y=rng.choice([1, 1, 2, 63]), dil_x=rng.choice([1, 1, 2, 63]),
        n_ob=rng.choice([1, 2, 3, 6]), n_y=rng.randint(1, 3), n_x=rng.choice([1, 2, 5, 9]),
        pad=rng.randrange(-128, 128), zp=rng.randrange(-128, 128), lo=lo, hi=hi,
        table=rng.randrange(2),
    )


def random_block(rng: random.Random, arch: Arch, i: Mac) -> list[bytes]:
    """Parameter and weight words of one output block."""
    params, size = bytearray(), arch.rows * arch.lanes
    spread = arch.rows * 128 * 64 * n_products(arch, i)
    for _ in range(arch.lanes):
        bias = rng.randrange(-500_000, 500_000) // rng.choice([1, 20])
        mult, mult_neg = (rng.randrange(1 << arch.mult_bits) for _ in range(2))
        if rng.random() < 0.5:
            mult_neg = mult
        shift = rng.randint(6, 12) + spread.bit_length() - 4
        params += struct.pack("<iIIB3x", bias, mult, mult_neg, shift)
    words = [bytes(params[k : k + size]) for k in range(0, len(params), size)]
    for _ in range(n_products(arch, i)):
        choice = rng.choice([[-127], [127, -127], range(-127, 128), range(-127, 128)])
        word = bytearray()
        for _ in range(size // 2):
            word += bytes(b & 0xFF for b in pack_pair(rng.choice(choice), rng.choice(choice)))
        words.append(bytes(word))
    return words


def random_round(rng: random.Random, arch: Arch, n: int, **fixed: int
                 ) -> tuple[list[Mac], list[bytes]]:
    """Instructions whose weights all fit, in regions that may wrap around."""
    weights = [rng.randbytes(arch.rows * arch.lanes) for _ in range(arch.weight_words)]
    program: list[Mac] = []
    at, used = rng.randrange(arch.weight_words), 0
    while len(program) < n:
        i = random_mac(rng).replace(**fixed)
        need = i.n_ob * (arch.weight_param_words + n_products(arch, i))
        if used + need > arch.weight_words:
            break
        program.append(i.replace(w_base=at))
        for _ in range(i.n_ob):
            for word in random_block(rng, arch, i):
                weights[at] = word
                at = (at + 1) % arch.weight_words
        used += need
    return program, weights


async def play(bench: EngineBench, rng: random.Random, arch: Arch, n: int, **fixed: int
               ) -> tuple[int, int]:
    """Run a random round; cycles it took, and what the reference says."""
    program, weights = random_round(rng, arch, n, **fixed)
    table = [rng.randrange(-128, 128) for _ in range(256)]
    await bench.fill(Dst.WEIGHTS, b"".join(weights))
    await bench.fill(Dst.MAC_TABLE, bytes(v & 0xFF for v in table))
    expected = [model(arch, i, bench.memory, weights, table) for i in program]
    work = sum(cycles(arch, i) for i in program)
    took = await bench.play(program, expected, 2000 + 60 * work)
    # Two cycles between instructions, and blocks of few steps wait for their parameters.
    short = sum(
        i.n_ob * max(0, 10 - n_products(arch, i) * i.n_y * i.n_x) for i in program
    )
    return took, work + 2 * len(program) + short


async def make_bench(dut: object) -> tuple[EngineBench, random.Random, Arch, dict]:
    s = settings()
    rng, arch = random.Random(s["seed"]), ARCHS[s["preset"]]
    others = [Dst.SCRATCHPAD, Dst.VECTOR, Dst.VEC_TABLE]
    bench = EngineBench(
        dut, arch, rng, stall=s["stall"], read_latency=READ_LATENCY, others=others
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
    """Without stalls nothing is lost but what the documentation says, and the pipeline's length."""
    bench, rng, arch, s = await make_bench(dut)
    for _ in range(s["rounds"]):
        took, work = await play(bench, rng, arch, s["instructions"])
        assert took <= work + 45


@cocotb.test()
async def results_wait(dut: object) -> None:
    """Nothing is written until the queue of results is full: steps in the midst of a word wait."""
    bench, rng, arch, s = await make_bench(dut)

    async def release() -> None:
        await RisingEdge(bench.dut.busy)
        await ClockCycles(bench.dut.clk, 400)
        assert not bench.written
        bench.mood = [0, 0]

    for _ in range(s["rounds"]):
        bench.mood = [0, 1]
        cocotb.start_soon(release())
        await play(bench, rng, arch, 3, n_ky=1, n_kx=1, n_ib=1, n_y=3, n_x=30)


@pytest.mark.parametrize("name", sorted(ARCHS))
@pytest.mark.parametrize("testcase, stall, rounds", [
    ("random_programs", 0.3, 2), ("full_speed", 0.0, 1), ("results_wait", 0.0, 2),
])
@pytest.mark.timeout(400)
def test_mac_engine(name: str, testcase: str, stall: float, rounds: int) -> None:
    """The larger arrays, which take long, once each."""
    rounds = rounds if name == "tiny" else 1
    run(
        lambda: MacEngine(ARCHS[name], read_latency=READ_LATENCY),
        name=f"mac_engine_{name.replace('-', '_')}", module="test_mac_engine",
        testcase=testcase, seed=11, preset=name, stall=stall, rounds=rounds, instructions=16,
    )
