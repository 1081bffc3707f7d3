"""conv: dense and grouped ones on the MAC array, depthwise ones on the vector engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from falconet.compiler.graph import Node
from falconet.compiler.lower.operator import Context, Image, Layout, Operator, dense, same
from falconet.compiler.lower.parts import NO_RUNS, Run, far_apart, lattice
from falconet.compiler.lower.stage import is_uniform, repeated, stage_of, uniform
from falconet.compiler.lower.window import window_of
from falconet.compiler.machine.mac import MacOp
from falconet.compiler.machine.op import Op
from falconet.compiler.machine.pack import spread
from falconet.compiler.machine.place import Array, Slot
from falconet.compiler.machine.window import WindowOp
from falconet.isa import Arch, FalconetError, Mac
from falconet.isa.graph.ops.conv import Conv

__all__ = ["OPERATOR", "dense_weight"]


def _stays(node: Node, lane_of: Array) -> bool:
    """Whether channels stay in their lanes: not where a single one is copied to the first lane."""
    return node.depthwise and (len(lane_of) > 1 or lane_of[0] == 0)


def _lanes(node: Node, inputs: Sequence[Layout], arch: Arch) -> Layout:
    if _stays(node, inputs[0].lane_of):
        return same(node, inputs, arch)
    return dense(node.consts["weight"].shape[0], arch)


def _lower(context: Context, node: Node, layer: int) -> Op:
    out = context.output(node)
    form = _depthwise if _stays(node, context.sources(node)[0].lane_of) else _dense
    if node.output in context.everywhere:
        form, (node, out) = _dense, repeated(node, out, context.arch.lanes)
    stage = stage_of(node, out, context.arch.lanes)

    def make(y: Run, x: Run, window: dict[str, Any]) -> MacOp | WindowOp:
        return form(context, node, out, {**window, "stage": stage})

    runs = far_apart(context, node)
    if runs is not None:
        return lattice(context, node, layer, runs, make, pad=node.of(Conv).pad)
    return make(*NO_RUNS, window_of(context, node, layer))


def _depthwise(context: Context, node: Node, out: Slot, window: dict[str, Any]) -> WindowOp:
    arch = context.arch
    pool = node.of(Conv).pool
    shared = pool and is_uniform(node)
    if shared:
        window["stage"] = uniform(window["stage"], out)
    weight = spread(node.consts["weight"][:, 0], out.lane_of, out.blocks * arch.lanes)
    op = WindowOp(**window, weight=np.ones_like(weight) if pool else weight, shared=shared)
    if op.block_words(0) > arch.vector_words:
        raise FalconetError(
            f"one block of {arch.lanes} channels needs {op.block_words(0)} vector weight words and "
            f"the memory of '{arch.name}' holds {arch.vector_words}; use a smaller kernel or a "
            "larger preset")
    return op


def _dense(context: Context, node: Node, out: Slot, window: dict[str, Any]) -> MacOp:
    arch = context.arch
    image = context.images.get(node.inputs[0])
    if image is not None:
        weight, ranges = _image_weight(node, image, out, arch.lanes)
        window["kernel"] = window["kernel"][0], image.n_kx
    else:
        weight, ranges = dense_weight(node.consts["weight"], node.of(Conv).groups,
                                      context.sources(node)[0], out, arch.lanes)
    op = MacOp(**window, weight=weight, in_range=tuple(ranges),
               image_group=image.group if image is not None else 0)
    most = max(op.block_words(b) for b in range(out.blocks))
    if most > arch.weight_words:
        raise FalconetError(
            f"one block of {arch.lanes} output channels needs {most} weight words and the weight "
            f"memory of '{arch.name}' holds {arch.weight_words}; use fewer input channels or a "
            f"smaller kernel, or a preset of more weight words ({1 << (most - 1).bit_length()})"
        )
    most = Mac.field("n_ib").hi
    if max(hi - lo for lo, hi in ranges) > most:
        raise FalconetError(f"more than {most} blocks of input channels; split the layer")
    return op


def _image_weight(node: Node, image: Image, out: Slot, lanes: int
                  ) -> tuple[Array, list[tuple[int, int]]]:
    """Weights for words that hold ``span`` neighbouring bytes of an image's row."""
    weight = node.consts["weight"]
    o, channels, kh, kw = weight.shape
    span = image.step * image.group
    flat = np.zeros((o, kh, image.n_kx * span), np.int8)
    flat[:, :, :kw * channels] = weight.transpose(0, 2, 3, 1).reshape(o, kh, kw * channels)
    full = np.zeros((out.blocks * lanes, lanes, kh, image.n_kx), np.int8)
    full[out.lane_of, :span] = flat.reshape(o, kh, image.n_kx, span).transpose(0, 3, 1, 2)
    return full, [(0, 1)] * out.blocks


def dense_weight(weight: Array, groups: int, src: Slot, out: Slot, lanes: int
                 ) -> tuple[Array, list[tuple[int, int]]]:
    """Weights lane by lane, and the input blocks that each output block reads: those of weights
    that are not 0, and what lies between them."""
    o, per_group, kh, kw = weight.shape
    group_out = o // groups
    full = np.zeros((out.blocks * lanes, src.blocks * lanes, kh, kw), np.int8)
    for g in range(groups):
        rows = out.lane_of[g * group_out:(g + 1) * group_out]
        cols = src.lane_of[g * per_group:(g + 1) * per_group]
        full[np.ix_(rows, cols)] = weight[g * group_out:(g + 1) * group_out]
    used: Array = np.any(full.reshape(out.blocks, lanes, src.blocks, -1), axis=(1, 3))
    ranges = []
    for b in range(out.blocks):
        read = np.flatnonzero(used[b])
        ranges.append((int(read[0]), int(read[-1]) + 1) if len(read) else (0, 1))
    return full, ranges


OPERATOR = Operator(_lower, lanes=_lanes)
