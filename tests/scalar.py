"""Each operator of the integer graph as a formula for one pixel: docs/arithmetic.md in loops."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from falconet.compiler.graph import Node
from falconet.isa import output_stage

__all__ = ["MOVED", "SUMS", "pixel"]

Attrs = dict[str, Any]
Formula = Callable[[Attrs, dict[str, Any], list[Any], int, int, int], int]
"""Of attributes, constants and inputs; channel, row and column of the output."""


def pixel(node: Node, xs: list[Any], o: int, y: int, x: int) -> int:
    """What is stored at one place of the output."""
    a, k = dataclasses.asdict(node.attrs), node.consts
    if node.op in MOVED:
        return MOVED[node.op](a, k, xs, o, y, x)
    at: Any = (y, x) if k["mult"].ndim == 2 else o  # of the pixel, where padding is not counted
    return output_stage(
        SUMS[node.op](a, k, xs, o, y, x), bias=int(k["bias"][o]), mult=int(k["mult"][at]),
        mult_neg=int(k["mult_neg"][at]), shift=int(k["shift"][at]), zp=a["zp"], lo=a["lo"],
        hi=a["hi"], table=[int(v) for v in k["table"]] if "table" in k else None)


# what moves only

def _concat(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    for v in xs:
        if o < len(v):
            return int(v[o, y, x])
        o -= len(v)
    raise IndexError(o)


def _slice(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    return int(xs[0][o + a["begin"], y, x])


def _upsample(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    return int(xs[0][o, y // a["fy"], x // a["fx"]])


def _gather(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    at = a["index"][o]
    return int(xs[0][at, y, x]) if at >= 0 else int(a["fill"])


def _pick(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    """Found by walking over the tiles."""
    row, column, down, right = a["rows"][y], a["columns"][x], 0, 0
    if min(row, column) < 0:
        return int(a["fill"])
    tiles = [v[o].T if a["swap"] else v[o] for v in xs]
    while row >= tiles[down * a["across"]].shape[0]:
        row -= tiles[down * a["across"]].shape[0]
        down += 1
    while column >= tiles[right].shape[1]:
        column -= tiles[right].shape[1]
        right += 1
    return int(tiles[down * a["across"] + right][row, column])


# what is accumulated

def _window(a: Attrs, y: int, x: int) -> Iterator[tuple[int, int, int, int]]:
    """Row and column of each tap, and where in the input, or outside it, it lies."""
    for i in range(a["kernel"][0]):
        for j in range(a["kernel"][1]):
            yield (i, j, y * a["stride"][0] + i * a["dilation"][0] - a["pads"][0],
                   x * a["stride"][1] + j * a["dilation"][1] - a["pads"][1])


def _at(a: Attrs, v: Any, c: int, row: int, column: int) -> int:
    _, h, w = v.shape
    return int(v[c, row, column]) if 0 <= row < h and 0 <= column < w else int(a["pad"])


def _first(a: Attrs, w: Any, o: int) -> int:
    """First input channel of the group that output channel o belongs to."""
    return int(o // (len(w) // a["groups"]) * w.shape[1])


def _conv(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    w = k["weight"]
    return sum(_at(a, xs[0], _first(a, w, o) + n, r, c) * int(w[o, n, i, j])
               for n in range(w.shape[1]) for i, j, r, c in _window(a, y, x))


def _conv_transpose(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    """Each pixel of the input and each tap, whether they add to this place."""
    w, (_, high, wide), acc = k["weight"], xs[0].shape, 0
    (sy, sx), (dy, dx), (top, left) = a["stride"], a["dilation"], a["crop"]
    for r in range(high):
        for i in range(w.shape[2]):
            if r * sy + i * dy - top != y:
                continue
            for c in range(wide):
                for j in range(w.shape[3]):
                    if c * sx + j * dx - left == x:
                        acc += sum((int(xs[0][_first(a, w, o) + n, r, c]) - a["pad"])
                                   * int(w[o, n, i, j]) for n in range(w.shape[1]))
    return acc


def _maxpool(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    return max(_at(a, xs[0], o, r, c) for _, _, r, c in _window(a, y, x))


def _averagepool(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    return sum(_at(a, xs[0], o, r, c) for _, _, r, c in _window(a, y, x))


def _stackpool(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    apart = len(xs[0]) // a["stack"]
    values = [int(xs[0][o + n * apart, y * a["stride"][0] + i, x * a["stride"][1] + j])
              for n in range(a["stack"]) for i in range(a["kernel"][0])
              for j in range(a["kernel"][1])]
    return max(values) if a["maximum"] else sum(values)


def _between(o: int, step: int, first: int, unit: int, n: int) -> list[tuple[int, int]]:
    """Rows (columns) of the input that row o lies between, and the weight of each."""
    p = min(max(o * step + first, 0), (n - 1) * unit)
    near, f = divmod(p, unit)
    return [(near, unit - f), (near + 1, f)] if f else [(near, unit)]


def _interpolate(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    v = xs[0][o].T if a["columns"] else xs[0][o]
    along, beside = (x, y) if a["columns"] else (y, x)
    places = _between(along, a["step"], a["first"], a["unit"], len(v))
    if a["nearest"]:
        return int(v[places[0][0], beside])
    return sum(weight * int(v[i, beside]) for i, weight in places)


def _bilinear(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    rows, columns = (_between(at, a["step"][i], a["first"][i], a["unit"][i], xs[0].shape[i + 1])
                     for i, at in enumerate((y, x)))
    return sum(u * v * int(xs[0][o, r, c]) for r, u in rows for c, v in columns)


def _same_place(v: Any, o: int, y: int, x: int) -> int:
    """Of an operand that may have one channel, row or column for all."""
    return int(v[tuple(min(i, n - 1) for i, n in zip((o, y, x), v.shape))])


def _eltwise(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    return sum(_same_place(v, o, y, x) * int(c[o]) for v, c in zip(xs, k["coef"]))


def _product(a: Attrs, k: Attrs, xs: list[Any], o: int, y: int, x: int) -> int:
    return math.prod(_same_place(v, o, y, x) - zero for v, zero in zip(xs, a["zeros"]))


MOVED: dict[str, Formula] = {
    "concat": _concat, "slice": _slice, "upsample": _upsample, "gather": _gather, "pick": _pick,
}
"""What is stored, of operators that store what they read."""

SUMS: dict[str, Formula] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "maxpool": _maxpool,
    "averagepool": _averagepool, "stackpool": _stackpool, "interpolate": _interpolate,
    "bilinear": _bilinear, "eltwise": _eltwise, "product": _product,
}
"""The accumulator before the output stage, of all others."""
