"""matmul: a pointwise convolution whose weights are a tensor."""

from __future__ import annotations

from collections.abc import Sequence

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Layout, Operator, dense
from falconet.compiler.lower.stage import stage_of
from falconet.compiler.lower.stored import in_ddr
from falconet.compiler.machine.matmul import MatMulOp
from falconet.compiler.machine.op import Op
from falconet.isa import Arch, FalconetError, Mac
from falconet.isa.graph.ops.matmul import MatMul

__all__ = ["OPERATOR"]


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    return dense(len(node.consts["bias"]), arch)


def _lower(context: Context, node: Node, layer: int) -> Op:
    arch, out, source = context.arch, context.output(node), context.sources(node)[0]
    (k, height, width), (_, *side) = context.graph.shapes(node)
    zeros = node.of(MatMul).zeros
    bias = node.consts["bias"] + k * zeros[0] * zeros[1]
    folded = node.with_(consts={**node.consts, "bias": bias})
    op = MatMulOp(
        node.name, layer, (source,), out, height, arch=arch, width=width,
        stage=stage_of(folded, out, arch.lanes, empty=context.empty(node)),
        kernel=(MatMulOp.rows_of(zeros), 1), in_range=((0, source.blocks),) * out.blocks,
        b=in_ddr(context, node.inputs[1]), pixels=side[0] * side[1], channels=source.lane_of,
        zeros=zeros)
    if op.block_words(0) > arch.weight_words:
        raise FalconetError(
            f"{arch.lanes} pixels of the second operand need {op.block_words(0)} weight words and "
            f"the weight memory of '{arch.name}' holds {arch.weight_words}; use fewer channels, or "
            "zero points of 0")
    if source.blocks > Mac.field("n_ib").hi:
        raise FalconetError(f"more than {Mac.field('n_ib').hi} blocks of channels; split the "
                            "product")
    return op


OPERATOR = Operator(_lower, lanes=_lanes, empty=True)
