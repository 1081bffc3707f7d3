"""What the four values of a box are: a form of corners or centre, and a decoder, by least squares.

Nothing is searched for in the graph: each form and decoder of a short list is fitted to samples of
the tail, an axis at a time, and only one that leaves no residual is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.tails.score_fit import sigmoid

__all__ = ["AxisFit", "BoxFit", "axes_of", "clipped", "corners", "fit_box", "fit_mark"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Channels = tuple[int, ...]

_LAYOUTS = {"xyxy": ((0, 2), (1, 3)), "yxyx": ((1, 3), (0, 2))}
_NEAR, _SHARE = 2e-3, 2e-5  # of a pixel, and of the value, that the file's float32 may be off
_SMALL = 0.5  # pixels: what is smaller says little about its logarithm
_BINS = 2, 32


@dataclass(frozen=True)
class AxisFit:
    """One axis of a box, in pixels; ``first`` and ``second`` are the channels of its two values.

    ``stride`` is None where a level has one cell; ``corner`` is where cell 0 begins to count.

    ======== ===================================================================================
    ssd      centre = corner + stride * cell + gain * r, size = size * exp(power * r)
    linear   the same centre, size = size * r
    yolov3   centre = corner + stride * cell + gain * sigmoid(r), size = size * exp(power * r)
    yolo     the same centre, size = size * (2 * sigmoid(r))**2
    linear, relu, exp, dfl distances: edges = corner + stride * cell -+ gain * f(r), f = exp(power
             * r) or the mean of a distribution; their kinds begin with ``distance-``
    ======== ===================================================================================
    """

    kind: str
    first: Channels
    second: Channels
    stride: float | None
    corner: float
    gain: float
    size: float = 0.0
    power: float = 1.0


@dataclass(frozen=True)
class BoxFit:
    """Both axes of an anchor's box, ``form`` as in "xyxy centre"; both have one kind."""

    form: str
    x: AxisFit
    y: AxisFit


def fit_box(
    table: Floats, depends: Bools, channels: Floats, cells: tuple[Floats, Floats],
    unit: tuple[float, float], reach: tuple[float, ...],
) -> BoxFit | None:
    """The decoder that explains a box, or None.

    Parameters
    ----------
    table, depends, channels, cells:
        Samples [n, 4] of the box, what [4, C] it depends on, the heads [n, C], x and y [n].
    unit:
        Pixels (x, y) of a one of the table.
    reach:
        Where each of the four values ends in the table, if it is clipped; else 0.
    """
    for layout, axes in _LAYOUTS.items():
        for form in ("corners", "centre", "size"):
            found: list[AxisFit] = []
            for axis, (a, b) in enumerate(axes):
                values = table[:, (a, b)] * unit[axis]
                names = tuple(int(c) for c in np.flatnonzero(depends[a] | depends[b]))
                good, end = np.ones(len(table), np.bool_), max(reach[a], reach[b]) * unit[axis]
                if end and form == "corners":
                    good = np.all((values > 0) & (values < end), axis=1)
                edges = _edges(values, form)
                fit = _axis(edges[good], channels[good], cells[axis][good], names)
                if fit is None:
                    break
                found.append(fit)
            if len(found) == 2 and found[0].kind == found[1].kind:
                return BoxFit(f"{layout} {form}", *found)
    return None


def fit_mark(values: Floats, depends: Bools, channels: Floats, cell: Floats
             ) -> tuple[int, float, float] | None:
    """Channel, corner, gain of a landmark's coordinate [n]: corner + stride * cell + gain * r."""
    names = np.flatnonzero(depends)
    if len(names) != 1:
        return None
    found = _solve([1.0, cell, channels[:, names[0]]], values, np.abs(values))
    return None if found is None else (int(names[0]), float(found[0]), float(found[2]))


def corners(table: Floats, form: str, unit: tuple[float, float]) -> Floats:
    """Left, top, right, bottom [n, 4] in pixels of boxes [n, 4] in a form of :class:`BoxFit`."""
    layout, _, how = form.partition(" ")
    x, y = (_edges(table[:, axis] * unit[i], how) for i, axis in enumerate(_LAYOUTS[layout]))
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def axes_of(form: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Which of a box's four values are along x, and which along y."""
    return _LAYOUTS[form.partition(" ")[0]]


def clipped(values: Floats) -> float:
    """Where values [n] end, if several are exactly there and several exactly at 0; else 0."""
    many = max(3, len(values) / 500)
    high = float(values.max())
    ends = values.min() == 0 and min(np.count_nonzero(values == v) for v in (0, high)) >= many
    return high if ends else 0.0


def _expectation(logits: Floats) -> Floats:
    """Mean [n] of the distribution over 0, 1, ... that logits [n, bins] are."""
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean: Floats = share @ np.arange(logits.shape[1]) / share.sum(axis=1)
    return mean


def _edges(values: Floats, form: str) -> Floats:
    if form == "corners":
        return values
    a, b = values.T
    return np.stack([a, a + b] if form == "size" else [a - b / 2, a + b / 2], axis=1)


def _solve(features: Sequence[Floats | float], target: Floats, scale: Floats) -> Any:
    """Coefficients, if they leave no residual; a feature that does not vary has 0."""
    n = len(target)
    matrix = np.stack([np.broadcast_to(np.asarray(f, np.float64), n) for f in features], axis=1)
    keep = [0, *(i for i in range(1, matrix.shape[1]) if np.ptp(matrix[:, i]) > 0)]
    if n < 2 * len(keep):
        return None
    found = np.zeros(matrix.shape[1])
    found[keep] = np.linalg.lstsq(matrix[:, keep], target, rcond=None)[0]
    off = np.abs(matrix @ found - target)
    return found if np.all(off <= _NEAR + _SHARE * scale) else None


def _axis(edges: Floats, channels: Floats, cell: Floats, names: Channels) -> AxisFit | None:
    if len(edges) < 8 or not names:
        return None
    for fitted in _distances(edges, channels, cell, names):
        return fitted
    if len(names) == 2:
        for pair in (names, names[::-1]):
            fit = _centred(edges, channels[:, pair[0]], channels[:, pair[1]], cell, pair)
            if fit is not None:
                return fit
    return None


def _line(cell: Floats, coefficients: Floats) -> tuple[float | None, float]:
    """Stride and corner of a fit whose first two features are one and the cell."""
    stride = float(coefficients[1]) if np.ptp(cell) > 0 else None
    return stride, float(coefficients[0])


def _centred(edges: Floats, a: Floats, b: Floats, cell: Floats, pair: Channels) -> AxisFit | None:
    """A centre that channel ``a`` moves, and a size that ``b`` decides."""
    size, centre = edges[:, 1] - edges[:, 0], edges.mean(axis=1)
    scale = np.abs(edges).max(axis=1)
    sizes = _size(size, b, scale)
    if sizes is None:
        return None
    shape, extent, power = sizes
    offers = [("ssd", a), ("yolov3", sigmoid(a))] if shape == "exp" else (
        [("yolo", sigmoid(a))] if shape == "square" else [("linear", a)])
    for kind, feature in offers:
        found = _solve([1.0, cell, feature], centre, scale)
        if found is not None and found[2] > 0:
            stride, corner = _line(cell, found)
            return AxisFit(kind, pair[:1], pair[1:], stride, corner, float(found[2]), extent, power)
    return None


def _size(size: Floats, b: Floats, scale: Floats) -> tuple[str, float, float] | None:
    """What makes sizes of ``b``: its name, the size at nought (or one), the power."""
    linear = _solve([b], size, scale)
    if linear is not None and linear[0] > 0:
        return "linear", float(linear[0]), 1.0
    square = _solve([4 * sigmoid(b) ** 2], size, scale)
    if square is not None and square[0] > 0:
        return "square", float(square[0]), 1.0
    large = size > _SMALL
    if np.count_nonzero(large) < 8:
        return None
    weight = size[large]  # an error in pixels is one of the logarithm times the size
    matrix = np.stack([weight, weight * b[large]], axis=1)
    first, power = np.linalg.lstsq(matrix, weight * np.log(weight), rcond=None)[0]
    off = np.abs(np.exp(first + power * b) - size)
    if np.all(off <= _NEAR + _SHARE * (scale + size)) and power > 0:
        return "exp", float(np.exp(first)), float(power)
    return None


def _distances(edges: Floats, channels: Floats, cell: Floats, names: Channels) -> Iterator[AxisFit]:
    """Fits of an edge each by half of the channels."""
    half = len(names) // 2
    if len(names) % 2 or (half > 1 and not _BINS[0] <= half <= _BINS[1]):
        return
    scale = np.abs(edges).max(axis=1)
    for first, second in ((names[:half], names[half:]), (names[half:], names[:half])):
        given = channels[:, list(first)], channels[:, list(second)]
        for kind, function in _FUNCTIONS.items() if half == 1 else [("dfl", _expectation)]:
            lows = _solve([1.0, cell, -function(given[0])], edges[:, 0], scale)
            highs = _solve([1.0, cell, function(given[1])], edges[:, 1], scale)
            if lows is None or highs is None or not np.allclose(lows, highs, 1e-3, 5e-3):
                continue
            stride, corner = _line(cell, (lows + highs) / 2)
            gain = float(lows[2] + highs[2]) / 2
            if gain > 0:
                yield AxisFit(f"distance-{kind}", first, second, stride, corner, gain)
        if half == 1:
            yield from _exponential(edges, given, cell, (first, second))


def _exponential(edges: Floats, given: tuple[Floats, Floats], cell: Floats,
                 names: tuple[Channels, Channels]) -> Iterator[AxisFit]:
    """Distances ``gain * exp(power * r)``: the width has both, with one power."""
    width = edges[:, 1] - edges[:, 0]
    scale = np.abs(edges).max(axis=1) + width
    a, b = given[0][:, 0], given[1][:, 0]

    def residual(power: float) -> tuple[float, Floats]:
        feature = np.exp(power * a) + np.exp(power * b)
        gain = width @ feature / (feature @ feature)
        return gain, np.abs(gain * feature - width)

    low, high = 0.05, 5.0
    for _ in range(5):
        tries = np.geomspace(low, high, 41)
        best = int(np.argmin([residual(p)[1].max() for p in tries]))
        low, high = tries[max(best - 1, 0)], tries[min(best + 1, 40)]
    power = float(tries[best])
    if residual(power)[1].max() < 0.2 * np.ptp(width):
        power = _polished(width, a, b, power)
    gain, off = residual(power)
    if gain > 0 and np.all(off <= _NEAR + _SHARE * scale):
        found = _solve([1.0, cell], edges[:, 0] + gain * np.exp(power * a), scale)
        if found is not None:
            stride, corner = _line(cell, found)
            yield AxisFit("distance-exp", *names, stride, corner, float(gain), power=power)


def _polished(width: Floats, a: Floats, b: Floats, power: float) -> float:
    """A few steps of Gauss and Newton in gain and power."""
    gain = 1.0
    for _ in range(8):
        feature = np.exp(power * a) + np.exp(power * b)
        gain = width @ feature / (feature @ feature)
        slope = gain * (a * np.exp(power * a) + b * np.exp(power * b))
        step = np.linalg.lstsq(np.stack([feature, slope], axis=1), width - gain * feature,
                               rcond=None)[0]
        power += float(step[1])
    return power


_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda r: r[:, 0],
    "relu": lambda r: np.maximum(r[:, 0], 0),
}
