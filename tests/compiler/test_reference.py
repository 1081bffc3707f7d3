"""The comparison with onnxruntime sees a wrong layer, and only that one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nets import Net

from falconet.compiler.importer.onnx.layerwise import compare
from falconet.isa import FalconetError
from falconet_sim.golden.device import run_node


@pytest.mark.parametrize("broken", [None, 0, 1, 2])
def test_names_the_wrong_layer(broken: int | None) -> None:
    n = Net(unsigned=True)
    y = n.q("x", 0.02, 5)
    for _ in range(3):
        y = n.q(n.op("Relu", n.conv(y, 8)), 0.03, -128)
    seen: list[str] = []

    def run(node: dict[str, Any], blob: bytes, inputs: list[Any]) -> Any:
        seen.append(node["name"])
        out = run_node(node, blob, inputs)
        return out + np.int8(2) * (out < 100) if len(seen) - 1 == broken else out

    inputs = {"x": np.random.default_rng(0).integers(-128, 128, (8, 12, 10)).astype(np.int8)}
    layers = compare(n.model(y), run, inputs)
    assert [v.node for v in layers] == seen and len(seen) == 3
    for i, layer in enumerate(layers):
        assert (layer.max_lsb > 1) == (i == broken), layer
        assert layer.total == 960 and (layer.rate > 0.5) == (i == broken)


def test_an_input_of_another_shape_is_refused() -> None:
    n = Net(unsigned=True)
    y = n.q(n.conv(n.q("x", 0.02, 5), 8), 0.03, -128)
    with pytest.raises(FalconetError, match=r"input 'x': .* shape \[8, 12, 10\]"):
        compare(n.model(y), run_node, {"x": np.zeros((12, 10, 8), np.int8)})
