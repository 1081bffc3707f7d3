"""Blocks of a vision transformer on all devices, their tokens in a row, a column or an image."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from agreeing import PYNQ, TINY, agree
from devices import run_all

from falconet.compiler import compile_graph
from falconet.compiler.passes import optimise

SHAPES = {"row": (1, 21), "column": (21, 1), "image": (5, 7)}


@pytest.mark.parametrize("zero", [-127, -128])
@pytest.mark.parametrize("shape", SHAPES)
def test_on_all_devices(shape: str, zero: int) -> None:
    graph = optimise(networks.encoder(SHAPES[shape], blocks=2, zero=zero), TINY)
    x = np.random.default_rng(0).integers(-128, 128, graph.tensors["x"].shape).astype(np.int8)
    assert run_all(compile_graph(graph, TINY, f"encoder-{shape}"), {"x": x}).cycles


@pytest.mark.parametrize("shape", SHAPES)
def test_on_the_board_s_machine(shape: str) -> None:
    agree(networks.encoder(SHAPES[shape], 96, 2, 192), PYNQ)


def test_tensors_that_go_through_ddr() -> None:
    """More tokens than tiny holds beside each other."""
    agree(networks.encoder((16, 16), 48, 2, 128), TINY)
