from __future__ import annotations

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("constant")
def constant(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    value: Int8 = consts["value"]
    return value
