"""The header of a program file, checked before anybody reads it (falconet.isa.program.container).

A file whose checksum is right may still have been written by anybody. Whoever gets a header through
:func:`check` may index it as :mod:`falconet.isa.program.forms` says, and all that is placed in a
segment lies inside it. Unknown keys are left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from falconet.isa.checks import Fields, fault, number, text, whole
from falconet.isa.graph.section import check_graph
from falconet.isa.machine.arch import Arch
from falconet.isa.machine.instructions import SEGMENT_GRAIN
from falconet.isa.metadata.head import parse
from falconet.isa.program.forms import MEMORY_BYTES, Detect, Header, Input, Tensor
from falconet.isa.schema import read

__all__ = ["MEMORY_BYTES", "check", "check_meta"]

_PICTURE = 1 << 12  # sides of an input that is a photograph
_OFFSET = 1 << 32


def check(header: dict[str, Any], arch: Arch, code_bytes: int) -> None:
    """Raise a FalconetError that names the first field that cannot be."""
    top = read(Header, header, "header")
    if top.instructions * Arch.INSTRUCTION_BYTES > code_bytes:
        fault("instructions", f"{top.instructions} do not fit the code")
    sizes = dataclasses.asdict(top.segments)
    if sum(sizes.values()) > MEMORY_BYTES:
        fault("segments", f"they ask for more than {MEMORY_BYTES} bytes")
    sizes = {k: -(-n // SEGMENT_GRAIN) * SEGMENT_GRAIN for k, n in sizes.items()}
    for kind, tensors, size in (("inputs", top.inputs, sizes["input"]),
                                ("outputs", top.outputs, sizes["output"])):
        for i, t in enumerate(tensors):
            _tensor(t, f"{kind}[{i}]", arch, size)
        if len({t.name for t in tensors}) < len(tensors):
            fault(kind, "two have the same name")
    _steps(top, arch)
    if top.graph is not None:
        at = whole(top.graph_offset, "graph_offset", 0, code_bytes)
        inputs, outputs = check_graph(top.graph, code_bytes - at)
        check_meta(top.graph.get("meta", {}), "graph.meta")
        if [(t.name, t.shape) for t in top.inputs] != inputs:
            fault("graph.inputs", "they are not those of the program")
        if not {(t.name, t.shape) for t in top.outputs} <= set(outputs):
            fault("graph.outputs", "they lack an output of the program")
    if top.detect is not None:
        _detect(top.detect, arch, sizes)
    check_meta(top.meta, "meta")


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


def _tensor(t: Tensor, field: str, arch: Arch, size: int) -> None:
    """All its bytes are in a segment of ``size``."""
    c, h, w = t.shape
    if isinstance(t, Input) and t.format == "image":
        end = t.offset + (h - 1) * whole(t.pitch, f"{field}.pitch", w * c, _OFFSET) + w * c
    else:
        needed = _blocks(t.lane_of or range(c), field, c, arch)
        if t.blocks and t.blocks < needed:
            fault(f"{field}.blocks", f"{t.blocks}, but lane_of needs {needed}")
        end = t.offset + h * (t.blocks or needed) * w * arch.lanes
    if end > size:
        fault(f"{field} '{t.name}'",
              f"its bytes {t.offset} to {end} are not in a segment of {size}")


def _blocks(lane_of: Sequence[int], field: str, channels: int, arch: Arch) -> int:
    """How many blocks hold distinct positions, one a channel."""
    if len(lane_of) != channels:
        fault(f"{field}.lane_of", f"{len(lane_of)} positions for {channels} channels")
    if len(set(lane_of)) < channels:
        fault(f"{field}.lane_of", "two channels have the same position")
    return max(lane_of) // arch.lanes + 1


def _steps(top: Header, arch: Arch) -> None:
    for i, t in enumerate(top.tensors):
        needed = _blocks(t.lane_of, f"tensors[{i}]", t.channels, arch)
        if t.blocks < needed:
            fault(f"tensors[{i}].blocks", f"{t.blocks}, but lane_of needs {needed}")
    if len(top.steps) != top.instructions:
        fault("steps", f"{len(top.steps)} for {top.instructions} instructions")
    for i, (layer, tensor, y0, y1, b0, b1) in enumerate(top.steps):
        if layer >= len(top.layers) or tensor >= len(top.tensors):
            fault(f"steps[{i}]", "there is no such layer or tensor")
        if tensor >= 0:
            t = top.tensors[tensor]
            if not (0 <= y0 <= y1 <= t.height and 0 <= b0 <= b1 <= t.blocks):
                fault(f"steps[{i}]", f"the tile is not in tensor '{t.name}'")


def _detect(d: Detect, arch: Arch, sizes: dict[str, int]) -> None:
    row = Arch.ROW_BYTES
    whole(d.limit, "detect.limit", 1, arch.candidates)
    if 2 * d.points > 8 * d.rows:
        fault("detect.rows", f"{d.rows} do not hold {d.points} landmarks")
    if d.output + row * (1 + d.limit * (1 + d.rows)) > sizes["output"]:
        fault("detect.output", "the records are not in segment OUTPUT")
    if d.weights >= 0 and d.weights + 256 * 8 > sizes["input"]:
        fault("detect.weights", "they are not in segment INPUT")
    for i, v in enumerate(d.levels):
        field = f"detect.levels[{i}]"
        if v.options + row > sizes["input"]:
            fault(f"{field}.options", "they are not in segment INPUT")
        if any(a > b for a, b in pairwise(v.score)):
            fault(f"{field}.score", "it falls")
        if v.bins and not v.form:
            fault(f"{field}.bins", "they are of distances, but form is 0")
        for name, exponentials in ("size", v.size if v.bins else None), ("softmax", v.softmax):
            if exponentials and not exponentials[-1]:
                fault(f"{field}.{name}", "the largest exponential is 0")
        if v.softmax and v.background is None:
            fault(f"{field}.background", "it is missing, but the softmax needs it")
        for name, table, needed in (
            ("objectness_table", v.objectness_table, bool(v.objectness)),
            ("centre", v.centre, not v.form), ("mark", v.mark, d.points > 0),
        ):
            if needed and not table:
                fault(f"{field}.{name}", "it is empty, but the head needs it")
