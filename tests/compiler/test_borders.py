"""Convolutions of more weights than the memory, of which no pixel needs all: exact in parts."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.isa import FalconetError, preset
from falconet_sim.golden.device import run_graph
from falconet_sim.iss.simulator import IssDevice

TINY = preset("tiny")


def atrous(d: int = 6, size: int = 10, s: int = 1, channels: int = 232, *, k: int = 3,
           pads: tuple[int, ...] | None = None, seed: int = 0, table: bool = False) -> Graph:
    """29 blocks of 9 taps are 261 words, and the memory of ``tiny`` holds 256."""
    b = networks.Builder((channels, size, size + 2), seed)
    return b.done(b.conv("x", 20, k, s, d, pads=pads, table=table))


@pytest.mark.parametrize("graph", [
    atrous(), atrous(9, table=True), atrous(12), atrous(7, s=1, pads=(7, 3, 6, 5)),
    atrous(6, s=2, pads=(6, 6, 6, 6)), atrous(3, 12, k=5, channels=88)],
    ids=["two of three rows", "centre column", "centre", "pads of four sizes", "stride", "5x5"])
def test_bytes_are_those_of_the_layer(graph: Graph) -> None:
    """By the golden model on the graph as it was, which pads with a value that is not 0."""
    program = compile_graph(graph, TINY)
    assert any("/above" in v["name"] for v in program.header["layers"])
    for seed in range(3):
        shape = graph.tensors["x"].shape
        x = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
        want, found = run_graph(*graph.to_dict(), {"x": x}), IssDevice(program).run({"x": x})
        for name, value in want.items():
            np.testing.assert_array_equal(found.outputs[name], value)
            assert np.unique(value).size > 50


def test_a_layer_that_fits_is_left_alone() -> None:
    program = compile_graph(atrous(channels=216), TINY)
    assert [v["op"] for v in program.header["layers"]] == ["conv"]


@pytest.mark.parametrize("d", [1, 3])
def test_a_layer_that_some_pixel_needs_all_weights_of_is_refused(d: int) -> None:
    with pytest.raises(FalconetError, match="node 'conv0': one block of 8 output channels needs "
                                            r"263 weight words .* \(512\)"):
        compile_graph(atrous(d), TINY)
