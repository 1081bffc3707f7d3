from __future__ import annotations

from collections import Counter

import networks
import pytest
from shuffles import TINY, finished, halves, same, shuffle_net

from falconet.compiler.passes import optimise
from falconet.compiler.passes.route import channel_origins, route_channels


@pytest.mark.parametrize("units", [1, 2, 3, 5])
def test_shuffle_units_compute_the_same(units: int) -> None:
    graph = shuffle_net(units, seed=units)
    same(graph, optimise(graph, TINY))


def test_no_channel_is_copied_in_two_units() -> None:
    graph = optimise(shuffle_net(2), TINY)
    ops = Counter(n.op for n in graph.nodes)
    assert ops["slice"] == ops["eltwise"] == 0
    origins = channel_origins(graph)
    for node in graph.nodes:
        if node.op == "concat":  # each input is all of one convolution
            for name in node.inputs:
                assert origins[name] == [(name, c) for c in range(len(origins[name]))]


def test_each_channel_is_computed_once() -> None:
    """Copies of few channels multiply by one, which nobody would call work."""
    graph = shuffle_net(4)
    better = route_channels(graph)
    assert len(better.nodes) > len(graph.nodes)
    first, second = (sum(map(g.macs, g.nodes)) for g in (graph, better))
    assert first == second


def cross_stage(b: networks.Builder) -> str:
    """YOLOv8's C2f: both halves, and what is made of the second, side by side."""
    x = b.conv("x", 32)
    kept, y = halves(b, x)
    return b.add("concat", [kept, y, b.conv(b.conv(y, 16, 3), 16, 3)])


def test_cross_stage_blocks_are_written_in_place() -> None:
    b = networks.Builder((16, 6, 5))
    graph = finished(b, b.conv(cross_stage(b), 9))
    better = optimise(graph, TINY)
    same(graph, better)
    assert Counter(n.op for n in better.nodes) == {"conv": 5, "concat": 1}


def test_what_is_read_as_it_is_stays_whole() -> None:
    b = networks.Builder((16, 6, 5))
    x = b.conv("x", 32)
    first, second = halves(b, x)
    graph = finished(b, b.conv(first, 9), b.conv(second, 9), b.conv(x, 9))
    assert route_channels(graph).to_dict() == graph.to_dict()


def test_concats_alone_stay_in_place() -> None:
    """DenseNet's layers all read the same blocks; parts of their own would be copies."""
    b = networks.Builder((16, 6, 5))
    x, seen = b.conv("x", 16), []
    for _ in range(3):
        seen.append(x)
        x = b.add("concat", [x, b.conv(x, 16, 3)])
    graph = finished(b, b.conv(x, 9))
    assert route_channels(graph).to_dict() == graph.to_dict()


def test_twice_the_same_channel() -> None:
    b = networks.Builder((16, 6, 5))
    first, second = halves(b, b.conv("x", 32))
    graph = finished(b, b.conv(b.add("concat", [first, second, first]), 9))
    same(graph, optimise(graph, TINY))
