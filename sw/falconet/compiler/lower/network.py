"""The integer graph to operations of the machine."""

from __future__ import annotations

from falconet.compiler.graph import Graph, Node
from falconet.compiler.lower.borders import split_at_borders
from falconet.compiler.lower.detect import lower_detect
from falconet.compiler.lower.edges import lower_input, lower_output
from falconet.compiler.lower.everywhere import spread_channels
from falconet.compiler.lower.expand import expanded
from falconet.compiler.lower.image import image_inputs
from falconet.compiler.lower.lanes import aligned_heads, aligned_operands, lane_layout, with_copies
from falconet.compiler.lower.legal import check_shapes
from falconet.compiler.lower.nest import nested
from falconet.compiler.lower.operator import Context
from falconet.compiler.lower.ops import OPERATORS
from falconet.compiler.lower.place import place
from falconet.compiler.lower.stacks import stacked
from falconet.compiler.machine.network import Network
from falconet.isa import Arch, FalconetError, Mac
from falconet.isa.program.forms import Detect

__all__ = ["lower"]


def lower(graph: Graph, arch: Arch, detect: Detect | None = None) -> Network:
    """Choose an engine for every node and a place for every tensor.

    ``detect``: a detection head (:func:`falconet.compiler.detection.tables.describe`); its tensors
    are then read by the detect engine and not stored. Raises FalconetError naming the node that
    the machine has no form for, or whose shapes do not go together.
    """
    check_shapes(graph)
    graph = with_copies(stacked(nested(split_at_borders(expanded(graph, arch), arch)), arch), arch)
    graph, everywhere = spread_channels(graph, arch)
    graph = aligned_operands(graph, arch)
    heads = aligned_heads(graph, arch, detect) if detect is not None else {}
    context = Context(Network(graph, arch), image_inputs(graph, arch), everywhere)
    net = context.net
    place(context, lane_layout(graph, arch))
    for name in graph.inputs:
        lower_input(context, name)
    for layer, node in enumerate(graph.nodes):
        form = OPERATORS[node.op].lower
        if form is None:
            continue
        try:
            _check_sizes(context, node)
            net.ops.append(form(context, node, layer))
        except FalconetError as e:
            raise FalconetError(f"node '{node.origin}': {e}") from None
    for name in graph.outputs:
        if name not in heads:
            lower_output(context, name)
    if detect is not None:
        lower_detect(net, detect, heads)
    return net


def _check_sizes(context: Context, node: Node) -> None:
    tensors = context.graph.tensors
    side, blocks = Mac.field("n_y").hi, Mac.field("n_ob").hi
    if max(tensors[node.output].shape[1:]) > side or context.output(node).blocks > blocks:
        raise FalconetError(f"the output is beyond {side} pixels or {blocks} channel blocks; cut "
                            "it")
    if max(tensors[node.inputs[0]].shape[1:]) > side:
        raise FalconetError(f"the input is beyond {side} pixels; cut it")
