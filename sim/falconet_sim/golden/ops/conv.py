"""Convolutions as matrix products in floating point, which are exact here: every partial sum is an
integer of at most ``128 * sum |w|``, and the type is chosen so that it holds such integers without
rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers, windows

__all__ = ["accumulators"]


@integers("conv")
def conv(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    return finish(accumulators(inputs[0], attrs, consts["weight"]), attrs, consts)


def accumulators(x: Int8, attrs: Attrs, weight: Int8) -> NDArray[Any]:
    """``[O, H, W]`` of a convolution."""
    view = windows(x, attrs)
    groups, (c, h, w) = attrs["groups"], view.shape[:3]
    ky, kx = attrs["kernel"]
    out = weight.shape[0]
    if groups == c == out:
        acc = np.zeros((c, h, w), np.int32)
        for y in range(ky):
            for z in range(kx):
                acc += np.multiply(view[..., y, z], weight[:, :1, y, z, None], dtype=np.int32)
        return acc
    bound = 128 * int(np.abs(weight.astype(np.int64)).reshape(out, -1).sum(1).max())
    if bound >= 1 << 53:
        raise FalconetError("a convolution's accumulator exceeds 53 bits; use a smaller layer")
    exact = np.float32 if bound <= 1 << 24 else np.float64
    acc = np.empty((groups, out // groups, h * w), np.int64)
    for g in range(groups):
        part = slice(g * c // groups, (g + 1) * c // groups)
        matrix = weight[g * out // groups : (g + 1) * out // groups].astype(exact)
        columns = view[part].transpose(0, 3, 4, 1, 2).astype(exact, order="C")
        acc[g] = matrix.reshape(out // groups, -1) @ columns.reshape(-1, h * w)
    return acc.reshape(out, h, w)
