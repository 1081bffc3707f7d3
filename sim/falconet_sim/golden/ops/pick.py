from __future__ import annotations

import numpy as np

from falconet.runtime.device import Int8
from falconet_sim.golden.operator import Attrs, Consts, integers

__all__: list[str] = []


@integers("pick")
def pick(inputs: list[Int8], attrs: Attrs, consts: Consts) -> Int8:
    tiles = [x.transpose(0, 2, 1) if attrs.get("swap") else x for x in inputs]
    across = attrs["across"]
    picture = np.concatenate([np.concatenate(tiles[i:i + across], 2)
                              for i in range(0, len(tiles), across)], 1)
    rows, columns = np.array(attrs["rows"]), np.array(attrs["columns"])
    out = picture[:, np.maximum(rows, 0)][:, :, np.maximum(columns, 0)]
    out[:, rows < 0] = attrs["fill"]
    out[:, :, columns < 0] = attrs["fill"]
    return out
