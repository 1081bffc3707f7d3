"""What the golden model's operators have in common: their table, windows, the output stage.

An operator is a function of its int8 inputs [C, H, W], in a file of its own in
:mod:`falconet_sim.golden.ops`. It is written by hand from docs/arithmetic.md; of ``falconet.isa``'s
description of the operator it uses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from falconet.runtime.device import Int8
from falconet_sim.arithmetic import Params, output_stage

__all__ = ["REGISTERED", "Attrs", "Consts", "Integers", "finish", "integers", "windows"]

Attrs = dict[str, Any]
Consts = dict[str, NDArray[Any]]
Integers = Callable[[list[Int8], Attrs, Consts], Int8]

REGISTERED: dict[str, Integers] = {}
"""What has been imported so far; :data:`falconet_sim.golden.ops.INTEGERS` is all of them."""


def integers(op: str) -> Callable[[Integers], Integers]:
    """Register what an operator computes: (inputs, attributes, constants) -> output."""
    def add(function: Integers) -> Integers:
        if op in REGISTERED:
            raise TypeError(f"{op} computes two things")
        REGISTERED[op] = function
        return function
    return add


def finish(acc: NDArray[Any], attrs: Attrs, consts: Consts) -> Int8:
    """The output stage on accumulators [C, H, W]."""
    params = Params(*(consts[k].astype(np.int64)[:, None, None]
                      for k in ("bias", "mult", "mult_neg", "shift")))
    return output_stage(acc, params, zp=attrs["zp"], lo=attrs["lo"], hi=attrs["hi"],
                        table=consts.get("table"))


def windows(x: Int8, attrs: Attrs) -> Int8:
    """A view ``[C, H, W, ky, kx]`` of what every output pixel sees."""
    top, left, bottom, right = attrs["pads"]
    (ky, kx), (sy, sx), (dy, dx) = attrs["kernel"], attrs["stride"], attrs["dilation"]
    if any(attrs["pads"]):
        x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=attrs["pad"])
    view = sliding_window_view(x, (dy * (ky - 1) + 1, dx * (kx - 1) + 1), (1, 2))
    return view[:, ::sy, ::sx, ::dy, ::dx]
