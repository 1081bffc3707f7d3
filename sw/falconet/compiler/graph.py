"""The integer graph between importer and back end: what a network computes, in exact integers.

Batch is 1; a tensor is int8 [C, H, W]. A node is an operator (:mod:`falconet.isa.graph.ops`,
docs/operators.md) with its inputs and constants. Every operation obeys docs/arithmetic.md: an exact
accumulator over the *stored* values, then the output stage. Zero points of the inputs are folded
into the bias.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.isa.checks import Fields
from falconet.isa.graph.operator import Given, Operator
from falconet.isa.graph.ops import operator
from falconet.isa.graph.ops.conv import Conv
from falconet.isa.graph.tensor import Shape

__all__ = ["Graph", "Node", "Shape", "Tensor", "output_shape"]

_MADE_FOR = re.compile(r"(/(copy\d*|aligned\d*|part\d*|rescale|above|below|groups|group\d+"
                       r"|step\d+|piece\d*))+(\.\d+)?$")
_ALIGN = 16  # of every constant in the blob
_DTYPES = ("int8", "uint8", "int32", "uint32")

Array = NDArray[Any]
Kind = TypeVar("Kind", bound=Operator)


@dataclass(frozen=True)
class Tensor:
    """An int8 tensor ``[C, H, W]``; real value = ``scale * (stored - zero_point)``."""

    name: str
    shape: Shape
    scale: float
    zero_point: int = 0


@dataclass
class Node:
    """One operation; ``name`` is that of the ONNX node it came from (unique in the graph).

    ``attrs`` is the operator with its attributes, and frozen: a change makes a new one
    (``dataclasses.replace``).
    """

    attrs: Operator
    name: str
    inputs: list[str]
    output: str
    consts: dict[str, Array] = field(default_factory=dict)

    @property
    def op(self) -> str:
        return self.attrs.op

    def of(self, kind: type[Kind]) -> Kind:
        """The attributes, for those who know the operator."""
        assert isinstance(self.attrs, kind)
        return self.attrs

    def with_(self, **changes: Any) -> Node:
        """A copy with some members replaced; lists and dicts are not shared."""
        return replace(self, **{"inputs": list(self.inputs), "consts": dict(self.consts),
                                **changes})

    @property
    def origin(self) -> str:
        """The ONNX node that this one was made for."""
        return _MADE_FOR.sub("", self.name)

    @property
    def given(self) -> dict[str, Given]:
        """Types and shapes of the constants."""
        return {k: Given(v.dtype.name, v.shape) for k, v in self.consts.items()}

    @property
    def depthwise(self) -> bool:
        """A conv that multiplies each channel by itself (runs on the vector engine)."""
        return isinstance(self.attrs, Conv) and self.attrs.depthwise(self.consts["weight"].shape)


@dataclass
class Graph:
    """Nodes in topological order; each tensor is a graph input or the output of one node."""

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    def producer(self, tensor: str) -> Node | None:
        """The node that writes ``tensor``; None for a graph input."""
        return next((n for n in self.nodes if n.output == tensor), None)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read ``tensor``, in order."""
        return [n for n in self.nodes if tensor in n.inputs]

    def shapes(self, node: Node) -> list[Shape]:
        """Of the node's inputs."""
        return [self.tensors[i].shape for i in node.inputs]

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of a node; a convolution that only moves channels has none."""
        return 0 if _moves(node) else node.attrs.macs(self.shapes(node), node.given)

    def copy(self) -> Graph:
        """A copy whose nodes and lists may be changed; constants are shared."""
        return Graph(self.name, dict(self.tensors), [n.with_() for n in self.nodes],
                     list(self.inputs), list(self.outputs), dict(self.meta))

    def to_dict(self) -> tuple[dict[str, Any], bytes]:
        """A JSON-able description and the constants it points into.

        Each constant is ``{"dtype", "shape", "offset"}``: C order, little endian, ``offset``
        bytes into the blob. ``falconet_sim.golden.device`` reads this form by itself.
        """
        blob = bytearray()

        def put(a: Array) -> dict[str, Any]:
            if a.dtype.name not in _DTYPES:
                raise TypeError(f"constant of type {a.dtype} in an integer graph")
            blob.extend(bytes(-len(blob) % _ALIGN))
            entry = {"dtype": a.dtype.name, "shape": list(a.shape), "offset": len(blob)}
            blob.extend(np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<")).tobytes())
            return entry

        description = {
            "name": self.name,
            "tensors": [
                {"name": t.name, "shape": list(t.shape), "scale": t.scale,
                 "zero_point": t.zero_point} for t in self.tensors.values()
            ],
            "nodes": [
                {"op": n.op, "name": n.name, "inputs": list(n.inputs), "output": n.output,
                 "attrs": n.attrs.to_dict(), "consts": {k: put(v) for k, v in n.consts.items()}}
                for n in self.nodes
            ],
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "meta": self.meta,
        }
        return description, bytes(blob)

    @classmethod
    def from_dict(cls, data: dict[str, Any], blob: bytes) -> Graph:
        """Inverse of :meth:`to_dict`."""

        def get(entry: dict[str, Any]) -> Array:
            dtype = np.dtype(entry["dtype"]).newbyteorder("<")
            count = int(np.prod(entry["shape"]))
            flat = np.frombuffer(blob, dtype, count, entry["offset"])
            native: Array = flat.astype(entry["dtype"]).reshape(entry["shape"])
            return native

        try:
            tensors = {
                t["name"]: Tensor(t["name"], tuple(t["shape"]), t["scale"], t["zero_point"])
                for t in data["tensors"]
            }
            nodes = [
                Node(operator(n["op"]).read(Fields(n["attrs"], f"node '{n['name']}'")), n["name"],
                     list(n["inputs"]), n["output"],
                     {k: get(v) for k, v in n["consts"].items()}) for n in data["nodes"]
            ]
            return cls(data["name"], tensors, nodes, list(data["inputs"]),
                       list(data["outputs"]), dict(data["meta"]))
        except (KeyError, TypeError, ValueError) as e:
            raise FalconetError(f"graph section: unreadable ({e!r}); recompile the network"
                                ) from None


def _moves(node: Node) -> bool:
    """Whether it is a convolution that stores some of its input's channels as they are."""
    a = node.attrs
    if not isinstance(a, Conv) or a.kernel != (1, 1) or a.groups != 1:
        return False
    w, exact = node.consts["weight"], 1 << node.consts["shift"].astype(np.int64)
    return bool(np.count_nonzero(w) <= len(w) and w.max() == 1 and w.min() >= 0
                and np.all(w.sum((1, 2, 3), dtype=np.int64) <= 1)
                and np.all(node.consts["mult"] == exact))


def output_shape(node: Node, inputs: Sequence[Shape]) -> Shape:
    """The shape that ``node`` makes of its inputs' shapes (no check of attributes)."""
    return node.attrs.shape(inputs, node.given)
