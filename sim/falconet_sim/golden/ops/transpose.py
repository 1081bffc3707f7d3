from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("transpose")
def transpose(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    found: Int8 = np.maximum(inputs[0].transpose(2, 1, 0), -127)
    return found
