"""Layers of many weights: golden model, instruction-set simulator and RTL give the same bytes."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from devices import run_all
from many_weights import GRAPHS

from falconet.compiler import compile_graph
from falconet.isa import Program, preset

pytestmark = pytest.mark.timeout(600)


def picture(program: Program, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {t["name"]: random.integers(-128, 128, t["shape"]).astype(np.int8)
            for t in program.header["inputs"]}


@pytest.mark.parametrize("name", GRAPHS)
def test_devices_agree(name: str) -> None:
    program = compile_graph(GRAPHS[name](), preset("tiny"), f"many-weights-{name}")
    run_all(program, picture(program, 5))


@pytest.mark.parametrize(("channels", "k", "size", "share"), [
    (128, 3, 38, 0.98), (256, 1, 27, 0.92)], ids=["128x128 k3 38x38", "256x256 k1 27x27"])
def test_layers_that_were_refused_use_the_array_well(channels: int, k: int, size: int,
                                                     share: float) -> None:
    b = networks.Builder((channels, size, size))
    graph = b.done(b.conv("x", channels, k))
    arch = preset("pynq-z2")
    program = compile_graph(graph, arch, f"many-weights-{channels}")
    cycles = run_all(program, picture(program, 6)).cycles
    macs = sum(graph.macs(n) for n in graph.nodes)
    assert macs / arch.macs_per_cycle / cycles >= share
