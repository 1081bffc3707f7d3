"""Where an instruction's loops lead: addresses of views, and what lies outside the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError, Instruction

__all__ = ["cells", "view", "window_view"]

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


def _rows(ins: Instruction, prefix: str, n_y: int, n_ky: int = 1) -> Index:
    """Row offsets R [n_y, n_ky]."""
    first, ring, y_step = (
        int(getattr(ins, f"{prefix}_{name}")) for name in ("row", "ring", "y_step")
    )
    ky_step = int(getattr(ins, f"{prefix}_ky_step")) if n_ky > 1 else 0
    offset = first + np.arange(n_y)[:, None] * y_step + np.arange(n_ky) * ky_step
    if not ring:
        return offset
    for name, value in ("row", first), ("y_step", y_step if n_y > 1 else 0), ("ky_step", ky_step):
        if value >= ring:
            raise FalconetError(f"{prefix}_{name}={value} is not smaller than the ring of {ring}")
    return offset % ring


def view(ins: Instruction, prefix: str, n_b: int, n_y: int, n_x: int) -> Index:
    """Addresses [n_b, n_y, n_x] of a view without a window."""
    return (
        int(getattr(ins, f"{prefix}_base"))
        + _rows(ins, prefix, n_y)
        + np.arange(n_x) * int(getattr(ins, f"{prefix}_x_step"))
        + np.arange(n_b)[:, None, None] * int(getattr(ins, f"{prefix}_b_step"))
    ) & 0xFFFF


def cells(base: int, y_step: int, words: Index, n_y: int, n_x: int) -> Index:
    """Addresses [len(words), n_y, n_x] of a head's blocks, ``words`` from ``base`` each."""
    y, x = np.ogrid[:n_y, :n_x]
    return (base + y * y_step + x + words[:, None, None]) & 0xFFFF


def window_view(ins: Instruction, ky: int, kx: int, n_b: int) -> tuple[Index, Mask]:
    """Input addresses of MAC or WINDOW at one kernel position, and which are inside the image.

    Both have shape [n_b, n_y, n_x].
    """
    rows = _rows(ins, "in", ins.n_y, ins.n_ky)[:, ky, None]
    columns = np.arange(ins.n_x)
    address = (
        ins.in_base + rows + columns * ins.in_x_step + kx * ins.in_kx_step
        + np.arange(n_b)[:, None, None] * ins.in_b_step
    ) & 0xFFFF
    iy = ins.iy0 + np.arange(ins.n_y) * ins.stride_y + ky * ins.dil_y
    ix = ins.ix0 + columns * ins.stride_x + kx * ins.dil_x
    inside = ((iy >= 0) & (iy < ins.in_h))[:, None] & ((ix >= 0) & (ix < ins.in_w))
    return address, np.broadcast_to(inside, address.shape)
