from __future__ import annotations

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("slice")
def channels(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    return inputs[0][attrs["begin"] : attrs["end"]]
