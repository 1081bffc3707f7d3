from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers

__all__: list[str] = []


@integers("stackpool")
def stackpool(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    x, (sy, sx) = inputs[0], attrs["stride"]
    groups = x.reshape(attrs["stack"], -1, *x.shape[1:])
    seen = sliding_window_view(groups, tuple(attrs["kernel"]), (2, 3))[:, :, ::sy, ::sx]
    over = (0, 4, 5)
    acc = seen.max(over) if attrs.get("maximum") else seen.sum(over, dtype=np.int64)
    return finish(acc, attrs, consts)
