"""The integer graph between importer and back end: what a network computes, in exact integers.

Batch is 1; a tensor is int8 [C, H, W]. Every operation obeys docs/arithmetic.md: an exact
accumulator over the *stored* values, then ``bias, mult, mult_neg, shift, zp, lo, hi`` and
optionally a table. Zero points of the inputs are folded into the bias.

=========  =================================================================================
op         attributes and constants (lists of int, arrays; ``C`` channels in, ``O`` out)
=========  =================================================================================
conv       ``kernel`` (ky, kx), ``stride`` (y, x), ``pads`` (top, left, bottom, right),
           ``dilation`` (y, x), ``groups``, ``pad`` (input zero point), output stage;
           ``weight`` int8 [O, C / groups, ky, kx]. Depthwise: groups == C == O. Linear: the
           kernel is the whole input. ``pool`` true: every weight is 1 (average pooling).
maxpool    ``kernel``, ``stride``, ``pads``, ``dilation``, ``pad`` = -128, output stage
eltwise    one or two inputs of equal shape, output stage;
           ``coef`` int32 [n_src, C], ``|coef| < 2**16``
concat     along channels; scale and zero point of the inputs are those of the output
slice      channels ``begin`` to ``end`` (exclusive)
upsample   pixel repetition ``fy``, ``fx``
=========  =================================================================================

"Output stage" is the attributes ``zp``, ``lo``, ``hi`` and the constants ``bias`` int32 [O],
``mult`` uint32 [O], ``mult_neg`` uint32 [O], ``shift`` uint8 [O] and, if there is one, ``table``
int8 [256], indexed by the clamped value + 128.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError

__all__ = ["OPS", "Graph", "Node", "Tensor", "output_shape"]

OPS = ("conv", "maxpool", "eltwise", "concat", "slice", "upsample")

_MADE_FOR = re.compile(r"(/(copy\d*|aligned\d*|rescale|above|below))+(\.\d+)?$")
_ALIGN = 16  # of every constant in the blob
_DTYPES = ("int8", "uint8", "int32", "uint32")

Array = NDArray[Any]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tensor:
    """An int8 tensor ``[C, H, W]``; real value = ``scale * (stored - zero_point)``."""

    name: str
    shape: Shape
    scale: float
    zero_point: int = 0


@dataclass
class Node:
    """One operation; ``name`` is that of the ONNX node it came from (unique in the graph)."""

    op: str
    name: str
    inputs: list[str]
    output: str
    attrs: dict[str, Any] = field(default_factory=dict)
    consts: dict[str, Array] = field(default_factory=dict)

    def with_(self, **changes: Any) -> Node:
        """A copy with some members replaced; lists and dicts are not shared."""
        fresh = {"inputs": list(self.inputs), "attrs": dict(self.attrs),
                 "consts": dict(self.consts)}
        return replace(self, **{**fresh, **changes})

    @property
    def origin(self) -> str:
        """The ONNX node that this one was made for."""
        return _MADE_FOR.sub("", self.name)

    @property
    def depthwise(self) -> bool:
        """A conv that multiplies each channel by itself (runs on the vector engine)."""
        return (self.op == "conv" and self.attrs["groups"] == self.consts["weight"].shape[0]
                and self.consts["weight"].shape[1] == 1)


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

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of a conv (0 for other operations)."""
        if node.op != "conv":
            return 0
        _, h, w = self.tensors[node.output].shape
        return int(node.consts["weight"].size) * h * w

    def copy(self) -> Graph:
        """A copy whose nodes and lists may be changed; constants are shared."""
        return Graph(self.name, dict(self.tensors), [n.with_() for n in self.nodes],
                     list(self.inputs), list(self.outputs), dict(self.meta))

    def to_dict(self) -> tuple[dict[str, Any], bytes]:
        """A JSON-able description and the constants it points into.

        Each constant is ``{"dtype", "shape", "offset"}``: C order, little endian, ``offset``
        bytes into the blob. ``falconet_sim.golden`` reads this form by itself.
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
                 "attrs": dict(n.attrs), "consts": {k: put(v) for k, v in n.consts.items()}}
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
                Node(n["op"], n["name"], list(n["inputs"]), n["output"], dict(n["attrs"]),
                     {k: get(v) for k, v in n["consts"].items()}) for n in data["nodes"]
            ]
            return cls(data["name"], tensors, nodes, list(data["inputs"]),
                       list(data["outputs"]), dict(data["meta"]))
        except (KeyError, TypeError, ValueError) as e:
            raise FalconetError(f"graph section: unreadable ({e!r}); recompile the network"
                                ) from None


def output_shape(node: Node, inputs: list[Shape]) -> Shape:
    """The shape that ``node`` makes of its inputs' shapes (no check of attributes)."""
    c, h, w = inputs[0]
    a = node.attrs
    if node.op in ("conv", "maxpool"):
        (ky, kx), (sy, sx), (dy, dx) = a["kernel"], a["stride"], a["dilation"]
        top, left, bottom, right = a["pads"]
        return (
            int(node.consts["weight"].shape[0]) if node.op == "conv" else c,
            (h + top + bottom - dy * (ky - 1) - 1) // sy + 1,
            (w + left + right - dx * (kx - 1) - 1) // sx + 1,
        )
    if node.op == "concat":
        return sum(s[0] for s in inputs), h, w
    if node.op == "slice":
        return a["end"] - a["begin"], h, w
    if node.op == "upsample":
        return c, h * a["fy"], w * a["fx"]
    return c, h, w
