"""What every pass may do and may not (falconet.compiler.passes)."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable

import networks
import numpy as np
import pytest

from falconet.compiler.graph import Graph
from falconet.compiler.importer.requant import identity
from falconet.compiler.nodes import weighted
from falconet.compiler.passes import PASSES
from falconet.compiler.passes.verify import verify
from falconet.isa import preset
from falconet_sim.golden.device import run_graph

TINY = preset("tiny")
ONCE = tuple(dict.fromkeys(PASSES))
Pass = Callable[[Graph], Graph]


def network(seed: int) -> Graph:
    """Something for every pass: padding alone, a function behind a sum, a copy, two that are the
    same, one that nobody reads, channels that part and are shuffled, every other row,
    groups of groups."""
    b = networks.Builder((10, 7, 6), seed)
    ones = {"weight": np.ones((10, 1, 1, 1), np.int8), "bias": np.full(10, -3, np.int32),
            **identity(10).consts()}
    padded = b.add("conv", ["x"], {"kernel": (1, 1), "pads": (1, 2, 0, 1), "groups": 10,
                                   "pool": True, "pad": 3, "zp": 3}, ones)
    y = b.conv(padded, 12, 3, 2)
    twin = b.graph.nodes[-1].with_(name="twin", output="twin")
    b.graph.nodes.append(twin)
    b.graph.tensors["twin"] = dataclasses.replace(b.graph.tensors[y], name="twin")
    b.conv(y, 5)  # dead
    b.graph.nodes.append(weighted("copy", ["twin"], "copied", 12, TINY))
    b.graph.tensors["copied"] = dataclasses.replace(b.graph.tensors[y], name="copied")
    total = b.eltwise(b.eltwise(y, "copied"), table=True)
    wide = b.conv(y, 48)
    low, high = (b.add("slice", [wide], {"begin": c, "end": c + 24}) for c in (0, 24))
    again = b.gather(b.add("concat", [low, b.conv(high, 24)]),
                     [i % 2 * 24 + i // 2 for i in range(48)])
    every = b.conv(b.pick([y], range(0, b.shape(y)[1], 2), range(b.shape(y)[2])), 4)
    mixed = b.gather(b.conv(y, 24, groups=2), [i % 2 * 12 + i // 2 for i in range(24)])
    grouped = b.conv(b.depthwise(mixed), 12, groups=2)
    graph = b.done(total, b.conv(total, 9), b.conv(again, 5), every, grouped)
    graph.tensors = {k: dataclasses.replace(t, scale=0.1, zero_point=3)
                     for k, t in graph.tensors.items()}
    return graph


@pytest.mark.parametrize("apply", ONCE, ids=lambda p: p.__name__)
def test_it_knows_the_graph_alone_and_never_raises(apply: Pass) -> None:
    assert list(inspect.signature(apply).parameters) == ["graph"]
    tree = ast.parse(inspect.getsource(inspect.getmodule(apply)))  # type: ignore[arg-type]
    nodes = list(ast.walk(tree))
    assert not [n for n in nodes if isinstance(n, ast.Raise)]
    names = {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    assert not names & {"Arch", "preset", "PRESETS", "FalconetError"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("apply", ONCE, ids=lambda p: p.__name__)
def test_it_leaves_its_graph_alone_and_keeps_the_outputs(apply: Pass, seed: int) -> None:
    graph = network(seed)
    before = graph.to_dict()
    better = apply(graph)
    assert graph.to_dict() == before
    assert better.to_dict() != before, "the network has nothing for this pass"
    verify(better, TINY)
    assert (better.inputs, better.outputs) == (graph.inputs, graph.outputs)
    for name in graph.inputs + graph.outputs:
        assert better.tensors[name] == graph.tensors[name]
    x = np.random.default_rng(seed).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    want, found = (run_graph(*g.to_dict(), {"x": x}) for g in (graph, better))
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], want[name])
