"""A buffer, and blocks in it, for every tensor; views share those of what they show."""

from __future__ import annotations

from falconet.compiler.lower.operator import Context, Layout, View
from falconet.compiler.lower.ops import OPERATORS
from falconet.compiler.machine.place import Buffer, Slot

__all__ = ["place"]


def place(context: Context, layout: dict[str, Layout]) -> None:
    """Fill the network's slots."""
    net, graph = context.net, context.graph
    homes: dict[str, tuple[Buffer, int]] = {}
    for node in reversed(graph.nodes):
        if OPERATORS[node.op].view is not View.JOIN:
            continue
        if node.output not in homes:
            _, h, w = graph.tensors[node.output].shape
            homes[node.output] = net.buffer(node.output, h, w, layout[node.output].blocks), 0
        buf, at = homes[node.output]
        for name in node.inputs:
            homes[name] = buf, at
            at += layout[name].blocks
    made_by = {n.output: n for n in graph.nodes}
    for name in [*graph.inputs, *made_by]:
        blocks, lane_of, first = layout[name]
        _, h, w = graph.tensors[name].shape
        maker, image = made_by.get(name), context.images.get(name)
        if image is not None:
            user_w = graph.tensors[image.user.output].shape[2]
            homes[name] = net.buffer(name, h, user_w + image.group * (image.n_kx - 1), 1), 0
            blocks = 1
        elif maker is not None and OPERATORS[maker.op].view is View.PART:
            source = net.slots[maker.inputs[0]]
            homes[name] = source.buffer, source.block0 + first
        elif name not in homes:
            homes[name] = net.buffer(name, h, w, blocks), 0
        net.slots[name] = Slot(homes[name][0], homes[name][1], blocks, lane_of, name)
