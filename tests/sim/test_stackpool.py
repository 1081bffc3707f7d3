"""Pooling over groups of channels: the golden model's loops, and every form of the machine's."""

from __future__ import annotations

import networks
import numpy as np
import pytest

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.compiler.passes.verify import verify
from falconet.isa import Arch, FalconetError, preset
from falconet_sim.golden.device import GoldenDevice, run_graph
from falconet_sim.iss.simulator import IssDevice

FORMS = {
    "groups that fill blocks": (48, 3, 1, 1, True),
    "groups that fill none": (15, 3, 2, 1, True),
    "sum of groups and rows": (32, 2, 3, 2, False),
    "sum of groups that fill none": (21, 7, 2, 2, False),
    "sum of a window alone": (20, 1, 3, 3, False),
    "all of one block": (16, 16, 1, 1, True),
    "all of few channels": (3, 3, 1, 1, True),
    "all of many": (136, 136, 1, 1, True),
    "all of a block and some": (21, 21, 1, 1, True),
    "all, and a window": (40, 40, 2, 2, True),
    "all, and a window that is taken apart": (5, 5, 3, 1, True),
    "more groups than a window has rows": (8 * 67, 67, 1, 1, True),
}


def network(form: str, height: int = 7) -> Graph:
    c, stack, k, s, maximum = FORMS[form]
    b = networks.Builder((c, height, 9), 5)
    return b.done(b.stackpool("x", stack, k, s, maximum=maximum))


@pytest.mark.parametrize("form", FORMS)
def test_golden_is_what_loops_compute(form: str) -> None:
    c, stack, k, s, maximum = FORMS[form]
    graph, size = network(form, 5), c // stack
    x = np.random.default_rng(2).integers(-128, 128, (c, 5, 9))
    (node,) = graph.nodes
    found = run_graph(*graph.to_dict(), {"x": x.astype(np.int8)})[node.output]
    for o, y, z in np.ndindex(found.shape):
        seen = [int(x[g * size + o, y * s + i, z * s + j])
                for g in range(stack) for i in range(k) for j in range(k)]
        v = (max(seen) if maximum else sum(seen)) + int(node.consts["bias"][o])
        q = round(v * int(node.consts["mult"][o]) / 2 ** int(node.consts["shift"][o]))
        assert found[o, y, z] == min(125, max(-120, q + node.attrs.to_dict()["zp"]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("arch", [preset("tiny"), preset("pynq-z2")], ids=lambda a: a.name)
def test_the_simulator_computes_what_the_golden_model_does(form: str, arch: Arch) -> None:
    program = compile_graph(network(form), arch)
    shape = (FORMS[form][0], 7, 9)
    for x in (np.random.default_rng(1).integers(-128, 128, shape), np.full(shape, -128)):
        inputs = {"x": x.astype(np.int8)}
        expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
        for output, value in expected.items():
            np.testing.assert_array_equal(found[output], value)


def test_lanes_without_a_channel_do_not_count() -> None:
    """They hold the zero point, which is more than anything that is there."""
    b = networks.Builder((8, 4, 4), 1)
    y = b.conv("x", 21)
    graph = b.done(b.stackpool(y, 21, maximum=True))
    conv, pool = graph.nodes
    conv.consts["bias"][:] = -(1 << 20)
    program = compile_graph(graph, preset("tiny"))
    inputs = {"x": np.zeros((8, 4, 4), np.int8)}
    expected, found = (d(program).run(inputs).outputs[pool.output]
                       for d in (GoldenDevice, IssDevice))
    np.testing.assert_array_equal(found, expected)
    assert conv.attrs.to_dict()["lo"] == -120 < conv.attrs.to_dict()["zp"]


def test_channels_that_lie_apart_are_brought_together() -> None:
    """Groups cut out of a concat of parts that fill no block."""
    b = networks.Builder((8, 6, 6), 1)
    cat = b.add("concat", [b.conv("x", 10), b.conv("x", 20), b.conv("x", 6)])
    part = b.add("slice", [cat], {"begin": 4, "end": 34})
    graph = b.done(b.stackpool(part, 3, 2, 2), b.stackpool(cat, 36, maximum=True),
                   b.stackpool(b.depthwise(cat), 6, 2), b.conv(cat, 4))
    program = compile_graph(graph, preset("tiny"))
    inputs = {"x": np.random.default_rng(1).integers(-128, 128, (8, 6, 6)).astype(np.int8)}
    expected, found = (d(program).run(inputs).outputs for d in (GoldenDevice, IssDevice))
    for output, value in expected.items():
        np.testing.assert_array_equal(found[output], value)


def test_too_long_a_sum_is_refused() -> None:
    b = networks.Builder((32, 6, 6), 1)
    with pytest.raises(FalconetError, match="a sum over 16 groups of 2 rows; use 31 at most"):
        verify(b.done(b.stackpool("x", 16, 2)), preset("tiny"))
