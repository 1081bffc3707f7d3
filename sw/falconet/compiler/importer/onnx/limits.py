"""What an ONNX file may ask for (docs/security.md), and the checks.

A file of 300 bytes can name constants of gigabytes and pictures of 100,000 pixels a side. What a
constant will take is inferred before it is computed.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from falconet.isa import FalconetError, Mac
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS

__all__ = ["CONSTANT_BYTES", "NODES", "NUMBERS", "SIDE", "Budget", "check_nodes", "check_shape"]

NODES = LIMITS["onnx"].nodes
"""Nodes of the graph; QuantizeLinear and DequantizeLinear count, so some 2,000 layers."""

SIDE = Mac.field("n_y").hi
"""Pixels of an image, high and wide: what the machine counts."""

NUMBERS = 1 << 26
"""Numbers of any activation."""

CONSTANT_BYTES = LIMITS["onnx"].unpacked
"""Of all constants that are computed, or twice what the file holds if that is more."""

_SMALL = 1 << 10  # numbers of a constant that shapes may depend on
_BY_INPUT = ("Compress", "NonZero", "Unique")  # as large as their input, 8 bytes for each index

Array = NDArray[np.generic]


def check_nodes(model: onnx.ModelProto, where: str) -> None:
    """Refuse more than NODES nodes, those of subgraphs included, and what ends onnx itself."""
    if model.functions:  # each may call others twice, and so on: onnx follows all of them
        raise FalconetError(f"{where}: it has functions of its own "
                            f"({shown(model.functions[0].name)}); put their nodes in their places "
                            "with onnx.inliner.inline_local_functions")
    left, count = [model.graph], 0
    while left:
        graph = left.pop()
        count += len(graph.node)
        for node in graph.node:
            if node.op_type == "GatherND":  # onnx reads outside of a shape that has become negative
                raise FalconetError(f"{where}: node {shown(node.name)} (GatherND): it is not "
                                    "supported; simplify the model")
        left += [g for n in graph.node for a in n.attribute for g in (a.g, *a.graphs) if g.node]
    if count > NODES:
        raise FalconetError(f"{where}: it has {count:,} nodes and the limit is {NODES:,}; simplify "
                            "the model, or split it")


def check_shape(what: str, shape: list[int]) -> None:
    """Refuse an activation that no machine holds."""
    if np.prod(shape, dtype=np.float64) > NUMBERS or (len(shape) == 4 and max(shape[2:]) > SIDE):
        raise FalconetError(f"{what}: it has the shape {shape}, and the limits are {SIDE} pixels a "
                            f"side and {NUMBERS:,} numbers; use smaller images")


class Budget:
    """Counts the bytes of computed constants, before they are computed.

    Parameters
    ----------
    held:
        Bytes of the constants that the file holds.
    """

    def __init__(self, held: int, opset: int) -> None:
        self.left = max(CONSTANT_BYTES, 2 * held)
        self.limit = self.left
        self.opset = opset

    def take(self, node: onnx.NodeProto, what: str, inputs: dict[str, Array]) -> None:
        """Refuse ``node`` (called ``what``) of constant ``inputs`` if its results do not fit."""
        size = self._size(node, inputs)
        if size is None:
            raise FalconetError(f"{what}: how large its constant result is cannot be told before "
                                "it is computed; simplify the model")
        if size > self.left:
            raise FalconetError(f"{what}: the constants that the file computes take more than "
                                f"{self.limit:,} bytes; simplify the model")
        self.left -= size

    def charge(self, size: int, what: str) -> None:
        """Count ``size`` bytes of what is kept for ``what``."""
        if size > self.left:
            raise FalconetError(f"{what}: the places of values that the file moves take more than "
                                f"{self.limit:,} bytes; simplify the model")
        self.left -= size

    def _size(self, node: onnx.NodeProto, inputs: dict[str, Array]) -> int | None:
        """Bytes of the results; None if that depends on more than shapes and a few numbers."""
        given = sum(int(a.size) for a in inputs.values())
        if node.op_type in _BY_INPUT:
            return given * 8 * max((a.ndim for a in inputs.values()), default=1)
        if node.op_type == "Constant":
            return int(node.ByteSize())
        types = {n: helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                 for n, a in inputs.items()}
        data = {n: numpy_helper.from_array(a) for n, a in inputs.items() if a.size <= _SMALL}
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset, node.domain)
            found = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=[helper.make_opsetid("", self.opset)])
        except Exception:  # onnx raises classes of its own; what it does not know is not computed
            return None
        total = 0
        for name in filter(None, node.output):
            t = found[name].tensor_type if name in found else None
            if t is None or not all(d.HasField("dim_value") for d in t.shape.dim) or not (
                    t.HasField("shape")):
                return None
            count = np.prod([d.dim_value for d in t.shape.dim], dtype=np.float64)
            total += int(count) * helper.tensor_dtype_to_np_dtype(t.elem_type).itemsize
        return total
