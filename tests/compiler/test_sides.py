"""Sides of fewer than no pixels, behind which onnx's own inference of shapes would end the process.

A failure here may be seen as a crash of pytest itself.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from falconet.compiler.importer.onnx.shapes import infer
from falconet.isa import FalconetError


def model(kernel: int, slices: list[int], *, high: int = 4, computed: bool = False
          ) -> onnx.ModelProto:
    """A convolution of ``high`` rows, each step of ``slices`` along them; ends may be computed."""
    last = np.iinfo(np.int64)
    lists = {"first": [-1], "begin": [0], "axis": [2], "down": [last.min + 1], "up": [last.max]}
    constants = [numpy_helper.from_array(np.ones((2, 3, kernel, 1), np.float32), "w")]
    constants += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in lists.items()]
    nodes, value = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "y"
    for i, step in enumerate(slices):
        constants.append(numpy_helper.from_array(np.array([step], np.int64), f"step{i}"))
        ends = "down" if step < 0 else "up"
        if computed:
            nodes.append(helper.make_node("Add", [ends, "begin"], [f"end{i}"], f"add{i}"))
            ends = f"end{i}"
        start = "first" if step < 0 else "begin"
        nodes.append(helper.make_node("Slice", [value, start, ends, "axis", f"step{i}"],
                                      [f"y{i}"], f"slice{i}"))
        value = f"y{i}"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, high, 5])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("slices", [[-1], [-2, 1], [2], [1, -1, -1]])
def test_a_window_beyond_its_input_is_refused_before_a_slice(slices: list[int], strict: bool
                                                             ) -> None:
    with pytest.raises(FalconetError, match=r"node 'conv' \(Conv\): its output would be of shape "
                                            r"\[1, 2, -1, 5\]: .*export the network for a larger"):
        infer(model(6, slices), strict=strict)


def test_an_input_of_minus_one_is_refused_before_a_slice() -> None:
    with pytest.raises(FalconetError, match=r"input 'x': its shape is \[1, 3, -1, 5\]; export"):
        infer(model(1, [-1], high=-1))


@pytest.mark.parametrize(("slices", "rows"), [([], 9), ([-1], 9), ([2, -1], 5), ([-2, -2, 2], 2)])
def test_slices_behind_slices_have_their_shapes(slices: list[int], rows: int) -> None:
    inferred = infer(model(2, slices, high=10)).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*inferred.value_info, *inferred.output)}
    assert shapes[f"y{len(slices) - 1}" if slices else "y"] == [1, 2, rows, 5]


@pytest.mark.parametrize("slices", [[-1], [2, -1], [-2, -2, 2]])
def test_slices_to_computed_ends_have_no_shape_that_onnx_knows(slices: list[int]) -> None:
    given = model(2, slices, high=10, computed=True)
    (value,) = infer(given).graph.output
    assert not any(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
    with pytest.raises(FalconetError, match=r"node 'conv' \(Conv\): its output would be of"):
        infer(model(12, slices, high=10, computed=True))
