"""The header of a program file, checked before anybody reads it (falconet.isa.container).

A file whose checksum is right may still have been written by anybody. Whoever gets a header through
:func:`check` may index it as the documentation says: types, ranges, and that all that is placed in
a segment lies inside it. Unknown keys are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from falconet.isa.arch import Arch
from falconet.isa.checks import Fields, fault, number, text, whole
from falconet.isa.errors import shown
from falconet.isa.graph_section import check_graph
from falconet.isa.heads import parse
from falconet.isa.instructions import Suppression
from falconet.isa.limits import LIMITS

__all__ = ["MEMORY_BYTES", "check", "check_arch", "check_meta"]

MEMORY_BYTES = LIMITS["program"].unpacked
"""What segments INPUT, OUTPUT and WORK may ask for together."""

_SIDE = 1 << 16  # of a tensor
_PICTURE = 1 << 12  # sides of an input that is a photograph
_UNIT = 128  # sizes of segments are multiples of this
_OFFSET = 1 << 32


def check_arch(value: Any) -> None:
    """Types of an Arch as a dict; its values are for ``Arch.validate``."""
    arch = Fields(value, "arch")
    arch.text("name")
    for key, entry in arch.items():
        if key == "clock_mhz":
            arch.number(key, 1e-3, 1e6)
        elif key != "name":
            whole(entry, f"arch.{shown(key)[1:-1]}", 0, 1 << 16)


def check(header: dict[str, Any], arch: Arch, code_bytes: int) -> None:
    """Raise a FalconetError that names the first field that cannot be."""
    top = Fields(header, "header")
    top.text("model")
    count = top.whole("instructions", -_OFFSET, _OFFSET)
    if not 0 < count * Arch.INSTRUCTION_BYTES <= code_bytes:
        fault("instructions", f"{count} do not fit the code")
    asked = Fields(top.get("segments"), "segments")
    sizes = {k: asked.whole(k, 0, MEMORY_BYTES) for k in ("input", "output", "work")}
    if sum(sizes.values()) > MEMORY_BYTES:
        fault("segments", f"they ask for more than {MEMORY_BYTES} bytes")
    sizes = {k: -(-n // _UNIT) * _UNIT for k, n in sizes.items()}
    given = {}
    for kind, segment in (("inputs", "input"), ("outputs", "output")):
        given[kind] = [_tensor(t, arch, sizes[segment], kind == "inputs") for t in top.each(kind)]
        names = [name for name, _ in given[kind]]
        if len(set(names)) < len(names):
            fault(kind, "two have the same name")
    _layers(top, arch, count)
    if "graph" in header:
        at = top.whole("graph_offset", 0, code_bytes)
        inputs, outputs = check_graph(header["graph"], code_bytes - at)
        check_meta(header["graph"].get("meta", {}), "graph.meta")
        if given["inputs"] != inputs:
            fault("graph.inputs", "they are not those of the program")
        if not set(given["outputs"]) <= set(outputs):
            fault("graph.outputs", "they lack an output of the program")
    if "detect" in header:
        _detect(Fields(header["detect"], "detect"), arch, sizes)
    check_meta(top.get("meta"), "meta")


def check_meta(value: Any, field: str) -> None:
    """What the host reads of a model's metadata."""
    meta = Fields(value, field)
    if meta.value.get("preprocess") is not None:
        _preprocess(Fields(meta.value["preprocess"], f"{field}.preprocess"))
    if meta.value.get("postprocess") is None:
        return
    post = Fields(meta.value["postprocess"], f"{field}.postprocess")
    if "labels" in post.value:
        for i, label in enumerate(post.entries("labels")):
            text(label, f"{post.field}.labels[{i}]", empty=True)
    post.text("kind")
    if "output" in post.value:
        post.text("output")
    parse(post.value, post.field)


def _preprocess(p: Fields) -> None:
    """What is large or ends in a message; the rest is falconet.runtime.preprocess's."""
    p.choice("fit", ("letterbox", "crop", "stretch"))
    p.choice("colour", ("RGB", "BGR", "GRAY"))
    p.wholes("size", 2, 1, _PICTURE)
    if "resize" in p.value:
        p.whole("resize", 1, _PICTURE)
    for key, least in (("mean", -1e6), ("std", 1e-6)):
        for value in p.entries(key):
            number(value, f"{p.field}.{key}", least, 1e6)


def _tensor(t: Fields, arch: Arch, size: int, stored_as: bool) -> tuple[str, tuple[int, ...]]:
    """Name and shape of an input or output; all its bytes are in a segment of ``size``."""
    name = t.text("name")
    c, h, w = t.wholes("shape", 3, 1, _SIDE)
    t.number("scale", 1e-20, 1e20)
    t.whole("zero_point", -128, 127)
    at = t.whole("offset", 0, _OFFSET)
    if stored_as and t.choice("format", ("image", "blocks")) == "image":
        pitch = t.whole("pitch", w * c, _OFFSET)
        end = at + (h - 1) * pitch + w * c
    else:
        lane_of = t.value.get("lane_of") or range(c)
        blocks = t.value.get("blocks") or 0
        whole(blocks, f"{t.field}.blocks", 0, _SIDE)
        lanes = _lane_of(lane_of, t.field, c, _SIDE)
        needed = max(lanes) // arch.lanes + 1
        if blocks and blocks < needed:
            fault(f"{t.field}.blocks", f"{blocks}, but lane_of needs {needed}")
        end = at + h * (blocks or needed) * w * arch.lanes
    if end > size:
        fault(f"{t.field} '{name}'", f"its bytes {at} to {end} are not in a segment of {size}")
    return name, (c, h, w)


def _lane_of(value: Any, field: str, channels: int, end: int) -> Sequence[int]:
    """Distinct positions, one a channel."""
    if not isinstance(value, (list, range)) or len(value) != channels:
        fault(f"{field}.lane_of", f"it is no list of {channels} positions")
    for position in value:
        whole(position, f"{field}.lane_of", 0, end - 1)
    if len(set(value)) < channels:
        fault(f"{field}.lane_of", "two channels have the same position")
    return value


def _layers(top: Fields, arch: Arch, count: int) -> None:
    layers = top.each("layers")
    for layer in layers:
        for key in ("name", "op", "engine"):
            layer.text(key)
        layer.whole("macs", 0, 1 << 62)
    tensors = top.each("tensors")
    for t in tensors:
        t.text("name")
        for key in ("height", "width", "blocks"):
            t.whole(key, 1, _SIDE)
        _lane_of(t.get("lane_of"), t.field, t.whole("channels", 1, _SIDE),
                 t.value["blocks"] * arch.lanes)
    steps = top.entries("steps")
    if len(steps) != count:
        fault("steps", f"{len(steps)} for {count} instructions")
    for i, step in enumerate(steps):
        field = f"steps[{i}]"
        if not isinstance(step, list) or len(step) != 6:
            fault(field, "it is no list of six numbers")
        for value in step:
            whole(value, field, -1, _SIDE)
        layer, tensor, y0, y1, b0, b1 = step
        if layer >= len(layers) or tensor >= len(tensors):
            fault(field, "there is no such layer or tensor")
        if tensor >= 0:
            whole_tensor = tensors[tensor].value
            if not (0 <= y0 <= y1 <= whole_tensor["height"]
                    and 0 <= b0 <= b1 <= whole_tensor["blocks"]):
                fault(field, f"the tile is not in tensor '{whole_tensor['name']}'")


def _detect(d: Fields, arch: Arch, sizes: dict[str, int]) -> None:
    row = Arch.ROW_BYTES
    d.choice("mode", tuple(m.name.lower() for m in Suppression))
    d.flag("agnostic")
    limit, points = d.whole("limit", 1, arch.candidates), d.whole("points", 0, 1 << 12)
    rows = d.whole("rows", 0, 1 << 10)
    if 2 * points > 8 * rows:
        fault("detect.rows", f"{rows} do not hold {points} landmarks")
    d.number("score", 0, 1)
    d.number("iou", 0, 1)
    d.number("sigma", 1e-6, math.inf)
    if d.whole("output", 0, _OFFSET) + row * (1 + limit * (1 + rows)) > sizes["output"]:
        fault("detect.output", "the records are not in segment OUTPUT")
    weights = d.whole("weights", -1, _OFFSET)
    if weights >= 0 and weights + 256 * 8 > sizes["input"]:
        fault("detect.weights", "they are not in segment INPUT")
    levels = d.each("levels")
    if not levels:
        fault("detect.levels", "there is none")
    for v in levels:
        v.text("scores")
        v.text("boxes")
        objectness = v.text("objectness", empty=True)
        v.text("landmarks", empty=True)
        if v.whole("options", 0, _OFFSET) + row > sizes["input"]:
            fault(f"{v.field}.options", "they are not in segment INPUT")
        v.whole("n_class", 1, _SIDE)
        v.whole("height", 1, _SIDE)
        v.whole("width", 1, _SIDE)
        v.wholes("stride", 2, 0, 1 << 20)
        v.whole("grid", 0, 1)
        v.whole("form", 0, 1)
        for key in ("centre_shift", "size_shift", "mark_shift"):
            v.whole(key, 1, 15)
        v.wholes("clip", 4, -(1 << 15), (1 << 15) - 1)
        anchors = v.entries("anchors")
        if not 1 <= len(anchors) <= Arch.ANCHORS:
            fault(f"{v.field}.anchors", f"{len(anchors)}; there are 1 to {Arch.ANCHORS}")
        Fields({str(i): a for i, a in enumerate(anchors)}, f"{v.field}.anchors").wholes_each(
            4, -(1 << 20), 1 << 20)
        score = v.wholes("score", 256, 0, 65535)
        if any(a > b for a, b in pairwise(score)):
            fault(f"{v.field}.score", "it falls")
        v.wholes("size", 256, 0, 65535)
        for key, needed, lo, hi in (
            ("objectness_table", bool(objectness), 0, 65535),
            ("centre", not v.value["form"], -32768, 32767), ("mark", points > 0, -32768, 32767),
        ):
            if needed or v.entries(key):
                v.wholes(key, 256, lo, hi)
