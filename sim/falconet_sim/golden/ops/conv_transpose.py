from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers

__all__: list[str] = []


@integers("conv_transpose")
def conv_transpose(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    """By scattering: every pixel is added to all outputs that it is a part of."""
    x, weight = inputs[0].astype(np.float64) - attrs["pad"], consts["weight"]
    groups, (c, h, w) = attrs["groups"], x.shape
    (sy, sx), (dy, dx), (ky, kx) = attrs["stride"], attrs["dilation"], attrs["kernel"]
    out = len(weight)
    full = np.zeros((out, (h - 1) * sy + dy * (ky - 1) + 1, (w - 1) * sx + dx * (kx - 1) + 1))
    for y in range(ky):
        for z in range(kx):
            taps = weight[:, :, y, z].reshape(groups, out // groups, c // groups)
            made = taps.astype(np.float64) @ x.reshape(groups, c // groups, h * w)
            full[:, y * dy : y * dy + (h - 1) * sy + 1 : sy,
                 z * dx : z * dx + (w - 1) * sx + 1 : sx] += made.reshape(out, h, w)
    (top, left), (high, wide) = attrs["crop"], attrs["size"]
    kept = full[:, top : top + high, left : left + wide]
    acc = np.zeros((out, high, wide), np.int64)
    acc[:, : kept.shape[1], : kept.shape[2]] = kept
    return finish(acc, attrs, consts)
