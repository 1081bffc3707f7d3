"""maxpool: windows of the vector engine without weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from falconet.compiler.graph import Graph, Node, output_shape
from falconet.compiler.lower.operator import Context, Operator
from falconet.compiler.lower.parts import NO_RUNS, Run, far_apart, lattice
from falconet.compiler.lower.stage import is_uniform, stage_of, uniform
from falconet.compiler.lower.window import window_of
from falconet.compiler.machine import cost
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.window import WindowOp
from falconet.compiler.nodes import weighted
from falconet.isa import Arch
from falconet.isa.graph.ops.maxpool import MaxPool
from falconet.isa.graph.tensor import HI, LO

__all__ = ["OPERATOR"]

_WORTH = 0.9
"""Of the cycles that one window would take; a tensor more is to be held."""


def _lower(context: Context, node: Node, layer: int) -> Op:
    out = context.output(node)
    stage, shared = stage_of(node, out, context.arch.lanes), is_uniform(node)

    def make(y: Run, x: Run, window: dict[str, Any]) -> WindowOp:
        return WindowOp(**window, shared=shared, stage=uniform(stage, out) if shared else stage)

    runs = far_apart(context, node)
    if runs is not None:
        return lattice(context, node, layer, runs, make, pad=node.of(MaxPool).pad)
    return make(*NO_RUNS, window_of(context, node, layer))


def _expand(graph: Graph, node: Node, arch: Arch) -> list[Node]:
    """Along one axis, then along the other, where that reads less."""
    a, (c, h, w) = node.of(MaxPool), graph.tensors[node.inputs[0]].shape
    (ky, kx), (_, high, wide) = a.kernel, graph.tensors[node.output].shape
    if min(ky, kx) == 1:
        return [node]
    blocks = -(-c // arch.lanes)
    least = cost.vector(arch, high * wide * ky * kx, blocks) * _WORTH
    along_x = replace(a, kernel=(1, kx), stride=(1, a.stride[1]), dilation=(1, a.dilation[1]),
                      pads=(0, a.pads[1], 0, a.pads[3]))
    along_y = replace(a, kernel=(ky, 1), stride=(a.stride[0], 1), dilation=(a.dilation[0], 1),
                      pads=(a.pads[0], 0, a.pads[2], 0))
    both = cost.vector(arch, h * wide * kx, blocks), cost.vector(arch, high * wide * ky, blocks)
    other = cost.vector(arch, high * w * ky, blocks), cost.vector(arch, high * wide * kx, blocks)
    if min(sum(both), sum(other)) >= least:
        return [node]
    first, last = (along_x, along_y) if sum(both) <= sum(other) else (along_y, along_x)
    name, stay = f"{node.name}/piece", weighted("", [], "", c, arch).consts
    consts = {k: stay[k] for k in ("bias", "mult", "mult_neg", "shift")}
    between = Node(replace(first, zp=0, lo=LO, hi=HI), name, list(node.inputs), name, consts)
    shape = output_shape(between, [(c, h, w)])
    graph.tensors[name] = replace(graph.tensors[node.inputs[0]], name=name, shape=shape)
    return [between, node.with_(attrs=last, inputs=[name])]


OPERATOR = Operator(_lower, expand=_expand)
