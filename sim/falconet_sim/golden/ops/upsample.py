from __future__ import annotations

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("upsample")
def upsample(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    return inputs[0].repeat(attrs["fy"], 1).repeat(attrs["fx"], 2)
