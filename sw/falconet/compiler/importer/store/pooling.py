"""Averages over windows larger than the machine's: over pieces of them, then over the pieces.

The mean of a piece has eight bits like everything that is stored. Where these are too few for the
scale of the result, it is spread over several tensors: the first holds the lowest 256 steps, the
next one the 255 above them, and so on; each is limited to its own, so that their sum is the value.
See docs/arithmetic.md, "Averages of averages".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.build import Builder
from falconet.compiler.importer.expr import Conv
from falconet.compiler.importer.stage import Stage
from falconet.isa import FalconetError, Window
from falconet.isa.graph.ops import conv as ops
from falconet.isa.graph.ops.concat import Concat
from falconet.isa.graph.ops.stackpool import CHAIN, StackPool
from falconet.isa.graph.tensor import HI, LO

__all__ = ["MOST", "pooled"]

MOST = Window.field("n_ky").hi
"""Rows or columns of a window."""

_PADDED = Window.field("stride_y").hi  # of a stride that windows with padding have
_ERROR = 0.99
"""Steps of the result that the rounding of the pieces may add to its own half: below 1, so that
the result is off by 1 at most."""

_SPAN = HI - LO  # steps that one more tensor adds

Array = NDArray[Any]
Cut = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Axis:
    """Rows or columns: of each level the window and its stride; ``pads`` around the image."""

    levels: Cut
    pads: tuple[int, int]


@dataclass(frozen=True)
class _Level:
    """What a tensor of pieces, or several (``stack``), says: ``gain * (sum of them - zero)`` is the
    sum over a piece of the input's steps above its zero point; the bracket lies in ``low, high``.
    """

    gain: float
    zero: int
    low: int
    high: int
    stack: int

    def spread(self, pixels: int, tensors: int) -> tuple[_Level, int, int, int]:
        """The level above, of sums over ``pixels`` of this one.

        Its tensor j, from ``first`` on, is
        ``clamp(round((sum - pixels * zero - unit * j) * 255 / unit) + shift)``. Returns it with
        ``unit``, ``first``, ``shift``.
        """
        span = pixels * (self.high - self.low)
        unit = max(1, -(-_SPAN * span // (_SPAN * tensors - 1)))
        lowest = math.floor(_SPAN * pixels * self.low / unit)
        first = 0 if -_SPAN <= lowest <= 0 else -(-lowest // _SPAN)
        shift = _SPAN * first + LO - lowest
        zero = shift - 127 * first - 128 * (first + tensors - 1)
        level = _Level(self.gain * unit / _SPAN, zero, lowest, lowest + _SPAN * tensors, tensors)
        return level, unit, first, shift


def pooled(builder: Builder, expr: Conv, stage: Stage, name: str) -> str:
    """The tensor that stores an average (weights 1) whose window the machine does not have."""
    makers = [_Maker(builder, expr, stage, axes, tensors)
              for levels in (2, 3) for tensors in range(1, MOST + 1)
              if (axes := _axes(expr, levels, tensors)) is not None]
    window = f"an average over {expr.attrs.kernel[0]} x {expr.attrs.kernel[1]} pixels"
    if not makers:
        raise FalconetError(f"{window} has no pieces of {MOST} x {MOST} or less that make it up; "
                            "use a window that is the whole image, or one that a divisor of the "
                            "stride divides")
    if builder.structure:
        return makers[0].build(name)
    best = next((m for m in makers if m.error <= _ERROR), None)
    if best is None:
        least = min(m.error for m in makers) + 0.5
        raise FalconetError(f"{window} is off by up to {least:.1f} of its steps, which are much "
                            "finer than its input's; quantise it with a greater scale")
    return best.build(name)


def _axes(expr: Conv, levels: int, tensors: int) -> tuple[_Axis, _Axis] | None:
    """The best cut; None where there is none for so many tensors."""
    found = [min(_cuts(expr, i, tensors if i == 0 else 1, levels), default=None,
                 key=lambda cut: cut[0]) for i in range(2)]
    if found[0] is None or found[1] is None:
        return None
    return found[0][1], found[1][1]


def _cuts(expr: Conv, i: int, tensors: int, levels: int
          ) -> Iterator[tuple[tuple[int, ...], _Axis]]:
    """Ways to cut an axis, each behind what is bad about it; ``tensors``: how many a row of pieces
    is spread over."""
    a = expr.attrs
    assert isinstance(a, ops.Conv)
    most = MOST // tensors
    k, s, pads = a.kernel[i], a.stride[i], (a.pads[i], a.pads[i + 2])
    if k <= MOST:
        yield (0,), _Axis(((k, s), *((1, 1),) * (levels - 1)), pads)
    elif expr.shape[i + 1] > 1:
        for piece in range(2, MOST + 1):
            if levels == 2 and k % piece == s % piece == 0 and k // piece <= most:
                cut = (piece, piece), (k // piece, s // piece)
                yield (piece > _PADDED, abs(piece - k // piece)), _Axis(cut, pads)
    else:
        lasts = [n for n in range(2, MOST + 1) if _fits(n, tensors, expr.shape[1:] == (1, 1))]
        inner = [range(2, most + 1)] * (levels - 2)
        for counts in itertools.product(*inner, lasts):
            piece = -(-k // math.prod(counts))
            if 1 < piece <= MOST:
                more = piece * math.prod(counts) - k
                pieces = tuple((n, n) for n in (piece, *counts))
                yield ((piece > _PADDED, more, max(piece, *counts)),
                       _Axis(pieces, (pads[0], pads[1] + more)))


def _fits(rows: int, tensors: int, single: bool) -> bool:
    """Whether one instruction sums so many rows of pieces."""
    return any(rows % m == 0 and tensors * rows // m <= MOST
               for m in range(1, CHAIN + 1 if single and tensors > 1 else 2))


class _Maker:
    """One way to do it."""

    def __init__(self, builder: Builder, expr: Conv, stage: Stage, axes: tuple[_Axis, _Axis],
                 tensors: int) -> None:
        self.builder, self.expr, self.stage, self.axes = builder, expr, stage, axes
        self.source, self.tensors = builder.graph.tensors[expr.source], tensors
        low, high = builder.ranges[expr.source]
        zero = self.source.zero_point
        if any(p for a in axes for p in a.pads):  # of padding
            low, high = min(low, zero), max(high, zero)
        self.ground = _Level(1.0, zero, low - zero, high - zero, 1)
        self.scale = self.source.scale * expr.scale / stage.scale  # [C] steps of the output

    def windows(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Of each level: kernel and stride."""
        return [((y[0], x[0]), (y[1], x[1]))
                for y, x in zip(self.axes[0].levels, self.axes[1].levels)]

    @property
    def error(self) -> float:
        """Steps of the output that rounding before it can make."""
        pixels = [math.prod(kernel) for kernel, _ in self.windows()]
        level, total = self.ground, 0.0
        for i, n in enumerate(pixels[:-1]):
            level = level.spread(n, self.tensors)[0]
            total += 0.5 * level.gain * math.prod(pixels[i + 1:])
        total += 0.5 * level.gain * bool(np.any(self.expr.bias))  # which is rounded too
        return float(total * self.scale.max())

    def build(self, name: str) -> str:
        """The nodes; the last one's tensor."""
        builder, c = self.builder, self.expr.shape[0]
        level, source = self.ground, self.expr.source
        *windows, last = self.windows()
        for i, window in enumerate(windows):
            level, source = self._pieces(level, source, window, f"{name}/piece{i}")
        gain = level.gain * self.scale
        bias = np.rint(self.expr.bias / (gain * self.stage.scale)) - math.prod(last[0]) * level.zero
        consts = {"bias": np.clip(bias, -(2.0**31), 2.0**31 - 1).astype(np.int32),
                  **builder.requantise(gain, self.stage).consts()}
        if builder.structure:
            consts["bias"] = np.zeros(c, np.int32)
        return self._sum(level, source, last, self.expr.node, name, self.stage, consts)

    def _pieces(self, level: _Level, source: str, window: tuple[tuple[int, int], tuple[int, int]],
                name: str) -> tuple[_Level, str]:
        """Sums over a level's pieces as the next level, joined."""
        builder, c = self.builder, self.expr.shape[0]
        pixels = math.prod(window[0])
        above, unit, first, shift = level.spread(pixels, self.tensors)
        everything = math.prod(math.prod(k) for k, _ in self.windows())
        scale = above.gain * self.source.scale * math.prod(
            math.prod(k) for k, _ in self.windows()[:1]) / everything
        stage = Stage(float(scale), shift)
        parts = []
        for j in range(first, first + self.tensors):
            consts = {"bias": np.full(c, -pixels * level.zero - unit * j, np.int32),
                      **builder.requantise(np.full(c, _SPAN / unit), stage).consts()}
            parts.append(self._sum(level, source, window, f"{self.expr.node}/piece{j - first}",
                                   f"{name}/piece{j - first}", stage, consts))
        if len(parts) == 1:
            return above, parts[0]
        return above, builder.emit(Concat(), f"{self.expr.node}/groups", parts, f"{name}/groups",
                                   stage, {})

    def _sum(self, level: _Level, source: str, window: tuple[tuple[int, int], tuple[int, int]],
             node: str, name: str, stage: Stage, consts: dict[str, Array]) -> str:
        builder, (kernel, stride), c = self.builder, window, self.expr.shape[0]
        if level.stack > 1:
            pool = StackPool(stack=level.stack, kernel=kernel, stride=stride, **stage.clamp())
            return builder.emit(pool, node, [source], name, stage, consts)
        (top, bottom), (left, right) = (axis.pads for axis in self.axes)
        around = (top, left, bottom, right) if source == self.expr.source else (0, 0, 0, 0)
        t = builder.graph.tensors[source]
        attrs = ops.Conv(kernel=kernel, stride=stride, groups=c, pool=True, pad=t.zero_point,
                         pads=around, **stage.clamp())
        consts["weight"] = np.ones((c, 1, *kernel), np.int8)
        return builder.emit(attrs, node, [source], name, stage, consts)
