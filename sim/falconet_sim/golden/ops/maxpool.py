from __future__ import annotations

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, finish, integers, windows

__all__: list[str] = []


@integers("maxpool")
def maxpool(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    return finish(windows(inputs[0], attrs).max((3, 4)), attrs, consts)
