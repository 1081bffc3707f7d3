"""Random weights, awkward shapes: every operator on every device, byte for byte."""

from __future__ import annotations

import networks
import numpy as np
import pytest
from devices import run_all

from falconet.compiler import compile_graph
from falconet.compiler.graph import Graph
from falconet.isa import preset

pytestmark = pytest.mark.timeout(900)


def convolution(shape: tuple[int, int, int], out: int, k: int, **options: object) -> Graph:
    b = networks.Builder(shape)
    return b.done(b.conv("x", out, k, **options))  # type: ignore[arg-type]


def single(make: str, shape: tuple[int, int, int], *args: object, **options: object) -> Graph:
    b = networks.Builder(shape)
    return b.done(getattr(b, make)("x", *args, **options))


CASES = {
    "pointwise": lambda: convolution((20, 12, 10), 20, 1),
    "dense-3x3": lambda: convolution((20, 12, 10), 20, 3),
    "dense-stride-2": lambda: convolution((33, 13, 11), 9, 3, s=2),
    "dense-dilated": lambda: convolution((9, 12, 14), 17, 3, d=3),
    "dense-even-kernel": lambda: convolution((9, 12, 14), 17, 2, pads=(0, 0, 1, 1)),
    "dense-table": lambda: convolution((16, 8, 8), 16, 1, table=True),
    "grouped": lambda: convolution((24, 9, 9), 36, 3, groups=3),
    "grouped-few": lambda: convolution((20, 9, 9), 20, 3, groups=10),
    "image": lambda: convolution((3, 20, 22), 8, 3, s=2),
    "image-7x7": lambda: convolution((3, 21, 23), 8, 7, s=2),
    "image-one-channel": lambda: convolution((1, 20, 22), 8, 5),
    "linear": lambda: convolution((40, 5, 5), 33, 5, pads=(0, 0, 0, 0)),
    "depthwise": lambda: single("depthwise", (20, 12, 10)),
    "depthwise-stride-2": lambda: single("depthwise", (20, 12, 11), 3, 2),
    "depthwise-5x5": lambda: single("depthwise", (20, 12, 10), 5),
    "depthwise-1x4": lambda: single("depthwise", (20, 12, 10), (1, 4), pads=(0, 1, 0, 2)),
    "maxpool-2": lambda: single("maxpool", (20, 12, 10)),
    "maxpool-3": lambda: single("maxpool", (20, 12, 10), 3, 1, 1),
    "average": lambda: single("average", (20, 7, 7)),
    "activation": lambda: single("eltwise", (20, 7, 9), table=True),
    "per-channel": lambda: single("eltwise", (20, 7, 9), per_channel=True),
    "upsample": lambda: single("upsample", (20, 5, 6), 2, 3),
    "operators": networks.zoo_of_operators,
    "operators-odd": lambda: networks.zoo_of_operators(seed=3, size=28),
    "mobilenetv2": lambda: networks.mobilenet_v2(size=64, width=0.5),
    "retinaface": lambda: networks.retinaface(size=64),
}


@pytest.mark.parametrize("arch", ["tiny", "pynq-z2"])
@pytest.mark.parametrize("case", CASES)
def test_devices_agree(case: str, arch: str) -> None:
    graph = CASES[case]()
    program = compile_graph(graph, preset(arch))
    random = np.random.default_rng(7)
    for _ in range(2):  # the second run finds the first one's leftovers in every memory
        run_all(program, {
            name: random.integers(-128, 128, graph.tensors[name].shape).astype(np.int8)
            for name in graph.inputs
        })
