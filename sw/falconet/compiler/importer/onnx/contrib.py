"""Operators of onnxruntime's own domain, com.microsoft, as standard ones.

onnx infers no shape of them, nor of what is behind them. What computes the same has the node's
name, and what it takes before that a name like it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["STANDARD", "known_here", "standard"]

STANDARD = ("", "ai.onnx")
"""Names of the domain of standard operators."""

_DOMAIN = "com.microsoft"


class _Written:
    """What is put in the place of a node."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node = node
        self.attrs: dict[str, Any] = {
            a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str | float, last: bool = False) -> str:
        """A node of ``inputs``, numbers among them; ``last`` makes the result."""
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        made = self.node.output[0]
        name = self.node.name if last else f"{self.node.name or made}/{len(self.nodes)}"
        out = made if last else f"{made}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], name))
        return out

    def _constant(self, value: float) -> str:
        name = f"{self.node.output[0]}/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name


def _quick_gelu(w: _Written) -> None:
    """``x * sigmoid(alpha * x)``"""
    x = w.node.input[0]
    scaled = w.op("Mul", x, float(w.attrs.get("alpha", 1.702)))
    w.op("Mul", x, w.op("Sigmoid", scaled), last=True)


def _gelu(w: _Written) -> None:
    """``x / 2 * (1 + erf(x / sqrt(2)))``"""
    x = w.node.input[0]
    shape = w.op("Add", w.op("Erf", w.op("Div", x, 2**0.5)), 1.0)
    w.op("Mul", w.op("Mul", x, 0.5), shape, last=True)


_RULES: dict[str, Callable[[_Written], None]] = {"QuickGelu": _quick_gelu, "Gelu": _gelu}


def known_here(node: onnx.NodeProto) -> bool:
    """Whether :func:`standard` rewrites a node."""
    return node.domain == _DOMAIN and node.op_type in _RULES and len(node.input) == 1


def standard(graph: onnx.GraphProto) -> None:
    """Rewrite the nodes of ``graph`` in place."""
    if not any(n.domain == _DOMAIN for n in graph.node):
        return
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if known_here(node):
            written = _Written(node)
            _RULES[node.op_type](written)
            nodes += written.nodes
            graph.initializer.extend(written.constants)
            continue
        if (node.domain == _DOMAIN and node.op_type in ("QuantizeLinear", "DequantizeLinear")
                and all(a.name == "axis" for a in node.attribute)):
            node.domain = ""  # written so for 4-bit integers before opset 21
        nodes.append(node)
    fresh = onnx.GraphProto(node=nodes)
    del graph.node[:]
    graph.node.extend(fresh.node)
