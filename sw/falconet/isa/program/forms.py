"""What the header of a program file says, form by form; docs/program.schema.json is made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from falconet.isa.limits import LIMITS
from falconet.isa.machine.arch import Arch
from falconet.isa.machine.instructions import Scan, Suppression
from falconet.isa.schema import (
    anything,
    choice,
    entry,
    flag,
    many,
    number,
    part,
    schema,
    text,
    whole,
)

__all__ = ["MEMORY_BYTES", "Detect", "DetectLevel", "Header", "Input", "Layer", "Segments",
           "Stored", "Tensor", "header_schema"]

MEMORY_BYTES = LIMITS["program"].unpacked
"""What segments INPUT, OUTPUT and WORK may ask for together."""

_SIDE = 1 << 16  # of a tensor
_OFFSET = 1 << 32
_SHIFT = Scan.field("centre_shift").hi
_BINS = Scan.field("bins").hi
_SIGNED, _UNSIGNED = whole(-(1 << 15), (1 << 15) - 1), whole(0, (1 << 16) - 1)
_COORDINATE = whole(-(1 << 20), 1 << 20)
_TABLE = "256 integers, entry q + 128 for a stored q"


@dataclass(frozen=True)
class Segments:
    """Bytes needed in segments that the driver allocates."""

    input: int = entry(whole(0, MEMORY_BYTES), "of segment INPUT")
    output: int = entry(whole(0, MEMORY_BYTES), "of segment OUTPUT")
    work: int = entry(whole(0, MEMORY_BYTES), "of segment WORK")


@dataclass(frozen=True)
class Tensor:
    """An input or output of the network; stored H x blocks x W x lanes."""

    name: str = entry(text(), "of the network")
    shape: tuple[int, int, int] = entry(many(whole(1, _SIDE), 3, 3), "channels, height, width")
    scale: float = entry(number(1e-20, 1e20), "what a step of the stored integer is worth")
    zero_point: int = entry(whole(-128, 127), "the stored integer that means 0")
    offset: int = entry(whole(0, _OFFSET), "first byte, from the start of its segment")
    lane_of: tuple[int, ...] | None = entry(
        many(whole(0, _SIDE - 1), 1),
        "position of each channel in the blocks x lanes channels stored; in order if absent",
        optional=True)
    blocks: int | None = entry(
        whole(0, _SIDE), "blocks of channels stored; 0 or absent: as many as are needed",
        optional=True)


@dataclass(frozen=True)
class Input(Tensor):
    """A tensor of segment INPUT."""

    format: str = entry(choice("image", "blocks"),
                        "image: H rows of W x C, int8; blocks: H x blocks x W x lanes")
    pitch: int | None = entry(whole(0, _OFFSET), "bytes from row to row of an image",
                              optional=True)


@dataclass(frozen=True)
class Layer:
    """A layer of the network, as profiles name it."""

    name: str = entry(text(), "of the network")
    op: str = entry(text(), "operator")
    engine: str = entry(text(), "engine that does it, or -")
    macs: int = entry(whole(0, 1 << 62), "multiplications and additions")


@dataclass(frozen=True)
class Stored:
    """A tensor that instructions write."""

    name: str = entry(text(), "of the network")
    height: int = entry(whole(1, _SIDE), "rows")
    width: int = entry(whole(1, _SIDE), "columns")
    blocks: int = entry(whole(1, _SIDE), "blocks of channels")
    channels: int = entry(whole(1, _SIDE), "of the network")
    lane_of: tuple[int, ...] = entry(
        many(whole(0, (1 << 32) - 1), 1),
        "position of each channel in the blocks x lanes channels stored")


@dataclass(frozen=True)
class DetectLevel:
    """A level of a detection head, in the integers of docs/arithmetic.md."""

    scores: str = entry(text(), "graph tensor")
    boxes: str = entry(text(), "graph tensor")
    objectness: str = entry(text(empty=True), "graph tensor, or nothing")
    landmarks: str = entry(text(empty=True), "graph tensor, or nothing")
    options: int = entry(
        whole(0, _OFFSET), "offset in segment INPUT of the 16 bytes of options of a run")
    n_class: int = entry(whole(1, _SIDE), "classes")
    height: int = entry(whole(1, _SIDE), "rows of cells")
    width: int = entry(whole(1, _SIDE), "columns of cells")
    stride: tuple[int, int] = entry(many(whole(0, 1 << 20), 2, 2), "x and y, in 1/16 pixel")
    grid: int = entry(whole(0, 1), "1: offsets in units of the stride; 0: of the anchor")
    form: int = entry(whole(0, 1), "0: centre and size; 1: distances to four edges")
    centre_shift: int = entry(whole(1, _SHIFT), "binary places of table centre")
    size_shift: int = entry(whole(1, _SHIFT), "binary places of table size")
    mark_shift: int = entry(whole(1, _SHIFT), "binary places of table mark")
    clip: tuple[int, int, int, int] = entry(
        many(_SIGNED, 4, 4), "x_lo, x_hi, y_lo, y_hi that edges are clipped to, in 1/16 pixel")
    anchors: tuple[tuple[int, int, int, int], ...] = entry(
        many(many(_COORDINATE, 4, 4), 1, Arch.ANCHORS),
        "width, height, centre x, centre y, in 1/16 pixel")
    score: tuple[int, ...] = entry(many(_UNSIGNED, 256, 256), f"{_TABLE}; it never falls")
    size: tuple[int, ...] = entry(
        many(_UNSIGNED, 256, 256), f"{_TABLE}; with bins the exponentials, entry 255 - k for a "
        "logit k below the largest")
    objectness_table: tuple[int, ...] = entry(
        many(_UNSIGNED, 256, 256, empty=True), f"{_TABLE}; needed with objectness")
    centre: tuple[int, ...] = entry(
        many(_SIGNED, 256, 256, empty=True), f"{_TABLE}; needed with form 0")
    mark: tuple[int, ...] = entry(
        many(_SIGNED, 256, 256, empty=True), f"{_TABLE}; needed with landmarks")
    bins: int | None = entry(
        whole(1, _BINS), "bins of a side, with form 1; absent: a distance is one channel",
        optional=True)
    softmax: tuple[int, ...] | None = entry(
        many(_UNSIGNED, 256, 256), "exponentials, entry 255 - k for a logit k below the largest; "
        "absent: a class has a score of its own", optional=True)
    background: int | None = entry(
        whole(-128, 127), "stored logit of the background; needed with softmax", optional=True)


@dataclass(frozen=True)
class Detect:
    """The detection head that the machine evaluates."""

    mode: str = entry(choice(*(m.name.lower() for m in Suppression)), "how boxes are suppressed")
    agnostic: bool = entry(flag(), "whether boxes of different classes suppress each other")
    limit: int = entry(whole(1, _SIDE), "records that there is room for")
    points: int = entry(whole(0, 1 << 12), "landmarks of a box")
    rows: int = entry(whole(0, 1 << 10), "rows of landmarks of a box (R of MARK)")
    score: float = entry(number(0, 1), "least score, unless a run says otherwise")
    iou: float = entry(number(0, 1), "overlap that suppresses, unless a run says otherwise")
    sigma: float = entry(number(1e-6, math.inf), "of the Gaussian, unless a run says otherwise")
    output: int = entry(
        whole(0, _OFFSET), "offset in segment OUTPUT: the row of counts, then limit records, then "
        "limit x rows rows of landmarks")
    weights: int = entry(
        whole(-1, _OFFSET), "offset in segment INPUT of the 2048 bytes of Gaussian weights that "
        "the driver writes, or -1")
    levels: tuple[DetectLevel, ...] = entry(many(part(DetectLevel), 1), "in the order of SCAN")


@dataclass(frozen=True)
class Header:
    """What a program file says of its code."""

    arch: dict[str, Any] = entry(anything(), "the Arch that it is for")
    arch_hash: int = entry(whole(0, (1 << 32) - 1), "hash of the Arch")
    isa_version: int = entry(whole(0, (1 << 32) - 1), "version of the instructions")
    model: str = entry(text(), "name of the network")
    instructions: int = entry(whole(1, _OFFSET), "how many, END included")
    segments: Segments = entry(part(Segments), "bytes needed")
    inputs: tuple[Input, ...] = entry(many(part(Input)), "of the network")
    outputs: tuple[Tensor, ...] = entry(many(part(Tensor)), "of the network")
    layers: tuple[Layer, ...] = entry(many(part(Layer)), "of the network")
    tensors: tuple[Stored, ...] = entry(many(part(Stored)), "that instructions write")
    steps: tuple[tuple[int, ...], ...] = entry(
        many(many(whole(-1, _SIDE), 6, 6)),
        "for each instruction the layer or -1, and the tile that it writes: tensor or -1, first "
        "row and end, first block and end")
    meta: dict[str, Any] = entry(
        anything(), "what the model's author added: pre-processing, class names, anchors")
    graph: dict[str, Any] | None = entry(
        anything(), "the integer network, for the golden model", optional=True)
    graph_offset: int | None = entry(
        whole(0, _OFFSET), "of the network's constants in the code", optional=True)
    detect: Detect | None = entry(
        part(Detect), "the detection head, if the machine evaluates one", optional=True)


def header_schema() -> dict[str, Any]:
    """The JSON Schema of a header."""
    return schema(Header, Segments, Tensor, Input, Layer, Stored, Detect, DetectLevel)
