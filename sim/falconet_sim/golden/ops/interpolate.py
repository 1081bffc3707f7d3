from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers

__all__: list[str] = []


@integers("interpolate")
def interpolate(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    axis = 2 if attrs.get("columns") else 1
    x, unit = np.moveaxis(inputs[0].astype(np.int64), axis, 0), attrs["unit"]
    at = np.arange(attrs["size"]) * attrs["step"] + attrs["first"]
    whole, rest = np.divmod(np.clip(at, 0, (len(x) - 1) * unit), unit)
    if attrs.get("nearest"):
        acc = x[whole]
    else:
        rest = rest[:, None, None]
        acc = (unit - rest) * x[whole] + rest * x[np.minimum(whole + 1, len(x) - 1)]
    return finish(np.moveaxis(acc, 0, axis), attrs, consts)
