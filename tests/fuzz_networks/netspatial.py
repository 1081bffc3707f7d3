"""Random nodes that change the size of an image: what they say of themselves is not all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from netdraw import Draw

from falconet.compiler.passes.verify import accumulator_range
from falconet.isa.graph.ops.conv_transpose import ConvTranspose

if TYPE_CHECKING:
    from netgraphs import GraphMaker

__all__ = ["SPATIAL"]


def _transposed_axis(d: Draw, size: int) -> tuple[int, int, int, int, int]:
    """Kernel, stride, dilation, crop and size of the output."""
    kernel, stride = d.pick((2, 4, 3, 1, 5)), d.pick((2, 2, 1, 3, 4))
    dilation = d.pick((1, 1, 1, 2, 3))
    whole = (size - 1) * stride + (kernel - 1) * dilation + 1
    crop = d.number(0, min(kernel, whole - 1))
    return kernel, stride, dilation, crop, max(1, whole - crop - d.number(-stride, crop))


def transposed(maker: GraphMaker, x: str) -> str | None:
    """Dense, grouped or depthwise; outputs beyond the last window too."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    y, z = _transposed_axis(d, h), _transposed_axis(d, w)
    if d.chance(40):
        groups, out = c, c
    else:
        groups = d.pick([g for g in range(1, c + 1) if c % g == 0])
        out = groups * d.number(1, max(1, 24 // groups))
    inner = 1 if groups == c == out else maker.blocks(c)
    arch = maker.arch
    phases = y[1] * z[1]
    words = (y[0] + y[1]) * (z[0] + z[1]) * inner  # those of phases that have none too
    least = min(arch.weight_words - arch.weight_param_words * phases,
                arch.vector_words - arch.vector_param_words * phases)
    if words * arch.word_steps > least:
        return None
    weight = maker.weight(out, c // groups, y[0], z[0])
    pad, shape = d.pick((0, 3, -128, 127)), ConvTranspose(
        kernel=(y[0], z[0]), stride=(y[1], z[1]), dilation=(y[2], z[2]))
    lows, highs = [], []
    for taps in shape.phases(weight):
        zero = pad * taps.astype(np.int64).reshape(out, -1).sum(1)
        low, high = accumulator_range(taps)
        lows.append(np.minimum(np.minimum(low, low - zero), -np.abs(zero)))
        highs.append(np.maximum(np.maximum(high, high - zero), np.abs(zero)))
    attrs, consts = maker.stage(np.min(lows, 0), np.max(highs, 0), 74 * np.sqrt(
        (weight.astype(float).reshape(out, -1) ** 2).sum(1)))
    attrs |= {"kernel": [y[0], z[0]], "stride": [y[1], z[1]], "dilation": [y[2], z[2]],
              "crop": [y[3], z[3]], "size": [y[4], z[4]], "groups": groups,
              "pad": pad}
    return maker.add("conv_transpose", [x], attrs, {"weight": weight, **consts},
                     2 * y[4] * z[4] * maker.blocks(out) * inner)


def stackpool(maker: GraphMaker, x: str) -> str | None:
    """Groups of any size, up to all channels; sums in parts too."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    divisors = [g for g in range(1, c + 1) if c % g == 0]
    stack = d.pick((c, *divisors))
    maximum = d.chance(60)
    ky, kx = (1, 1) if d.chance(50) else (d.number(1, min(h, 5)), d.number(1, min(w, 5)))
    if not maximum and d.chance(30):
        ky, kx = min(h, 31), min(w, 31)
    size, sums = c // stack, 1 if maximum else stack * ky * kx
    attrs, consts = maker.stage(np.full(size, -128 * sums), np.full(size, 127 * sums),
                                np.full(size, 74.0 * sums**0.5), uniform=d.chance(70))
    attrs |= {"stack": stack, "kernel": [ky, kx], "stride": [d.number(1, 3), d.number(1, 3)],
              "maximum": maximum}
    return maker.add("stackpool", [x], attrs, consts,
                     8 * maker.blocks(c) * h * w * ky * kx + 40 * h * w)


def averagepool(maker: GraphMaker, x: str) -> str | None:
    """Multipliers of their own for some rows and columns."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    y, z = d.axis(h), d.axis(w)
    out = max(0, y.size(h)), max(0, z.size(w))
    if not all(out):
        return None
    taps = y.kernel * z.kernel
    attrs, consts = maker.stage(np.full(c, -128 * taps), np.full(c, 127 * taps),
                                np.full(c, 74.0 * taps**0.5), uniform=d.chance(70))
    pick = maker.draw.random()
    rows, columns = (pick.integers(0, 3, n) * (pick.random(n) < 0.3) for n in out)
    which = np.minimum(rows[:, None] + columns, c - 1)
    consts |= {k: consts[k][which] for k in ("mult", "mult_neg", "shift")}
    attrs |= {"kernel": [y.kernel, z.kernel], "stride": [y.stride, z.stride],
              "pads": [y.pads[0], z.pads[0], y.pads[1], z.pads[1]],
              "dilation": [y.dilation, z.dilation], "pad": d.pick((0, 3, -128, 127))}
    return maker.add("averagepool", [x], attrs, consts,
                     4 * out[0] * out[1] * taps * maker.blocks(c))


def interpolate(maker: GraphMaker, x: str) -> str | None:
    """Along either axis, larger and smaller, beyond both ends."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    columns, nearest = d.chance(50), d.chance(30)
    unit = d.pick((4, 2, 1, 3, 8, 5))
    size = d.number(1, 3 * (w if columns else h))
    attrs, consts = maker.stage(np.full(c, -128 * unit), np.full(c, 127 * unit),
                                np.full(c, 74.0 * unit), uniform=d.chance(70))
    attrs |= {"size": size, "step": d.number(0, 3 * unit), "first": d.number(-unit, unit),
              "unit": unit, "columns": columns, "nearest": nearest}
    return maker.add("interpolate", [x], attrs, consts, 30 * size * maker.blocks(c)
                     * (h if columns else w))


def bilinear(maker: GraphMaker, x: str) -> str | None:
    """Both axes at once, of different factors."""
    d, (c, h, w) = maker.draw, maker.shape(x)
    units = [d.pick((4, 2, 1, 3, 8)), d.pick((4, 2, 1, 3, 8))]
    total = units[0] * units[1]
    size = [d.number(1, 3 * h), d.number(1, 3 * w)]
    attrs, consts = maker.stage(np.full(c, -128 * total), np.full(c, 127 * total),
                                np.full(c, 74.0 * total), uniform=d.chance(70))
    attrs |= {"size": size, "step": [d.number(0, 2 * u) for u in units], "unit": units,
              "first": [d.number(-u, u) for u in units]}
    return maker.add("bilinear", [x], attrs, consts, 60 * size[0] * size[1] * maker.blocks(c))


SPATIAL = {"conv_transpose": transposed, "stackpool": stackpool, "averagepool": averagepool,
           "interpolate": interpolate, "bilinear": bilinear}
"""By the operator's name."""
