from __future__ import annotations

import math

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.arithmetic import Params, output_stage
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("norm")
def norm(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    """Pixel by pixel, in Python's integers."""
    c, h, w = inputs[0].shape
    pixels = inputs[0].reshape(c, h * w).T.tolist()
    acc = np.array([_standardised(q, attrs) for q in pixels], np.int64).T.reshape(c, h, w)
    bias, gamma, shift = (consts[k].astype(np.int64)[:, None, None]
                          for k in ("bias", "gamma", "shift"))
    return output_stage(acc, Params(bias, gamma, gamma, shift), zp=attrs["zp"], lo=attrs["lo"],
                        hi=attrs["hi"], table=consts.get("table"))


def _standardised(q: list[int], attrs: Attrs) -> list[int]:
    n, d = len(q), [v - attrs["zero_in"] for v in q]
    total, square = sum(d), sum(v * v for v in d)
    spread = 256 * n * square + attrs["epsilon"]
    if not attrs.get("rms"):
        spread -= 256 * total**2
    j = min((j for j in range(6) if spread << 8 * j >= 1 << 40), default=5)
    root = math.isqrt(spread << 8 * j)
    a, sh = (1 << 17) - 1, 0
    if root:
        shifts = [(256 * n << s + 4 * j + 7) // root for s in (0, 4, 8, 12)]
        k = min((k for k, v in enumerate(shifts) if v >= 1 << 13), default=3)
        a, sh = shifts[k], 4 * k
    b = (1 << sh) // 2
    if not attrs.get("rms"):
        mean = (abs(total) << 20) // n
        part = (a * mean + (1 << 19)) >> 20
        b += part if total < 0 else -part
    return [(a * v + b) >> sh for v in d]
