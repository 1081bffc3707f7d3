"""Networks that shuffle channels, and what must stay the same of them."""

from __future__ import annotations

import dataclasses

import networks
import numpy as np

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.passes.verify import verify
from falconet.isa import Program, preset
from falconet_sim.golden.device import GoldenDevice, run_graph
from falconet_sim.iss.simulator import IssDevice

TINY = preset("tiny")


def finished(b: networks.Builder, *outputs: str) -> Graph:
    graph = b.done(*outputs)
    graph.tensors = {k: dataclasses.replace(t, scale=0.1, zero_point=3)
                     for k, t in graph.tensors.items()}
    return verify(graph, TINY)


def halves(b: networks.Builder, x: str) -> tuple[str, str]:
    c = b.shape(x)[0]
    return (b.add("slice", [x], {"begin": 0, "end": c // 2}),
            b.add("slice", [x], {"begin": c // 2, "end": c}))


def shuffled(b: networks.Builder, x: str, groups: int) -> str:
    c = b.shape(x)[0]
    return b.gather(x, np.arange(c).reshape(groups, -1).T.reshape(-1).tolist())


def shuffle_net(units: int, channels: int = 48, seed: int = 0) -> Graph:
    """ShuffleNetV2's units of stride 1 (figure 3c), and a layer that reads all of it."""
    b = networks.Builder((16, 6, 5), seed)
    x = b.conv("x", channels)
    for _ in range(units):
        kept, changed = halves(b, x)
        y = b.conv(b.depthwise(b.conv(changed, channels // 2)), channels // 2)
        x = shuffled(b, b.add("concat", [kept, y]), 2)
    return finished(b, b.conv(x, 9))


def grouped(first: int = 3, groups: int = 3, *, read_again: bool = False) -> Graph:
    """ShuffleNetV1's unit (figure 2b) without its sum."""
    b = networks.Builder((36, 6, 5), 3)
    y = b.conv("x", 54, groups=first)
    mixed = shuffled(b, y, 3)
    out = b.conv(b.depthwise(mixed, 3, 2), 36, groups=groups)
    return finished(b, out, *([b.conv(mixed, 9)] if read_again else []))


def same(graph: Graph, better: Graph, seed: int = 0) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    want, found = (run_graph(*g.to_dict(), {"x": x}) for g in (graph, verify(better, TINY)))
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], want[name])
    program = Program.from_bytes(compile_graph(better, TINY).to_bytes())
    for device in (GoldenDevice(program), IssDevice(program)):
        for name, value in device.run({"x": x}).outputs.items():
            np.testing.assert_array_equal(value, want[name])
