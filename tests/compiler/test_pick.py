"""Pixels in another order, in pieces and through rings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.machine.runs import Run, runs
from falconet.compiler.passes.verify import verify
from falconet.isa import Elementwise, FalconetError, Program, preset
from falconet_sim.compare.lockstep import compare_golden
from falconet_sim.compare.tiles import parts
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

TINY = preset("tiny")


def unrolled(found: list[Run], length: int) -> list[tuple[int, int]]:
    out = [(-9, -9)] * length
    for r in found:
        for k in range(r.count):
            assert out[r.out + k * r.out_step] == (-9, -9)
            out[r.out + k * r.out_step] = r.part, r.at + k * r.step
    return out


@pytest.mark.parametrize("index, sizes, count", [
    (range(10), [10], 1), (range(9, -1, -1), [10], 1), (range(1, 10, 3), [10], 1),
    (range(10), [4, 6], 2), ([0, 5, 1, 6, 2, 7, 3, 8, 4, 9], [5, 5], 2),
    ([0, 0, 1, 1, 2, 2], [3], 2), ([-1, -1, 0, 1, 2, -1], [3], 3), ([0, 0, 0, 1, 2, 2], [3], 3),
    ([2, 1, 0, 1, 2, 1], [3], 3), ([4], [5], 1), ([-1], [5], 1),
])
def test_runs_are_few(index: object, sizes: list[int], count: int) -> None:
    index = list(index)  # type: ignore[call-overload]
    found = runs(index, sizes)
    assert len(found) == count
    parts = [(p, i) for p, n in enumerate(sizes) for i in range(n)]
    assert unrolled(found, len(index)) == [parts[i] if i >= 0 else (-1, 0) for i in index]


@pytest.mark.parametrize("seed", range(40))
def test_runs_are_the_index(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, random.integers(1, 4)).tolist()
    index = random.integers(-1, sum(sizes), random.integers(1, 30)).tolist()
    parts = [(p, i) for p, n in enumerate(sizes) for i in range(n)]
    found = runs(index, sizes)
    assert unrolled(found, len(index)) == [parts[i] if i >= 0 else (-1, 0) for i in index]
    cut = [r for lo in range(0, len(index), 3) for run in found
           if (r := run.within(lo, min(lo + 3, len(index)))) is not None]
    assert unrolled(cut, len(index)) == unrolled(found, len(index))


def finished(b: networks.Builder, *outputs: str) -> Graph:
    graph = b.done(*outputs)
    graph.tensors = {k: dataclasses.replace(t, scale=0.1, zero_point=3)
                     for k, t in graph.tensors.items()}
    return verify(graph, TINY)


def agreed(graph: Graph) -> Program:
    program = Program.from_bytes(compile_graph(graph, TINY).to_bytes())
    random = np.random.default_rng(1)
    inputs = {n: random.integers(-128, 128, graph.tensors[n].shape).astype(np.int8)
              for n in graph.inputs}
    want, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], want[name])
    assert compare_golden(program, inputs) is None
    written: dict[str, np.ndarray] = {}
    for part in parts(program).values():  # which `falconet compare` must know to name a place
        t = part.tensor
        count = written.setdefault(t["name"], np.zeros((t["height"], t["blocks"], t["width"]), int))
        count[np.ix_(part.rows, part.blocks, part.columns)] += 1
    assert len(written) >= 3 and all((count == 1).all() for count in written.values())
    return program


ROWS = {
    "steps": [*range(1, 96, 2)], "back": [*range(95, -1, -1)], "crop": [*range(20, 70)],
    "padded": [-1, -1, *range(96), -1], "edges": [0, 0, *range(96), 95], "again": [
        i // 2 for i in range(96)], "reflected": [2, 1, *range(96), 94],
}


@pytest.mark.parametrize("name", ROWS)
def test_in_row_stripes(name: str) -> None:
    """Of a picture that the scratchpad does not hold, but for what needs its last row first."""
    b = networks.Builder((3, 96, 64))
    y = b.conv("x", 8, 3)
    graph = finished(b, b.conv(b.pick([y], ROWS[name], range(0, 64, 2), fill=5), 8, 3, 2))
    assert TINY.scratchpad_words < 96 * 64
    if name == "back":
        with pytest.raises(FalconetError, match=r"scratchpad"):
            compile_graph(graph, TINY)
        return
    program = agreed(graph)
    assert any(i.a_ring for i in program.instructions() if isinstance(i, Elementwise))


def test_woven_in_row_stripes() -> None:
    b = networks.Builder((3, 48, 40))
    tiles = [b.conv("x", 8, 3) for _ in range(4)]
    y = b.pick(tiles, [i % 2 * 48 + i // 2 for i in range(96)],
               [i % 2 * 40 + i // 2 for i in range(80)], across=2)
    program = agreed(finished(b, b.conv(y, 8, 3, 2)))
    assert any(i.out_ring for i in program.instructions() if isinstance(i, Elementwise))


def test_too_many_pieces_are_refused() -> None:
    b = networks.Builder((8, 30, 30))
    rows, columns = np.random.default_rng(0).integers(0, 30, (2, 90)).tolist()
    graph = finished(b, b.pick(["x"], rows, columns))
    with pytest.raises(FalconetError, match=r"node 'pick0': its rows and columns fall into"):
        compile_graph(graph, TINY)


@pytest.mark.parametrize("columns", [range(20), [-1] * 20], ids=["read", "filled"])
@pytest.mark.parametrize("rows", [[*range(47, -1, -1)], [-1] * 9 + [*range(48)], [-1] * 9],
                         ids=["backwards", "filled first", "filled"])
def test_a_tile_of_swapped_pictures_waits_for_those_that_it_reads(
        rows: list[int], columns: Sequence[int]) -> None:
    """A tile of few rows reads one of the two alone, or none but a word where it is filled."""
    b = networks.Builder((3, 20, 24))
    y = b.pick([b.conv("x", 8, 3), b.conv("x", 8, 3)], rows, columns, fill=5, swap=True)
    agreed(finished(b, b.conv(y, 8, 3)))
