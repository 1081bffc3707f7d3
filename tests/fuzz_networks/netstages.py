"""Output stages and weights of random graphs, every parameter out to its ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from netdraw import Draw
from numpy.typing import NDArray

from falconet.isa import Arch

Array = NDArray[Any]


class StageMaker:
    """Draws what is legal for ``arch``."""

    def __init__(self, draw: Draw, arch: Arch) -> None:
        self.draw, self.arch = draw, arch

    def stage(self, low: Array, high: Array, spread: Array, *, uniform: bool = False
              ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Attributes and constants of an output stage.

        ``low``, ``high``: what the accumulators can reach; ``spread``: what they mostly do. Where
        a parameter is drawn at its ends it is so for half of the channels only, so that the
        others go on to carry something.
        """
        d, n, random = self.draw, len(low), self.draw.random()
        limit = 1 << (self.arch.acc_bits - 1)
        top = (1 << self.arch.mult_bits) - 1

        def half(extreme: Any, plain: Array) -> Array:
            return np.where(random.random(n) < 0.5, extreme, plain)

        mult = random.integers(1 << 16, top + 1, n)
        kind = d.pick(("plain", "plain", "power", "zero", "one", "top"))
        if kind == "power":
            mult[:] = 1 << 16
        elif kind != "plain":
            mult = half({"zero": 0, "one": 1, "top": top}[kind], mult)
        fit = np.log2(np.maximum(spread, 1) * np.maximum(mult, 1) / d.pick((50, 100, 20, 2)))
        shift = np.clip(np.rint(fit), 0, self.arch.SHIFT_MAX).astype(int)
        kind = d.pick(("fit", "fit", "fit", "fit", "none", "most"))
        if kind != "fit":
            shift = half(0 if kind == "none" else self.arch.SHIFT_MAX, shift)
        kind = d.pick(("equal", "equal", "leaky", "zero", "any", "top"))
        neg = {"equal": mult, "leaky": mult // 8, "zero": np.zeros(n, int), "top": np.full(n, top),
               "any": random.integers(0, top + 1, n)}[kind]
        kind = d.pick(("small", "zero", "limit"))
        bias = np.zeros(n, int)
        if kind == "small":
            room = np.minimum(limit - 1 - high, limit + low)
            reach = np.minimum(room, np.rint(spread) + 1).astype(int)
            bias = random.integers(-reach, reach + 1)
        elif kind == "limit":
            bias = np.where(random.random(n) < 0.5, np.minimum(limit - 1 - high, limit - 1),
                            np.maximum(-limit - low, -limit))
        consts = {"bias": bias.astype(np.int32), "mult": mult.astype(np.uint32),
                  "mult_neg": neg.astype(np.uint32), "shift": shift.astype(np.uint8)}
        if uniform:
            for value in consts.values():
                value[:] = value[0]
            consts["bias"][:] = np.clip(bias[0], -limit - low.min(), limit - 1 - high.max())
        kind = d.pick(("plain", "plain", "plain", "any", "constant"))
        if d.chance(20):
            consts["table"] = random.integers(-128, 128, 256).astype(np.int8)
        return self.clamp(kind), consts

    def clamp(self, kind: str) -> dict[str, Any]:
        d = self.draw
        zp = d.pick((0, 3, -128, 127)) if d.chance(70) else d.number(-128, 127)
        lo, hi = -128, 127
        if kind == "any":
            lo = d.pick((zp, -127, d.number(-128, 100)))
            hi = d.number(lo, 127)
        elif kind == "constant" and d.chance(30):
            lo = hi = d.number(-128, 127)
        return {"zp": zp, "lo": lo, "hi": hi}

    def weight(self, *shape: int) -> Array:
        """Int8 weights whose sums stay within the accumulator."""
        random = self.draw.random()
        kind = self.draw.pick(("any", "any", "any", "ends", "positive", "few", "zero", "small"))
        w = random.integers(-127, 128, shape)
        if kind in ("ends", "positive"):
            w = random.choice([-127, 127], shape) if kind == "ends" else np.full(shape, 127)
        elif kind == "few":
            w = w * (random.random(shape) < 0.2)
        elif kind == "zero":
            w = w * (random.random((shape[0], *(1,) * (len(shape) - 1))) < 0.7)
        elif kind == "small":
            w = random.integers(-2, 3, shape)
        total = np.abs(w).reshape(len(w), -1).sum(1)
        room = ((1 << (self.arch.acc_bits - 1)) - 1) // 128
        share = np.minimum(1, room / np.maximum(total, 1)).reshape(-1, *(1,) * (len(shape) - 1))
        return np.trunc(w * share).astype(np.int8)
