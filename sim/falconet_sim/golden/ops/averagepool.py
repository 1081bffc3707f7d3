from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.arithmetic import Params, output_stage
from falconet_sim.golden.operator import Attrs, Consts, integers, windows

__all__: list[str] = []


@integers("averagepool")
def averagepool(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    acc = windows(inputs[0], attrs).sum((3, 4), dtype=np.int64)
    by_pixel = (consts[k].astype(np.int64)[None] for k in ("mult", "mult_neg", "shift"))
    params = Params(consts["bias"].astype(np.int64)[:, None, None], *by_pixel)
    return output_stage(acc, params, zp=attrs["zp"], lo=attrs["lo"], hi=attrs["hi"],
                        table=consts.get("table"))
