"""Depthwise layers of wide kernels on both engines: the same bytes, and only where it is faster."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from devices import run_all
from programs import random_inputs

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.lower.share import shares
from falconet.compiler.passes.verify import verify
from falconet.isa import Mac, Window, preset
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import run_graph

TINY, Z2 = preset("tiny"), preset("pynq-z2")


def wide(seed: int, channels: int, kernel: tuple[int, int], stride: int, *, table: bool = False
         ) -> Graph:
    b = networks.Builder((3, 12, 14), seed)
    y = b.depthwise(b.conv("x", channels), kernel, (1, stride), table=table)
    return b.done(b.conv(b.eltwise(y, y), 9))


@pytest.mark.parametrize(("channels", "kernel", "stride"), [
    (48, (5, 5), 1), (46, (3, 7), 2), (80, (4, 6), 1), (26, (5, 8), 3)])
def test_every_device_computes_the_same(channels: int, kernel: tuple[int, int], stride: int
                                        ) -> None:
    graph = wide(channels, channels, kernel, stride)
    found = list(shares(graph, TINY))
    assert found
    for other in found:
        verify(other, TINY)
        program = compile_graph(other, TINY)
        inputs = random_inputs(program)
        run_all(program, inputs)
        check_hazards(program, inputs)
        np.testing.assert_array_equal(*(run_graph(*g.to_dict(), inputs)[graph.outputs[0]]
                                        for g in (graph, other)))


def test_two_layers_that_read_one_tensor_are_both_shared() -> None:
    b = networks.Builder((3, 12, 14), 1)
    y = b.conv("x", 48)
    graph = b.done(b.depthwise(y, 5), b.depthwise(y, (3, 7)))
    found = list(shares(graph, TINY))
    assert any(sum("/part1" in n.output for n in other.nodes) == 4 for other in found)
    for other in found:
        program = compile_graph(other, TINY)
        run_all(program, random_inputs(program))


def test_the_message_names_the_layer() -> None:
    graph = wide(0, 48, (5, 5), 1)
    for other in shares(graph, TINY):
        assert {n.origin for n in other.nodes} == {n.name for n in graph.nodes}


@pytest.mark.parametrize(("channels", "kernel", "table"), [
    (48, (5, 4), False), (48, (5, 5), True), (8, (5, 5), False)])
def test_what_is_not_shared(channels: int, kernel: tuple[int, int], table: bool) -> None:
    """Kernels that the taps cover, layers with a table, a single block."""
    assert not list(shares(wide(0, channels, kernel, 1, table=table), TINY))


def test_it_is_taken_where_the_vector_engine_decides() -> None:
    b = networks.Builder((24, 28, 28))
    y = b.conv(b.depthwise(b.conv("x", 120), 5), 24)
    alone = b.done(b.conv(b.depthwise(b.conv(y, 120), 5), 24))
    both = [i for i in compile_graph(alone, Z2).instructions() if isinstance(i, (Mac, Window))]
    assert sum(i.n_y * i.n_b for i in both if isinstance(i, Window)) < 2 * 8 * 28
    assert any(i.n_ky == 5 for i in both if isinstance(i, Mac))
