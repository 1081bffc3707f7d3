"""From the integer graph to machine operations: places, engines.

Concat and slice disappear here: the inputs of a concat are blocks of its output, a slice is a
view.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.detect import lower_detect
from falconet.compiler.graph import Graph, Node
from falconet.compiler.lanes import aligned_heads, aligned_operands, lane_layout, with_copies
from falconet.compiler.ops import (
    Buffer,
    CopyOp,
    DdrTensor,
    EltwiseOp,
    ImageOp,
    LoadOp,
    MacOp,
    Op,
    OutputStage,
    Slot,
    StoreOp,
    WindowOp,
)
from falconet.compiler.pack import spread
from falconet.isa import Arch, FalconetError, LoadImage, Segment

__all__ = ["Network", "lower"]

Array = NDArray[Any]
_ALIGN = 128
_PAD_LEFT = next(f.hi for f in LoadImage.layout if f.name == "pad_left")


@dataclass
class Network:
    """Operations in order, their buffers, and what lies in DDR.

    ``detect``: the head on the machine, as the program's header describes it; ``extra_layers``:
    name and op of the layers that follow the graph's nodes.
    """

    graph: Graph
    arch: Arch
    ops: list[Op] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    detect: dict[str, Any] | None = None
    extra_layers: list[tuple[str, str]] = field(default_factory=list)
    segment_bytes: dict[Segment, int] = field(
        default_factory=lambda: {s: 0 for s in Segment}
    )

    def reserve(self, segment: Segment, size: int) -> int:
        """The offset of ``size`` fresh bytes in a DDR segment."""
        at = self.segment_bytes[segment]
        self.segment_bytes[segment] = at + -(-size // _ALIGN) * _ALIGN
        return at

    def buffer(self, name: str, height: int, width: int, blocks: int) -> Buffer:
        buf = Buffer(name, height, width, blocks)
        self.buffers.append(buf)
        return buf


def lower(graph: Graph, arch: Arch, detect: dict[str, Any] | None = None) -> Network:
    """Choose an engine for every node and a place for every tensor.

    ``detect``: a detection head (:func:`falconet.compiler.boxes.describe`); its tensors are then
    read by the detect engine and not stored. Raises FalconetError naming the node that the machine
    has no form for.
    """
    net = Network(graph, arch)
    graph = net.graph = aligned_operands(with_copies(graph), arch)
    heads = aligned_heads(graph, arch, detect) if detect is not None else {}
    lanes_of = lane_layout(graph, arch)
    image = _image_input(graph, arch)
    _place(net, graph, lanes_of, image)
    for name in graph.inputs:
        _lower_input(net, name, image.get(name))
    for layer, node in enumerate(graph.nodes):
        if node.op in ("concat", "slice"):
            continue
        try:
            net.ops.append(_lower_node(net, node, layer, image))
        except FalconetError as e:
            raise FalconetError(f"node '{node.origin}': {e}") from None
    for name in graph.outputs:
        if name not in heads:
            _lower_output(net, name)
    if detect is not None:
        lower_detect(net, detect, heads)
    return net


def _image_input(graph: Graph, arch: Arch) -> dict[str, Node]:
    """Inputs with few channels that feed convolutions of one geometry: im2col along x on load."""
    found = {}
    for name in graph.inputs:
        c = graph.tensors[name].shape[0]
        users = graph.consumers(name)
        if not users or name in graph.outputs or 2 * c > arch.lanes:
            continue
        if any(u.op != "conv" or u.depthwise or u.attrs["groups"] != 1
               or u.attrs["dilation"][1] != 1 for u in users):
            continue
        shapes = {(u.attrs["kernel"][1], u.attrs["stride"][1], u.attrs["pads"][1],
                   u.attrs["pad"]) for u in users}
        first = users[0].attrs
        if (len(shapes) == 1 and first["stride"][1] * c <= arch.lanes
                and first["pads"][1] * c <= _PAD_LEFT):
            found[name] = users[0]
    return found


def _image_geometry(net: Network, name: str, user: Node) -> tuple[int, int, int]:
    """Bytes per step, words that one kx spans, number of kx."""
    c = net.graph.tensors[name].shape[0]
    step = c * user.attrs["stride"][1]
    group = max(1, net.arch.lanes // step)
    return step, group, -(-user.attrs["kernel"][1] * c // (step * group))


def _place(net: Network, graph: Graph, layout: dict[str, tuple[int, Array]],
           image: dict[str, Node]) -> None:
    homes: dict[str, tuple[Buffer, int]] = {}
    for node in reversed(graph.nodes):
        if node.op != "concat":
            continue
        if node.output not in homes:
            _, h, w = graph.tensors[node.output].shape
            homes[node.output] = net.buffer(node.output, h, w, layout[node.output][0]), 0
        buf, at = homes[node.output]
        for name in node.inputs:
            homes[name] = buf, at
            at += layout[name][0]
    for name in [*graph.inputs, *(n.output for n in graph.nodes)]:
        blocks, lane_of = layout[name]
        _, h, w = graph.tensors[name].shape
        maker = graph.producer(name)
        if name in image:
            _, group, n_kx = _image_geometry(net, name, image[name])
            user_w = graph.tensors[image[name].output].shape[2]
            homes[name] = net.buffer(name, h, user_w + group * (n_kx - 1), 1), 0
            blocks = 1
        elif maker is not None and maker.op == "slice":
            source = net.slots[maker.inputs[0]]
            first = int(source.lane_of[maker.attrs["begin"]:maker.attrs["end"]].min())
            homes[name] = source.buffer, source.block0 + first // net.arch.lanes
        elif name not in homes:
            homes[name] = net.buffer(name, h, w, blocks), 0
        net.slots[name] = Slot(homes[name][0], homes[name][1], blocks, lane_of, name)


def _lower_input(net: Network, name: str, user: Node | None) -> None:
    t, slot, lanes = net.graph.tensors[name], net.slots[name], net.arch.lanes
    c, h, w = t.shape
    entry: dict[str, Any] = {"name": name, "shape": [c, h, w], "scale": t.scale,
                             "zero_point": t.zero_point}
    if user is not None:
        row, form = w * c, "image"
        pitch = -(-row // 16) * 16
    else:
        form, pitch = "blocks", slot.blocks * w * lanes
    if pitch > 0xFFFF and user is not None:
        raise FalconetError(f"input '{name}': a row of {row} bytes is too long; the limit is 65535")
    at = net.reserve(Segment.INPUT, h * pitch)
    net.inputs.append({**entry, "format": form, "offset": at, "pitch": pitch,
                       "blocks": slot.blocks})
    ddr = DdrTensor(name, Segment.INPUT, at, pitch, h)
    if user is None:
        net.ops.append(LoadOp(f"load {name}", -1, [], slot, h, source=ddr, lanes=lanes))
    else:
        step, _, _ = _image_geometry(net, name, user)
        net.ops.append(ImageOp(
            f"load {name}", -1, [], slot, h, source=ddr, row_bytes=row,
            pad_left=user.attrs["pads"][1] * c, pad=user.attrs["pad"], step=step,
        ))


def _lower_output(net: Network, name: str) -> None:
    t, slot, lanes = net.graph.tensors[name], net.slots[name], net.arch.lanes
    c, h, w = t.shape
    pitch = slot.blocks * w * lanes
    at = net.reserve(Segment.OUTPUT, h * pitch)
    net.outputs.append({
        "name": name, "shape": [c, h, w], "scale": t.scale, "zero_point": t.zero_point,
        "offset": at, "blocks": slot.blocks, "lane_of": [int(v) for v in slot.lane_of],
    })
    net.ops.append(StoreOp(f"store {name}", -1, [slot], None, h, lanes=lanes,
                           target=DdrTensor(name, Segment.OUTPUT, at, pitch, h)))


def _stage(node: Node, slot: Slot, lanes: int) -> OutputStage:
    def put(key: str) -> Array:
        return spread(node.consts[key], slot.lane_of, slot.blocks * lanes)

    table = node.consts.get("table")
    return OutputStage(node.attrs["zp"], node.attrs["lo"], node.attrs["hi"], put("bias"),
                       put("mult"), put("mult_neg"), put("shift"),
                       None if table is None else table.astype(np.int8).tobytes())


def _lower_node(net: Network, node: Node, layer: int, image: dict[str, Node]) -> Op:
    arch, graph = net.arch, net.graph
    lanes = arch.lanes
    sources = [net.slots[n] for n in node.inputs]
    out = net.slots[node.output]
    _, height, width = graph.tensors[node.output].shape
    if max(graph.tensors[node.output].shape[1:]) > 4095 or out.blocks > 255:
        raise FalconetError("the output is beyond 4095 pixels or 255 channel blocks; cut it")
    if max(graph.tensors[node.inputs[0]].shape[1:]) > 4095:
        raise FalconetError("the input is beyond 4095 pixels; cut it")
    common: dict[str, Any] = {"arch": arch, "width": width}
    if node.op == "upsample":
        c = graph.tensors[node.output].shape[0]
        ones = np.full(c, 1 << 16, np.uint32)
        identity = Node("eltwise", node.name, [], node.output, {"zp": 0, "lo": -128, "hi": 127}, {
            "bias": np.zeros(c, np.int32), "mult": ones, "mult_neg": ones,
            "shift": np.full(c, 16, np.uint8)})
        common["width"] = graph.tensors[node.inputs[0]].shape[2]
        return CopyOp(node.name, layer, sources, out, height, **common,
                      fy=node.attrs["fy"], fx=node.attrs["fx"],
                      stage=_uniform(_stage(identity, out, lanes), out),
                      coef=np.ones((1, out.blocks * lanes), np.int32))
    stage = _stage(node, out, lanes)
    if node.op == "eltwise":
        coef = np.stack([spread(row, out.lane_of, out.blocks * lanes)
                         for row in node.consts["coef"]])
        shared = _is_uniform(node, "coef")
        if shared:
            stage = _uniform(stage, out)
            coef = np.broadcast_to(node.consts["coef"][:, :1], coef.shape)
        return EltwiseOp(node.name, layer, sources, out, height, **common, stage=stage,
                         coef=coef, shared=shared)
    a = node.attrs
    common |= {"stage": stage, "kernel": tuple(a["kernel"]), "stride": tuple(a["stride"]),
               "dilation": tuple(a["dilation"]), "pads": tuple(a["pads"]), "pad": a["pad"]}
    if max(a["kernel"]) > 31 or max(a["stride"]) > 15 or max(a["dilation"]) > 63:
        raise FalconetError("kernel, stride or dilation is beyond 31, 15 or 63; use smaller ones "
                            "or two layers")
    if node.op == "maxpool":
        shared = _is_uniform(node)
        return WindowOp(node.name, layer, sources, out, height, **{
            **common, "stage": _uniform(stage, out) if shared else stage}, shared=shared)
    weight = node.consts["weight"]
    if node.depthwise:
        shared = bool(a.get("pool")) and _is_uniform(node)
        if shared:
            stage = common["stage"] = _uniform(stage, out)
        w = spread(weight[:, 0], out.lane_of, out.blocks * lanes)
        if a.get("pool"):
            w = np.ones_like(w)
        op = WindowOp(node.name, layer, sources, out, height, **common, weight=w, shared=shared)
        if op.block_words(0) > arch.vector_words:
            raise FalconetError(
                f"one block of {lanes} channels needs {op.block_words(0)} vector weight words and "
                f"the memory of '{arch.name}' holds {arch.vector_words}; use a smaller kernel or a "
                "larger preset")
        return op
    return _lower_dense(net, node, layer, image, common, height)


def _is_uniform(node: Node, *more: str) -> bool:
    keys = ("bias", "mult", "mult_neg", "shift", *more)
    return all((node.consts[k] == node.consts[k][..., :1]).all() for k in keys)


def _uniform(stage: OutputStage, slot: Slot) -> OutputStage:
    """Equal constants in all lanes, those without a channel included: one block serves all."""
    i = int(slot.lane_of[0])
    return dataclasses.replace(stage, **{
        k: np.full_like(getattr(stage, k), getattr(stage, k)[i])
        for k in ("bias", "mult", "mult_neg", "shift")
    })


def _lower_dense(net: Network, node: Node, layer: int, image: dict[str, Node],
                 common: dict[str, Any], height: int) -> MacOp:
    lanes = net.arch.lanes
    src, out = net.slots[node.inputs[0]], net.slots[node.output]
    weight, groups = node.consts["weight"], node.attrs["groups"]
    o, per_group, kh, kw = weight.shape
    group_out = o // groups
    image_group = 0
    if node.inputs[0] in image:
        step, image_group, n_kx = _image_geometry(net, node.inputs[0], node)
        span = step * image_group
        flat = np.zeros((o, kh, n_kx * span), np.int8)
        flat[:, :, :kw * per_group] = weight.transpose(0, 2, 3, 1).reshape(o, kh, kw * per_group)
        full = np.zeros((out.blocks * lanes, lanes, kh, n_kx), np.int8)
        full[out.lane_of, :span] = flat.reshape(o, kh, n_kx, span).transpose(0, 3, 1, 2)
        common["kernel"] = kh, n_kx
        ranges = [(0, 1)] * out.blocks
    else:
        full = np.zeros((out.blocks * lanes, src.blocks * lanes, kh, kw), np.int8)
        ranges = []
        for g in range(groups):
            rows = out.lane_of[g * group_out:(g + 1) * group_out]
            cols = src.lane_of[g * per_group:(g + 1) * per_group]
            full[np.ix_(rows, cols)] = weight[g * group_out:(g + 1) * group_out]
        channel_of = np.full(out.blocks * lanes, -1)
        channel_of[out.lane_of] = np.arange(o)
        for b in range(out.blocks):
            present = channel_of[b * lanes:(b + 1) * lanes]
            used = present[present >= 0] // group_out
            if not len(used):
                ranges.append((0, 1))
                continue
            cols = src.lane_of[used.min() * per_group:(used.max() + 1) * per_group]
            ranges.append((int(cols.min()) // lanes, int(cols.max()) // lanes + 1))
    op = MacOp(node.name, layer, [src], out, height, **common, weight=full, in_range=ranges,
               image_group=image_group)
    most = max(op.block_words(b) for b in range(out.blocks))
    if most > net.arch.weight_words:
        raise FalconetError(
            f"one block of {lanes} output channels needs {most} weight words and the weight "
            f"memory of '{net.arch.name}' holds {net.arch.weight_words}; split the layer or "
            "choose a larger preset"
        )
    if max(hi - lo for lo, hi in ranges) > 255:
        raise FalconetError("more than 255 blocks of input channels; split the layer")
    return op
