from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("gather")
def gather(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    x = inputs[0]
    out = np.full((len(attrs["index"]), *x.shape[1:]), attrs["fill"], np.int8)
    for channel, source in enumerate(attrs["index"]):
        if source >= 0:
            out[channel] = x[source]
    return out
