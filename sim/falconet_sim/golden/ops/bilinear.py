from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers

__all__: list[str] = []


@integers("bilinear")
def bilinear(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    x = inputs[0].astype(np.int64)
    near, far, rest = [], [], []
    for i in range(2):
        side, unit = x.shape[i + 1], attrs["unit"][i]
        at = np.arange(attrs["size"][i]) * attrs["step"][i] + attrs["first"][i]
        whole, f = np.divmod(np.clip(at, 0, (side - 1) * unit), unit)
        near.append(whole)
        far.append(np.minimum(whole + 1, side - 1))
        rest.append(f)
    (uy, ux), fy, fx = attrs["unit"], rest[0][:, None], rest[1]
    acc = ((uy - fy) * (ux - fx) * x[:, near[0][:, None], near[1]]
           + (uy - fy) * fx * x[:, near[0][:, None], far[1]]
           + fy * (ux - fx) * x[:, far[0][:, None], near[1]]
           + fy * fx * x[:, far[0][:, None], far[1]])
    return finish(acc, attrs, consts)
