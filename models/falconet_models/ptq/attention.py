"""What the quantiser must know of attention: masks, factors, operands of products, constants.

* Factors of a product of two activations (1 / sqrt(d)), a mask in front of a softmax and what a
  norm is made of exist only on the way to the next operator: nothing is stored of them.
* An operand of such a product has zero point 0, so that the machine multiplies no zero points, and
  no -128, which no second operand holds. Scores that are masked have none either: it is the mask.
* A softmax has the range of a share, whatever was measured.
* Constants that differ from token to token or pixel to pixel are stored as tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from falconet.compiler.importer.onnx.composed import composed

__all__ = ["SHARES", "Attention", "StoredConstant", "symmetric"]

SHARES = -1 / 256, 254 / 256
"""Range of a softmax: steps of 1/256 from -127 on. A zero point of -128 costs a product twice as
much, and the last step, which it would give more, is that of shares of 255/256."""

_MASK = -1000.0
_SCALED = ("Mul", "Div")


@dataclass(frozen=True)
class StoredConstant:
    """Input ``index`` of the node that makes ``output``; stored as the tensors of ``like`` are, or
    with a scale of its own."""

    output: str
    index: int
    like: str = ""


@dataclass
class Attention:
    """What is found in a float graph.

    Members
    -------
    inside:
        Results that exist only on the way to the next one.
    operands:
        Tensors that are multiplied with others as matrices.
    narrow:
        Tensors that hold no -128.
    shares:
        Results of softmaxes.
    constants:
        What is stored of the graph's constants.
    """

    graph: onnx.GraphProto
    constants_of: Mapping[str, onnx.TensorProto]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    shapes: Mapping[str, Sequence[int]]
    inside: set[str] = field(default_factory=set)
    operands: set[str] = field(default_factory=set)
    narrow: set[str] = field(default_factory=set)
    shares: set[str] = field(default_factory=set)
    constants: list[StoredConstant] = field(default_factory=list)

    def __post_init__(self) -> None:
        results = [o.name for o in self.graph.output]
        norms = composed(self.graph.node, self._constant, self.shapes, results)
        for c in norms.values():
            self.inside |= c.inside
        makers = {o: n for n in self.graph.node for o in n.output}
        for node in self.graph.node:
            out = node.output[0]
            if out in self.inside or out in norms:
                continue
            if node.op_type == "Softmax":
                self.shares.add(out)
            elif self._product(node):
                self._operands(node, makers)
            elif self._is_mask(node) and self._only_softmax(out):
                self.inside.add(out)
                self.narrow.update(i for i in node.input if i not in self.constants_of)
            else:
                self._constants(node)
        for node in self.graph.node:
            out = node.output[0]
            passing = self._factor_before(node) or self._pending(node)
            if passing and out not in results and out not in norms:
                self.inside.add(out)

    def sources(self, members: Iterable[str]) -> set[str]:
        """Those of the tensors that no operator makes of others of them."""
        inner = set(members)
        moved = {o for n in self.graph.node for o in n.output
                 if o in inner and inner.intersection(n.input)}
        return inner - moved

    def _product(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "MatMul" and node.input[1] not in self.constants_of

    def _operands(self, node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> None:
        for index, name in enumerate(node.input):
            if name in self.constants_of:
                self.constants.append(StoredConstant(node.output[0], index))
                continue
            maker = makers.get(name)
            while maker is not None and self._factor_before(maker):
                name = next(i for i in maker.input if i not in self.constants_of)
                maker = makers.get(name)
            self.operands.add(name)
            self.narrow.add(name)

    def _factor(self, node: onnx.NodeProto) -> bool:
        """Whether it multiplies an activation by a positive number."""
        given = [i for i in node.input if i in self.constants_of]
        if node.op_type not in _SCALED or len(given) != 1 or len(node.input) != 2:
            return False
        if node.op_type == "Div" and given[0] != node.input[1]:
            return False
        value = self._value(given[0])
        return value.size == 1 and float(value.reshape(-1)[0]) > 0

    def _factor_before(self, node: onnx.NodeProto) -> bool:
        users = self.readers.get(node.output[0], [])
        return bool(users) and self._factor(node) and all(self._product(u) for u in users)

    def _pending(self, node: onnx.NodeProto) -> bool:
        """Whether the one reader is a factor of this product, or the bias of this layer."""
        users = self.readers.get(node.output[0], [])
        if node.op_type != "MatMul" or len(users) != 1:
            return False
        if self._product(node):
            return self._factor(users[0]) and not self._factor_before(users[0])
        width = self.constants_of[node.input[1]].dims[-1]
        return users[0].op_type == "Add" and any(
            np.prod(self.constants_of[i].dims) == width == self.constants_of[i].dims[-1]
            for i in users[0].input if i in self.constants_of and self.constants_of[i].dims)

    def _is_mask(self, node: onnx.NodeProto) -> bool:
        given = [i for i in node.input if i in self.constants_of]
        if node.op_type == "Where":
            return node.input[0] in given and len(given) == 2
        if node.op_type != "Add" or len(given) != 1:
            return False
        value = self._value(given[0])
        return value.size > 1 and bool(np.all((value == 0) | (value <= _MASK)))

    def _only_softmax(self, name: str) -> bool:
        users = self.readers.get(name, [])
        return bool(users) and all(u.op_type == "Softmax" for u in users)

    def _constants(self, node: onnx.NodeProto) -> None:
        given = [(k, i) for k, i in enumerate(node.input) if i in self.constants_of]
        active = [i for i in node.input if i and i not in self.constants_of]
        if node.op_type == "Concat" and active:
            self.constants += [StoredConstant(node.output[0], k, node.output[0]) for k, _ in given]
        elif node.op_type in ("Add", "Sub", "Mul") and len(active) == len(given) == 1:
            dims = list(self.constants_of[given[0][1]].dims)
            rank = len(self.shapes.get(active[0], []))
            dims = [1] * (rank - len(dims)) + dims
            channel = 1 if rank == 4 else rank - 1
            if any(n > 1 for axis, n in enumerate(dims) if axis != channel):
                self.constants.append(StoredConstant(node.output[0], given[0][0]))

    def _constant(self, name: str) -> NDArray[Any] | None:
        return self._value(name) if name in self.constants_of else None

    def _value(self, name: str) -> NDArray[Any]:
        return numpy_helper.to_array(self.constants_of[name])


def symmetric(low: float, high: float) -> tuple[float, float]:
    """The range around both with which zero is stored as 0, and nothing as -128."""
    most = max(-low, high)
    return -most * 128 / 127, most

