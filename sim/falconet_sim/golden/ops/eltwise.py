from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers

__all__: list[str] = []


@integers("eltwise")
def eltwise(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    acc = sum(operand * coef[:, None, None]
              for operand, coef in zip(inputs, consts["coef"].astype(np.int64)))
    return finish(np.asarray(acc), attrs, consts)
