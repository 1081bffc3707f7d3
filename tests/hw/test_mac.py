"""MAC array and weight memory against a plain matrix product."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth import Module
from amaranth.sim import Simulator
from wide import WIDE

from falconet.isa import Arch, Dst, pack_pair, preset
from falconet_hw.mac.array import MacArray
from falconet_hw.mac.weights import WeightMemory

ARCHS = pytest.mark.parametrize("arch", [preset("tiny"), WIDE], ids=lambda a: a.name)


def packed(w: np.ndarray) -> np.ndarray:
    """Weight words, uint8 [T, rows * columns], of weights [T, column, row]."""
    n, columns, rows = w.shape
    words = np.zeros((n, columns // 2, rows, 2), np.int64)
    for t, j, i in np.ndindex(words.shape[:3]):
        words[t, j, i] = pack_pair(int(w[t, 2 * j, i]), int(w[t, 2 * j + 1, i]))
    return words.astype(np.uint8).reshape(n, -1)


def reference(x: np.ndarray, w: np.ndarray, first: np.ndarray) -> np.ndarray:
    acc, out = np.zeros(w.shape[1], np.int64), []
    for t in range(len(x)):
        acc = w[t].astype(np.int64) @ x[t] + (0 if first[t] else acc)
        out.append(acc)
    return np.array(out)


def stimulus(arch: Arch, seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = arch.rows, arch.lanes
    x = rng.integers(-128, 128, (n, rows))
    w = rng.integers(-127, 128, (n, columns, rows))
    for t in range(0, n, 3):  # the corners, where the low field is all but full
        x[t] = rng.choice([-128, 127], rows if t % 2 else 1)
        w[t] = rng.choice([-127, 127, 0, -1], (columns, rows) if t % 2 else (columns, 1))
    first = rng.random(n) < 0.25
    first[0] = True
    return x, w, first


@ARCHS
def test_model(arch: Arch) -> None:
    x, w, first = stimulus(arch, 1, 200)
    assert (MacArray.model(x, packed(w), first) == reference(x, w, first)).all()


@ARCHS
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.timeout(120)
def test_array_with_its_memory(arch: Arch, seed: int) -> None:
    """Lane words written in any order; words read with gaps, straight into the array."""
    n = 60
    x, w, first = stimulus(arch, seed, n)
    rng = np.random.default_rng(seed)
    m = Module()
    m.submodules.memory = memory = WeightMemory(arch=arch)
    m.submodules.array = array = MacArray(arch=arch)
    m.d.comb += array.i_weights.eq(memory.data)
    order = rng.permutation(arch.weight_words)[:n]
    idle = rng.random(3 * n) < 0.4
    issue: list[int | None] = []
    t = 0
    for gap in idle:
        issue.append(None if gap or t == n else t)
        t += issue[-1] is not None
    assert t == n
    got: list[list[int]] = []

    async def bench(ctx) -> None:
        lane_words = [
            (int(order[t]) * arch.rows + j, word[j * arch.lanes : (j + 1) * arch.lanes])
            for t, word in enumerate(packed(w)) for j in range(arch.rows)
        ]
        for k in rng.permutation(len(lane_words)):
            addr, part = lane_words[k]
            for dst, value in (Dst.WEIGHTS, part), (Dst.VECTOR, ~part):
                ctx.set(memory.load.valid, 1)
                ctx.set(memory.load.dst, dst)
                ctx.set(memory.load.addr, addr)
                ctx.set(memory.load.data, int.from_bytes(value.tobytes(), "little"))
                await ctx.tick()
        ctx.set(memory.load.valid, 0)
        due = dict.fromkeys(range(len(issue) + 20))
        for cycle in range(len(issue) + 20):
            now = issue[cycle] if cycle < len(issue) else None
            if now is not None:
                ctx.set(memory.addr, int(order[now]))
                due[cycle + memory.LATENCY + array.latency] = now
            operand = issue[cycle - memory.LATENCY] if 2 <= cycle < len(issue) + 2 else None
            ctx.set(array.i_enable, operand is not None)
            if operand is not None:
                ctx.set(array.i_first, int(first[operand]))
                ctx.set(array.i_x, int.from_bytes(x[operand].astype(np.int8).tobytes(), "little"))
            if due[cycle] is not None:
                got.append([ctx.get(array.o_acc[o]) for o in range(arch.lanes)])
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got == reference(x, w, first).tolist()
