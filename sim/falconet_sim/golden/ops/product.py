from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers

__all__: list[str] = []


@integers("product")
def product(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    a, b = (x.astype(np.int64) - zero for x, zero in zip(inputs, attrs["zeros"]))
    return finish(a * b, attrs, consts)
