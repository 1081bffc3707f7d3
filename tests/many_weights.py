"""Networks whose layers have more weights than the memory of ``tiny`` holds."""

from __future__ import annotations

from collections.abc import Callable

import networks

from falconet.compiler.graph import Graph

__all__ = ["GRAPHS", "wide"]


def wide(inner: int = 96, out: int = 160, k: int = 1, s: int = 1, size: int = 14, *,
         seed: int = 0, table: bool = False) -> Graph:
    """Two layers on ``tiny``; the second one's weights exceed its memory of 256 words."""
    b = networks.Builder((8, size, size), seed)
    return b.done(b.conv(b.conv("x", inner), out, k, s, table=table))


def residual(seed: int = 0) -> Graph:
    """Depthwise between layers of many weights, and a sum over both."""
    b = networks.Builder((64, 15, 13), seed)
    y = b.conv(b.depthwise(b.conv("x", 128)), 128)
    return b.done(b.conv(b.eltwise(b.conv("x", 128), y), 40, 3, 2))


def grouped(seed: int = 0) -> Graph:
    """Parts of a concat that go through DDR, read block by block."""
    b = networks.Builder((32, 14, 14), seed)
    cat = b.add("concat", [b.conv("x", 64), b.conv("x", 64, 3), b.conv("x", 48)])
    return b.done(b.conv(b.conv(cat, 176, 3, groups=2), 120), b.conv(cat, 16))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "pointwise": wide, "table": lambda: wide(table=True), "dense": lambda: wide(64, 72, 3),
    "stride": lambda: wide(96, 96, 3, 2, 25), "one row": lambda: wide(120, 144, size=11, seed=3),
    "residual": residual, "grouped": grouped,
}
