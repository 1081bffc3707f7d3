"""Inputs that are loaded as an image: windows along x, so that few channels fill the array."""

from __future__ import annotations

from falconet.compiler.graph import Graph
from falconet.compiler.lower.operator import Image
from falconet.compiler.machine.spatial import STRIDE_MAX
from falconet.isa import Arch, LoadImage
from falconet.isa.graph.ops.conv import Conv

__all__ = ["image_inputs"]

_PAD_LEFT = LoadImage.field("pad_left").hi


def image_inputs(graph: Graph, arch: Arch) -> dict[str, Image]:
    """Inputs with few channels that feed convolutions of one geometry: im2col along x on load."""
    found = {}
    for name in graph.inputs:
        c = graph.tensors[name].shape[0]
        users = graph.consumers(name)
        if not users or name in graph.outputs or 2 * c > arch.lanes:
            continue
        convs = [u.attrs for u in users if isinstance(u.attrs, Conv) and not u.depthwise]
        if len(convs) < len(users) or any(
                a.groups != 1 or a.dilation[1] != 1 or max(a.stride) > STRIDE_MAX for a in convs):
            continue
        first = convs[0]
        alike = len({(a.kernel[1], a.stride[1], a.pads[1], a.pad) for a in convs}) == 1
        step = c * first.stride[1]
        if alike and step <= arch.lanes and first.pads[1] * c <= _PAD_LEFT:
            group = max(1, arch.lanes // step)
            found[name] = Image(users[0], step, group, -(-first.kernel[1] * c // (step * group)))
    return found
