"""Golden model and instruction-set simulator on the same network."""

from __future__ import annotations

import numpy as np

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.passes import optimise
from falconet.isa import Arch, Program, preset
from falconet_sim.compare.hazards import check_hazards
from falconet_sim.golden.device import GoldenDevice
from falconet_sim.iss.simulator import IssDevice

TINY, PYNQ = preset("tiny"), preset("pynq-z2")


def agree(graph: Graph, arch: Arch) -> Program:
    """Golden model and simulator compute the same; whatever is waited for is waited for."""
    graph = optimise(graph, arch)
    program = Program.from_bytes(compile_graph(graph, arch).to_bytes())
    random = np.random.default_rng(0)
    inputs = {name: random.integers(-128, 128, graph.tensors[name].shape).astype(np.int8)
              for name in graph.inputs}
    expected, found = (device(program).run(inputs).outputs for device in (GoldenDevice, IssDevice))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, name)
    check_hazards(program, inputs)
    return program
