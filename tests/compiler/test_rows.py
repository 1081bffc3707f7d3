"""Softmax and norms over channels, wherever these lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import networks
import pytest
from agreeing import PYNQ, TINY, agree

from falconet.compiler import compile_graph
from falconet.isa import Arch, FalconetError

NETWORKS: dict[str, tuple[tuple[int, int, int], Callable[[networks.Builder], list[str]]]] = {
    "softmax": ((20, 5, 6), lambda b: [b.softmax("x"), b.softmax("x", masked=True)]),
    "norm": ((20, 5, 6), lambda b: [b.norm("x"), b.norm("x", rms=True)]),
    "one channel": ((1, 4, 4), lambda b: [b.softmax("x"), b.norm("x", rms=True)]),
    "within a block": ((40, 3, 5), lambda b: [
        make(b.add("slice", [b.conv("x", 40, 3)], {"begin": 5, "end": 32}))
        for make in (b.softmax, b.norm)]),
    "in whole blocks": ((64, 3, 5), lambda b: [
        make(b.add("slice", ["x"], {"begin": 16, "end": 48})) for make in (b.softmax, b.norm)]),
    "of a concat": ((9, 6, 5), lambda b: [
        make(b.add("concat", [b.conv("x", 9), b.conv("x", 11)])) for make in (b.softmax, b.norm)]),
    "in rings": ((20, 64, 40), lambda b: [
        b.conv(b.norm(b.conv(b.softmax(b.conv("x", 24, 3)), 30, 3)), 9)]),
    "a gate": ((20, 6, 5), lambda b: [b.product("x", b.softmax(b.conv("x", 1)))]),
    "shares by values": ((20, 1, 21), lambda b: [
        b.matmul(b.softmax(b.matmul(b.conv("x", 24), b.conv("x", 24))),
                 b.transpose(b.conv("x", 13)), (-128, 0))]),
    "shares as weights": ((20, 1, 21), lambda b: [
        b.matmul(b.conv("x", 21), b.softmax(b.conv("x", 21)), (0, -128))]),
    "a norm as weights": ((21, 1, 21), lambda b: [b.matmul("x", b.norm("x"), (0, -4))]),
}


@pytest.mark.parametrize("arch", [TINY, PYNQ], ids=lambda a: a.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_rows(name: str, arch: Arch) -> None:
    shape, make = NETWORKS[name]
    b = networks.Builder(shape)
    graph = b.done(*make(b))
    graph.tensors = {k: dataclasses.replace(t, scale=0.1, zero_point=0)
                     for k, t in graph.tensors.items()}
    agree(graph, arch)


@pytest.mark.parametrize("channels", [256, 257])
def test_parameters_of_a_norm_fit_the_vector_memory(channels: int) -> None:
    """tiny holds 256 words, and a block of 8 channels needs 4."""
    b = networks.Builder((channels * 2, 1, 3))
    graph = b.done(b.norm("x"))
    if channels == 256:
        agree(graph, TINY)
    else:
        with pytest.raises(FalconetError, match=r"norm0.*take 260 vector weight words"):
            compile_graph(graph, TINY)
