"""What a file from a stranger may hold: the one table, which docs/security.md shows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LIMITS", "Limits"]


@dataclass(frozen=True)
class Limits:
    """Of one format; 0: not counted.

    Members
    -------
    file:
        What it is called.
    bytes:
        Of the file.
    unpacked:
        Bytes that it may become or ask for.
    depth:
        Levels of nesting.
    digits:
        Of a whole number.
    nodes:
        Values, elements or entries.
    pixels:
        Of one picture.
    """

    file: str
    bytes: int = 0
    unpacked: int = 0
    depth: int = 0
    digits: int = 0
    nodes: int = 0
    pixels: int = 0


_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30

LIMITS: dict[str, Limits] = {
    "program": Limits("header of a program, description of a head", unpacked=_GIB, depth=40),
    "onnx": Limits("ONNX", unpacked=256 * _MIB, nodes=10_000),
    "picture": Limits("picture", pixels=89_478_485),
    "whole picture": Limits("picture of AVIF, JPEG 2000 or WebP", pixels=40_000_000),
    "yaml": Limits("`data.yaml`, recipe", bytes=256 * _KIB, depth=16, digits=18, nodes=20_000),
    "coco": Limits("COCO JSON", bytes=512 * _MIB, digits=18, nodes=80_000_000),
    "voc": Limits("VOC XML", bytes=4 * _MIB, depth=16, digits=18, nodes=50_000),
    "list": Limits("labels of YOLO, list of images or names", bytes=64 * _MIB),
    "checkpoint": Limits("checkpoint", bytes=4 * _GIB, unpacked=4 * _GIB, nodes=1_000_000),
    "hwh": Limits("`.hwh`", bytes=4 * _MIB, depth=16, digits=18, nodes=50_000),
    "npz": Limits("npz of inputs", bytes=_GIB, unpacked=_GIB, nodes=1000),
}
"""By format. A picture of the most pixels is 256 MiB of R, G, B; a decoder that holds all of it in
a form of its own takes up to six times as much, so it gets less."""
