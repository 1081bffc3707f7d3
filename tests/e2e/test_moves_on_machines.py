"""Networks that move data, on golden model, simulator and RTL."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import pytest
from devices import run_all
from shuffles import finished, grouped, shuffle_net

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.passes import optimise
from falconet.isa import preset

pytestmark = pytest.mark.timeout(900)


def moves() -> Graph:
    """All that lowers in a way of its own."""
    b = networks.Builder((3, 14, 12), 5)
    return finished(b, *networks.moves(b, b.conv("x", 24, 3)))


def focus() -> Graph:
    b = networks.Builder((3, 24, 20), 6)
    phases = [b.pick(["x"], range(i, 24, 2), range(j, 20, 2)) for j in (0, 1) for i in (0, 1)]
    return finished(b, b.conv(b.add("concat", phases), 16, 3))


NETWORKS: dict[str, Callable[[], Graph]] = {
    "moves": moves, "shufflenet v2": lambda: shuffle_net(4), "shufflenet v1": grouped,
    "focus": focus,
}


@pytest.mark.parametrize("machine", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_devices_agree(name: str, machine: str) -> None:
    arch = preset(machine)
    graph = optimise(NETWORKS[name](), arch)
    x = np.random.default_rng(7).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    outputs = run_all(compile_graph(graph, arch), {"x": x}).outputs
    assert all(len(np.unique(v)) > 2 for v in outputs.values())
