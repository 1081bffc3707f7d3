from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nets import ARCH, Net, agree

from falconet.compiler import compile_model
from falconet.compiler.importer.onnx.convert import import_onnx
from falconet.compiler.passes import optimise
from falconet.isa.graph.ops.conv import Conv

MOST = np.iinfo(np.int64).max


def phase(n: Net, x: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
    """Every so many rows and columns from one on."""
    (a, s), (b, t) = rows, columns
    return str(n.op("Slice", x, np.array([a, b]), np.array([MOST, MOST]), np.array([2, 3]),
                    np.array([s, t])))


def focus(n: Net, x: str) -> str:
    parts = [n.q(phase(n, x, (i, 2), (j, 2)), 0.04, 11) for j in (0, 1) for i in (0, 1)]
    return n.q(n.op("Concat", *parts, axis=1), 0.04, 11)


def made(body: Any, shape: tuple[int, int, int] = (3, 12, 10)) -> Conv | None:
    """The model's convolution if all else has become a part of it."""
    n = Net((1, *shape))
    model = n.model(n.q(body(n, n.q("x", 0.04, 11)), 0.0371))
    agree(model)
    nodes = optimise(import_onnx(model), ARCH).nodes
    return nodes[0].of(Conv) if len(nodes) == 1 else None


@pytest.mark.parametrize("k, pad", [(3, 1), (1, 0), (3, 0), (2, 1)])
def test_focus_is_a_larger_window(k: int, pad: int) -> None:
    conv = made(lambda n, x: n.conv(focus(n, x), 8, 12, k, pads=[pad] * 4))
    assert conv is not None and (conv.kernel, conv.stride) == ((2 * k, 2 * k), (2, 2))
    assert conv.pads[:2] == (2 * pad, 2 * pad)


def test_focus_reads_the_image_as_it_is_sent() -> None:
    """Not blocks of channels, of which three would be used."""
    n = Net((1, 3, 12, 10))
    model = n.model(n.q(n.conv(focus(n, n.q("x", 0.04, 11)), 8, 12, 3), 0.0371))
    assert compile_model(model, ARCH, "focus").header["inputs"][0]["format"] == "image"


def test_space_to_depth_by_an_operator() -> None:
    conv = made(lambda n, x: n.conv(n.q(n.op("SpaceToDepth", x, blocksize=2), 0.04, 11), 8, 12,
                                    3, strides=[2, 1]))
    assert conv is not None and (conv.kernel, conv.stride) == ((6, 6), (4, 2))


@pytest.mark.parametrize("steps", [(2, 2), (3, 1), (1, 2), (4, 3)])
def test_every_so_many_pixels_are_strides(steps: tuple[int, int]) -> None:
    rows, columns = steps
    conv = made(lambda n, x: n.conv(n.q(phase(n, x, (0, rows), (0, columns)), 0.04, 11), 8, 3,
                                    1))
    assert conv is not None and (conv.kernel, conv.stride) == ((1, 1), steps)


def test_taps_stay_apart_in_a_wider_window() -> None:
    conv = made(lambda n, x: n.conv(n.q(phase(n, x, (0, 2), (0, 2)), 0.04, 11), 8, 3, 3))
    assert conv is not None
    assert (conv.kernel, conv.dilation, conv.stride) == ((3, 3), (2, 2), (2, 2))


@pytest.mark.parametrize("body", [
    lambda n, x: n.conv(n.q(phase(n, x, (1, 2), (0, 2)), 0.04, 11), 8, 3, 1),
    lambda n, x: n.conv(n.q(phase(n, x, (0, 300), (0, 2)), 0.04, 11), 8, 3, 1),
    lambda n, x: n.op("MaxPool", n.q(phase(n, x, (0, 2), (0, 2)), 0.04, 11), kernel_shape=[2, 2]),
], ids=["from row 1 on", "beyond the strides", "no convolution"])
def test_what_stays(body: Any) -> None:
    assert made(body, (3, 640, 10)) is None


def test_twice_the_same_is_added_where_it_fits() -> None:
    """Two phases that are one: their weights are summed, or it stays a copy."""
    n = Net((1, 2, 8, 8))
    x = n.q("x", 0.04, 11)
    parts = [n.q(phase(n, x, (0, 2), (0, 2)), 0.04, 11) for _ in range(2)]
    model = n.model(n.q(n.conv(n.q(n.op("Concat", *parts, axis=1), 0.04, 11), 8, 4, 1)))
    agree(model)
