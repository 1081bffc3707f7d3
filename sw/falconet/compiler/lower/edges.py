"""The network's inputs and outputs: loads, stores, and what the header says of them."""

from __future__ import annotations

from typing import Any

from falconet.compiler.lower.operator import Context
from falconet.compiler.machine.place import DdrTensor
from falconet.compiler.machine.transfer import ImageOp, LoadOp, StoreOp
from falconet.isa import FalconetError, LoadImage, Segment
from falconet.isa.graph.ops.conv import Conv

__all__ = ["lower_input", "lower_output"]

_LONGEST = LoadImage.field("pitch").hi  # bytes of an image's row


def lower_input(context: Context, name: str) -> None:
    net, image = context.net, context.images.get(name)
    t, slot, lanes = net.graph.tensors[name], net.slots[name], net.arch.lanes
    c, h, w = t.shape
    entry: dict[str, Any] = {"name": name, "shape": [c, h, w], "scale": t.scale,
                             "zero_point": t.zero_point}
    if image is not None:
        row, form = w * c, "image"
        pitch = -(-row // 16) * 16
        if pitch > _LONGEST:
            raise FalconetError(
                f"input '{name}': a row of {row} bytes is too long; the limit is {_LONGEST}")
    else:
        form, pitch = "blocks", slot.blocks * w * lanes
    at = net.reserve(Segment.INPUT, h * pitch)
    net.inputs.append({**entry, "format": form, "offset": at, "pitch": pitch,
                       "blocks": slot.blocks})
    ddr = DdrTensor(name, Segment.INPUT, at, pitch, h)
    if image is None:
        net.ops.append(LoadOp(f"load {name}", -1, (), slot, h, source=ddr, lanes=lanes))
    else:
        first = image.user.of(Conv)
        net.ops.append(ImageOp(
            f"load {name}", -1, (), slot, h, source=ddr, row_bytes=row,
            pad_left=first.pads[1] * c, pad=first.pad, step=image.step,
        ))


def lower_output(context: Context, name: str) -> None:
    net = context.net
    t, slot, lanes = net.graph.tensors[name], net.slots[name], net.arch.lanes
    c, h, w = t.shape
    pitch = slot.blocks * w * lanes
    at = net.reserve(Segment.OUTPUT, h * pitch)
    net.outputs.append({
        "name": name, "shape": [c, h, w], "scale": t.scale, "zero_point": t.zero_point,
        "offset": at, "blocks": slot.blocks, "lane_of": [int(v) for v in slot.lane_of],
    })
    net.ops.append(StoreOp(f"store {name}", -1, (slot,), None, h, lanes=lanes,
                           target=DdrTensor(name, Segment.OUTPUT, at, pitch, h)))
