from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("transpose")
def transpose(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    rows = inputs[0].reshape(len(inputs[0]), -1).T
    found: Int8 = np.maximum(rows[:, None], -127)
    return found
