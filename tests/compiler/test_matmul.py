"""Products of two tensors: the second one goes through DDR and comes back as weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import networks
import pytest
from agreeing import PYNQ, TINY, agree

from falconet.compiler.graph import Graph
from falconet.isa import Arch


@pytest.mark.parametrize("arch", [TINY, PYNQ], ids=lambda a: a.name)
@pytest.mark.parametrize("zeros", [(0, 0), (3, 0), (0, -7), (-128, 5), (9, -128), (-128, 127)])
def test_zero_points(zeros: tuple[int, int], arch: Arch) -> None:
    b = networks.Builder((20, 1, 10))
    scores = b.matmul(b.conv("x", 24), b.conv("x", 24), zeros)
    agree(b.done(b.matmul(scores, b.transpose(b.conv("x", 13)), (5, 0)), scores), arch)


NETWORKS: dict[str, tuple[tuple[int, int, int], Callable[[networks.Builder], list[str]]]] = {
    "an input by itself": ((16, 1, 9), lambda b: [b.matmul("x", "x")]),
    "an input that fills no block": ((13, 1, 9), lambda b: [b.matmul("x", "x", (3, 3))]),
    "a constant first": ((24, 1, 17), lambda b: [b.matmul(b.constant(24, 3, 5), "x", (0, 3))]),
    "a constant second": ((24, 4, 6), lambda b: [b.matmul("x", b.constant(24, 1, 17), (3, 0))]),
    "a constant twice": ((24, 1, 17), lambda b: [
        b.matmul("x", c, (3, 0)) for c in [b.constant(24, 1, 17)]] + [b.product("x", "t0")]),
    "rows of pixels": ((5, 9, 7), lambda b: [
        b.matmul(b.conv("x", 30, 3), b.conv(b.conv("x", 30, (9, 1), pads=(0, 0, 0, 0)), 30),
                 (-4, 6))]),
    "rows of both": ((12, 6, 7), lambda b: [
        b.matmul(b.matmul(b.conv("x", 19, 3), b.conv("x", 19, 3), (2, 0)),
                 b.transpose(b.conv("x", 21)), (-3, 0))]),
    "rows of an input": ((12, 5, 7), lambda b: [b.matmul("x", "x", (0, 3)), b.transpose("x")]),
    "rows of a constant": ((12, 5, 7), lambda b: [
        made for c in [b.constant(12, 5, 7)]
        for made in (b.matmul("x", c), b.transpose(c), b.product("x", c))]),
    "columns": ((12, 30, 1), lambda b: [b.matmul(b.conv("x", 19), b.conv("x", 19), (2, 5))]),
    "one channel": ((1, 1, 12), lambda b: [b.matmul(b.conv("x", 1), b.conv("x", 1), (1, 2))]),
    "one pixel": ((20, 1, 1), lambda b: [b.matmul(b.conv("x", 9), b.conv("x", 9))]),
    "itself": ((20, 1, 11), lambda b: [b.matmul(y, y, (2, 2)) for y in [b.conv("x", 19)]]),
    "a table": ((20, 1, 11), lambda b: [
        b.matmul(b.conv("x", 19), b.conv("x", 19, table=True), (0, 3), table=True)]),
    "behind a depthwise layer": ((20, 1, 11), lambda b: [
        b.matmul("x", b.depthwise("x", (1, 3))), b.matmul("x", b.eltwise("x", "x"), (3, 0))]),
    "behind a mean": ((13, 4, 11), lambda b: [
        b.matmul("x", b.average("x")), b.matmul(b.conv("x", 4), b.average(b.conv("x", 4)))]),
    "one channel for all": ((20, 1, 11), lambda b: [
        b.matmul(y, y) for y in [b.conv("x", 1)]] + [b.product("x", "t0")]),
}


@pytest.mark.parametrize("arch", [TINY, PYNQ], ids=lambda a: a.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_operands(name: str, arch: Arch) -> None:
    shape, make = NETWORKS[name]
    b = networks.Builder(shape)
    agree(b.done(*make(b)), arch)


def heads(size: int, number: int, tokens: int, width: int) -> Graph:
    """Attention without a softmax, heads side by side."""
    b = networks.Builder((width, 1, tokens))
    q, k, v = (b.conv("x", size * number) for _ in range(3))
    found = []
    for i in range(number):
        of = {"begin": i * size, "end": (i + 1) * size}
        scores = b.matmul(b.add("slice", [q], of), b.add("slice", [k], of), (0, 3))
        values = b.transpose(b.add("slice", [v], of))
        found.append(b.matmul(scores, values, (-128, 0)))
    return b.done(b.conv(b.add("concat", found), width))


@pytest.mark.parametrize("arch", [TINY, PYNQ], ids=lambda a: a.name)
@pytest.mark.parametrize("size", [6, 16])
def test_heads(size: int, arch: Arch) -> None:
    graph = heads(size, 3, 21, 20)
    graph.tensors = {k: dataclasses.replace(t, scale=0.1, zero_point=0)
                     for k, t in graph.tensors.items()}
    agree(graph, arch)


@pytest.mark.parametrize("k, n, zeros", [(300, 40, (0, 0)), (250, 90, (-128, 0)),
                                         (400, 60, (0, 5))])
def test_more_weights_than_fit_twice(k: int, n: int, zeros: tuple[int, int]) -> None:
    b = networks.Builder((20, 1, n))
    agree(b.done(b.matmul(b.conv("x", k), b.conv("x", k), zeros)), TINY)
