"""Norms that exporters write in small operators, found and named.

Layer norm as opsets below 17 have it: ReduceMean, Sub, Pow (or Mul by itself), ReduceMean, Add,
Sqrt, Div; RMS norm: Pow, ReduceMean, Add, Sqrt, Div (or Reciprocal, Mul). Then, if each is read by
the next alone, Mul by gamma and Add of beta. All along the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

__all__ = ["Composed", "composed"]

Array = NDArray[np.generic]
Constants = Callable[[str], "Array | None"]


@dataclass(frozen=True)
class Composed:
    """``output`` is the norm of ``source``; ``inside`` are the results that lead there alone.

    ``gamma`` and ``beta`` are names of constants, or empty.
    """

    op: str
    source: str
    output: str
    epsilon: float
    gamma: str
    beta: str
    inside: frozenset[str]


class _Graph:
    def __init__(self, nodes: Iterable[onnx.NodeProto], constant: Constants,
                 ranks: Mapping[str, int], results: Iterable[str]) -> None:
        self.nodes = list(nodes)
        self.constant, self.ranks, self.results = constant, ranks, frozenset(results)
        self.maker = {o: n for n in self.nodes for o in n.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)

    def made(self, name: str, *ops: str) -> onnx.NodeProto | None:
        node = self.maker.get(name)
        return node if node is not None and node.op_type in ops else None

    def number(self, name: str) -> float | None:
        value = self.constant(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def with_number(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        """The other operand and the number of a node of two."""
        for name, other in zip(node.input, reversed(node.input)):
            if (value := self.number(name)) is not None:
                return other, value
        return None

    def mean(self, name: str) -> str | None:
        """What it is the mean of, along the last axis."""
        node = self.made(name, "ReduceMean")
        if node is None:
            return None
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        given = self.constant(node.input[1]) if len(node.input) > 1 else None
        axes = list(attrs.get("axes", [])) if given is None else given.reshape(-1).tolist()
        rank = self.ranks.get(node.input[0], 0)
        last = len(axes) == 1 and axes[0] in (-1, rank - 1)
        return str(node.input[0]) if last and attrs.get("keepdims", 1) else None

    def square(self, name: str) -> str | None:
        """What it is the square of."""
        node = self.made(name, "Pow", "Mul")
        if node is None:
            return None
        if node.op_type == "Mul":
            return str(node.input[0]) if node.input[0] == node.input[1] else None
        return str(node.input[0]) if self.number(node.input[1]) == 2 else None

    def root(self, name: str) -> tuple[str, float] | None:
        """x and epsilon, if it is the root of epsilon plus the mean of x squared."""
        node = self.made(name, "Sqrt")
        total = self.made(node.input[0], "Add") if node is not None else None
        found = self.with_number(total) if total is not None else None
        of = self.mean(found[0]) if found is not None else None
        x = self.square(of) if of is not None else None
        return (x, found[1]) if x is not None and found is not None else None

    def quotient(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        """x and epsilon, if it divides x by that root of its own."""
        if node.op_type == "Div":
            sides = [(node.input[0], node.input[1])]
        elif node.op_type == "Mul":
            sides = []
            for x, other in zip(node.input, reversed(node.input)):
                part = self.made(other, "Reciprocal", "Div")
                if part is None or (part.op_type == "Div" and self.number(part.input[0]) != 1):
                    continue
                sides.append((x, part.input[-1]))
        else:
            return None
        for x, divisor in sides:
            found = self.root(divisor)
            if found is not None and found[0] == x:
                return found
        return None

    def centred(self, name: str) -> str | None:
        """What it is, less its mean."""
        node = self.made(name, "Sub")
        if node is not None and self.mean(node.input[1]) == node.input[0]:
            return str(node.input[0])
        return None

    def before(self, output: str, source: str) -> set[str]:
        """Results between the two."""
        found: set[str] = set()
        left = list(self.maker[output].input)
        while left:
            name = left.pop()
            if name != source and name not in found and name in self.maker and (
                    self.constant(name) is None):
                found.add(name)
                left += self.maker[name].input
        return found

    def closed(self, inside: set[str], output: str) -> bool:
        """Whether nothing else reads what lies inside."""
        return not inside & self.results and all(
            user.output[0] in inside | {output}
            for name in inside for user in self.readers.get(name, []))

    def vector(self, name: str, op: str, channels: int | None) -> tuple[str, str] | None:
        """Constant and result of the only reader, if it is ``op`` with one number a channel."""
        users = self.readers.get(name, [])
        if len(users) != 1 or users[0].op_type != op or name in self.results:
            return None
        for i in users[0].input:
            value = self.constant(i)
            if value is not None and (value.size == 1 or (
                    value.size == value.shape[-1] and channels in (None, value.size))):
                return i, str(users[0].output[0])
        return None


def composed(
    nodes: Iterable[onnx.NodeProto], constant: Constants, shapes: Mapping[str, Sequence[int]],
    results: Iterable[str],
) -> dict[str, Composed]:
    """The norms of a graph by their output.

    Parameters
    ----------
    constant:
        The value of a name that is a constant, else None.
    shapes:
        Of values, where they are known.
    results:
        Outputs of the graph.
    """
    graph = _Graph(nodes, constant, {k: len(v) for k, v in shapes.items()}, results)
    found = {}
    for node in graph.nodes:
        quotient = graph.quotient(node)
        if quotient is None:
            continue
        x, epsilon = quotient
        whole = graph.centred(x)
        out, source = str(node.output[0]), whole or x
        inside = graph.before(out, source)
        if not graph.closed(inside, out) or not math.isfinite(epsilon) or epsilon < 0:
            continue
        vectors = ["", ""]
        channels = shapes[source][-1] if source in shapes else None
        for i, op in enumerate(("Mul", "Add")):
            if (more := graph.vector(out, op, channels)) is not None:
                inside.add(out)
                vectors[i], out = more
        found[out] = Composed("LayerNormalization" if whole else "RMSNormalization", source, out,
                              epsilon, vectors[0], vectors[1], frozenset(inside))
    return found
