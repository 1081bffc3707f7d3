from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.arithmetic import Params, output_stage
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("softmax")
def softmax(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    q = inputs[0].astype(np.int64)
    most = q.max(0)
    e = consts["exponential"].astype(np.int64)[(q - most) & 255]
    if attrs.get("masked"):
        e[(q == -128) & (most > -128)] = 0
    total, shift = e.sum(0), np.full(most.shape, attrs["shift"])
    numerator = np.full(most.shape, attrs["scale"])
    while True:  # numerators stay below 2^17 times a sum
        small = (numerator // total < 1 << 16) & (shift < 47)
        if not small.any():
            break
        numerator[small] *= 2
        shift[small] += 1
    params = Params(np.zeros_like(total), numerator // total, numerator // total, shift)
    return output_stage(e, params, zp=attrs["zp"], lo=attrs["lo"], hi=attrs["hi"],
                        table=consts.get("table"))
