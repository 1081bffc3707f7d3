"""Resize: the nearest pixels, or sums of neighbours (docs/arithmetic.md)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.importer.expr import Expr, Interpolated, Value
from falconet.compiler.importer.onnx.context import Context, operator
from falconet.compiler.importer.onnx.handlers.move import moved
from falconet.compiler.importer.onnx.nodes import OnnxNode
from falconet.compiler.importer.onnx.roles import Role
from falconet.isa.graph.ops.interpolate import Interpolate
from falconet.isa.graph.ops.upsample import Upsample

__all__: list[str] = []

_LINEAR = ("linear", "bilinear")


@operator("Resize", "Upsample", role=Role.MOVE)
def resize(ctx: Context, node: OnnxNode, args: list[Value | None]) -> Value:
    x = ctx.image(node, args[0])
    out = ctx.model.shape(node.outputs[0], node)
    mode = node.attrs.get("mode", "nearest")
    if mode not in ("nearest", *_LINEAR):
        node.refuse(f"mode '{mode}'; use 'nearest' or 'linear'")
    if out[:2] != [1, x.shape[0]]:
        node.refuse(f"{[1, *x.shape]} to {out}; only H and W of an image can be resized")
    smaller = any(o < i for o, i in zip(out[2:], x.shape[1:]))
    if node.attrs.get("antialias", 0) and smaller:
        node.refuse("antialias averages over more pixels than two; use antialias = 0, or an "
                    "AveragePool")
    axes = [_place(ctx, node, args, i, (x.shape[i + 1], out[i + 2])) for i in range(2)]
    if mode == "nearest":
        return _nearest(ctx, node, x, [_of_nearest(node, axis, side)
                                       for axis, side in zip(axes, x.shape[1:])])
    changed = [i for i in (1, 0) if not _still(axes[i], x.shape[i + 1])]
    if not changed:
        return x
    # Along columns first: there are more parts to that, and fewer rows as yet.
    real = ctx.real(node, args[0])
    steps = tuple(_along(axes[i], i == 1) for i in changed)
    return Interpolated(node.name, (x.shape[0], out[2], out[3]), real.tensor, steps)


Place = tuple[Fraction, Fraction, int]


def _place(ctx: Context, node: OnnxNode, args: list[Value | None], i: int, size: tuple[int, int]
           ) -> Place:
    """Where an axis's outputs lie: output o at ``o * step + first``; and how many there are."""
    side, out = size
    scale = _scale(ctx, node, args, i, size)
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if node.op == "Upsample":
        mode = "asymmetric"
    if mode == "pytorch_half_pixel":
        mode = "half_pixel" if out > 1 else "asymmetric"
    if mode == "half_pixel_symmetric" and scale == Fraction(out, side):
        mode = "half_pixel"
    if mode == "half_pixel":
        return 1 / scale, 1 / scale / 2 - Fraction(1, 2), out
    if mode == "asymmetric":
        return 1 / scale, Fraction(0), out
    if mode == "align_corners":
        return Fraction(side - 1, max(1, out - 1)), Fraction(0), out
    node.refuse(f"coordinate_transformation_mode '{mode}' with a factor of {float(scale):.6g}; use "
                "'half_pixel', 'pytorch_half_pixel', 'asymmetric' or 'align_corners'")


def _scale(ctx: Context, node: OnnxNode, args: list[Value | None], i: int, size: tuple[int, int]
           ) -> Fraction:
    """The factor of an axis: as it is given, else that of the sizes."""
    at = 2 if node.op == "Resize" else 1
    given = ctx.constant(node, args[at], at) if len(args) > at else None
    if given is None or not given.size:
        return Fraction(size[1], size[0])
    axes = [int(a) % 4 for a in node.attrs.get("axes") or range(4)]
    if i + 2 not in axes:
        return Fraction(1)
    value = float(given.reshape(-1)[axes.index(i + 2)])
    found = Fraction(value).limit_denominator(1024)
    if value <= 0 or abs(float(found) - value) > 2e-7 * value:
        node.refuse(f"a factor of {value:.8g} is no fraction of small numbers; give sizes, or one "
                    "that is")
    return found


def _whole(place: Place) -> tuple[int, int, int]:
    """Step and first over one unit."""
    unit = int(np.lcm(place[0].denominator, place[1].denominator))
    return int(place[0] * unit), int(place[1] * unit), unit


def _still(place: Place, side: int) -> bool:
    return place == (Fraction(1), Fraction(0), side)


def _along(place: Place, columns: bool, nearest: bool = False) -> Interpolate:
    step, first, unit = _whole(place)
    return Interpolate(size=place[2], step=step, first=first, unit=unit, columns=columns,
                       nearest=nearest)


def _of_nearest(node: OnnxNode, place: Place, side: int) -> Place:
    """So that the nearest row is the whole part of where an output lies.

    A place that is a whole number or half of one may be either side of it in onnxruntime's floats:
    then all places are a little above or below.
    """
    mode = node.attrs.get("nearest_mode", "round_prefer_floor")
    if node.op == "Upsample":
        mode = "floor"
    step, first, out = place
    unit = int(np.lcm(step.denominator, first.denominator)) * 8
    below = Fraction(unit - 1, unit)  # makes the whole part the next number above
    more = {"floor": Fraction(0), "ceil": below, "round_prefer_ceil": Fraction(1, 2),
            "round_prefer_floor": below - Fraction(1, 2)}.get(mode)
    if more is None:
        node.refuse(f"nearest_mode '{mode}' is unknown; use 'floor'")
    wanted = _floats(place, mode, side)
    for little in (Fraction(0), Fraction(1, unit), Fraction(-1, unit)):
        found = step, first + more + little, out
        if np.array_equal(_rows(found, side), wanted):
            return found
    node.refuse(f"a factor of {float(1 / step):.6g} places pixels between two others that are as "
                "near; use another nearest_mode")


def _floats(place: Place, mode: str, side: int) -> NDArray[np.int64]:
    """The nearest rows as onnxruntime computes them, in float32."""
    step, first, out = place
    scale, at = np.float32(1 / step) if step else np.float32(1), np.arange(out, dtype=np.float32)
    if first:
        at = (at + np.float32(0.5)) / scale - np.float32(0.5)
    elif step:
        at = at / scale
    else:
        at = at * 0
    nearest = {"floor": np.floor(at), "ceil": np.ceil(at), "round_prefer_ceil": np.floor(at + 0.5),
               "round_prefer_floor": np.ceil(at - 0.5)}[mode]
    found: NDArray[np.int64] = np.clip(nearest, 0, side - 1).astype(np.int64)
    return found


def _rows(place: Place, side: int) -> NDArray[np.int64]:
    step, first, unit = _whole(place)
    found: NDArray[np.int64] = np.clip((np.arange(place[2]) * step + first) // unit, 0, side - 1)
    return found


def _nearest(ctx: Context, node: OnnxNode, x: Expr, axes: Sequence[Place]) -> Expr:
    """Pixels as they are: all of them repeated, or those that are nearest, axis by axis."""
    c, *sides = x.shape
    repeats = [_repeats(place, side) for place, side in zip(axes, sides)]
    if repeats == [1, 1]:
        return x
    if repeats[0] and repeats[1]:
        shape = c, sides[0] * repeats[0], sides[1] * repeats[1]
        return moved(ctx, node, Upsample(*repeats), [x], shape)
    for i in (0, 1) if axes[0][2] < sides[0] else (1, 0):  # what makes it smaller first
        if repeats[i] != 1:
            attrs = _along(axes[i], i == 1, nearest=True)
            x = moved(ctx, node, attrs, [x], attrs.shape([x.shape], {}))
    return x


def _repeats(place: Place, side: int) -> int:
    """How often each pixel is repeated; 0 if that differs."""
    factor, rest = divmod(place[2], side)
    if rest:
        return 0
    return factor if np.array_equal(_rows(place, side), np.arange(place[2]) // factor) else 0
