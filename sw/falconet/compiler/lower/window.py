"""What convolution and pooling share: a window that the machine's fields can hold."""

from __future__ import annotations

from typing import Any

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context
from falconet.isa import FalconetError
from falconet.isa.graph.windowed import Windowed

__all__ = ["window_of"]


def window_of(context: Context, node: Node, layer: int) -> dict[str, Any]:
    """The arguments of a :class:`SpatialOp` but for its output stage."""
    a = node.of(Windowed)
    _, height, width = context.graph.tensors[node.output].shape
    for name in ("kernel", "stride", "dilation"):
        for why in a.attributes()[name].faults(name, getattr(a, name)):
            raise FalconetError(f"{why}, or two layers")
    return {
        "name": node.name, "layer": layer, "inputs": context.sources(node),
        "output": context.output(node), "height": height, "arch": context.arch, "width": width,
        "kernel": a.kernel, "stride": a.stride, "dilation": a.dilation, "pads": a.pads,
        "pad": a.pad,
    }
