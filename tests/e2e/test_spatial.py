"""Layers that change the size of an image, on golden model, simulator and RTL."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import pytest
from devices import run_all

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.isa import preset


def u_net(size: int) -> Graph:
    """Down by pooling, up by transposed convolution and between the pixels, joined."""
    b = networks.Builder((3, size, size), 3)
    first = b.conv("x", 12, 3)
    deep = b.conv(b.maxpool(first), 20, 3)
    up = b.transposed(deep, 12, 4, 2, 1)
    smooth = b.bilinear(deep, (size, size), (2, 2), (-1, -1), (4, 4))
    corners = b.interpolate(b.interpolate(deep, 17, 11, 0, 16, columns=True), 20, 11, 0, 19)
    both = b.conv(b.add("concat", [up, first]), 9, 3)
    return b.done(both, b.transposed(smooth, 20, 3, 2, 1, groups=20), b.conv(smooth, 3), corners)


def attention(size: int) -> Graph:
    """Maxima and means over channels and over the image; borders that count less."""
    b = networks.Builder((21, size, size), 4)
    x = b.conv("x", 37, leaky=True)
    most = b.stackpool(x, 37, maximum=True)
    whole = b.stackpool(b.averagepool(x, 5, 2, 2), 1, size // 2, 1)
    return b.done(most, whole, b.stackpool("x", 7, 4, 3), b.maxpool(x, 7, 1, 3),
                  b.maxpool(x, 9, 3, 4), b.averagepool(x, 3, 1, 1),
                  b.conv("x", 5, (3, 2), (17, 16), pads=(1, 1, 3, 2)))


@pytest.mark.parametrize("make, size", [(u_net, 24), (attention, 20)])
@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
def test_all_devices_agree(make: Callable[[int], Graph], size: int, arch: str) -> None:
    graph = make(size)
    program = compile_graph(graph, preset(arch))
    shape = graph.tensors["x"].shape
    run_all(program, {"x": np.random.default_rng(5).integers(-128, 128, shape).astype(np.int8)})
