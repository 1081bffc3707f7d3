"""From the fits of all anchors and levels to one description, and the heads that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from falconet.compiler.importer.tails.box_fit import AxisFit, BoxFit
from falconet.compiler.importer.tails.head_split import Part
from falconet.compiler.importer.tails.probing import Level
from falconet.compiler.importer.tails.score_fit import Scores
from falconet.compiler.importer.tails.tail_graph import NotATail

__all__ = ["Described", "FittedLevel", "describe_fits"]

_SAME = 1e-3
_LARGE = 128.0  # pixels
_LANDMARKS = "landmark"
Mark = tuple[int, float, float]
Values = list[tuple[int, float, float]]


@dataclass(frozen=True)
class FittedLevel:
    """What was found of a level: boxes and scores an anchor; ``marks``: the landmarks' values.

    A mark is channel, corner and gain (as of a centre), in turn x and y. ``cells`` are the pixels
    of the input over those of the level, x and y; ``channels`` the count of each tensor's.
    """

    level: Level
    channels: tuple[int, ...]
    boxes: Sequence[BoxFit]
    scores: Sequence[Scores]
    marks: Sequence[Sequence[Mark]]
    cells: tuple[float, float]


@dataclass
class Described:
    """``box``, ``levels``, ``score`` ... of a description, and what its tensors are."""

    fields: dict[str, Any]
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class _Form:
    """What all levels have in common; for levels of one cell ``offset`` says the stride."""

    kind: str
    offset: float
    scale: float
    variances: tuple[float, float]
    grid: bool


def describe_fits(levels: Sequence[FittedLevel]) -> Described:
    """The description without labels and thresholds.

    Raises
    ------
    NotATail
        If anchors or levels differ in what a description has once.
    """
    kinds = {b.x.kind for f in levels for b in f.boxes}
    rules = {(s.rule, s.background) for f in levels for s in f.scores}
    if len(kinds) > 1 or len(rules) > 1:
        raise NotATail(f"its levels differ: {', '.join(sorted(kinds))} boxes, "
                       f"{', '.join(sorted(r for r, _ in rules))} scores")
    form = _form(levels, kinds.pop())
    rule, background = rules.pop()
    result = Described({"box": _box(levels, form), "score": rule, "offset": form.offset})
    if rule == "softmax" and background:
        result.fields["background"] = background
    result.fields["levels"] = [_level(f, form, result.parts) for f in levels]
    return result


def _stride(fit: AxisFit, form: _Form | None, nominal: float) -> float:
    """Of an axis; where it has one cell, what the rest of the fit says."""
    if fit.stride is not None:
        return round(fit.stride, 3)
    if fit.kind.startswith("distance"):
        return round(fit.gain, 3) if fit.kind != "distance-exp" else nominal
    if fit.kind in ("yolo", "yolov3"):
        return round(fit.gain / (form.scale if form else 2.0), 3)
    if form is not None and form.offset:
        return round(fit.corner / form.offset, 3)
    return nominal


def _form(levels: Sequence[FittedLevel], kind: str) -> _Form:
    axes = [(a, c) for f in levels for b in f.boxes for a, c in ((b.x, f.cells[0]),
                                                                 (b.y, f.cells[1]))]
    known = [(a, _stride(a, None, c)) for a, c in axes if a.stride is not None] or [
        (a, _stride(a, None, c)) for a, c in axes]
    first, stride = known[0]
    scale = 1.0
    if kind in ("yolo", "yolov3"):
        scale = round(first.gain / stride, 4)
        if kind == "yolo" and abs(scale - 2) > _SAME:
            raise NotATail(f"its centres move by {scale:g} strides, and with sizes of squares the "
                           "machine moves them by 2")
        if any(abs(a.gain / s - scale) > _SAME for a, s in known):
            raise NotATail("its centres move by different shares of the stride")
    moved = (scale - 1) / 2 if kind in ("yolo", "yolov3") else 0.0
    offsets = [a.corner / s + moved for a, s in known]
    offset = float(round(offsets[0], 3)) + 0.0
    if kind not in ("ssd", "linear") and np.ptp(offsets) > _SAME:
        raise NotATail(f"its cells begin at {min(offsets):g} to {max(offsets):g} strides")
    grid = kind == "ssd" and all(len(f.boxes) == 1 for f in levels) and all(
        abs(a.size / s - 1) < _SAME for a, s in known)
    power = _short(first.power)
    if kind == "linear":  # anchors are stored in 1/16 pixel: large ones, and small variances
        power = 2.0 ** -max(0, int(np.ceil(np.log2(_LARGE / first.size))))
    anchor = first.size / (power if kind == "linear" else 1) or 1
    powers = (1.0, 1.0) if grid else (_short(first.gain / anchor), power)
    return _Form(kind, offset, scale, powers, grid)


def _short(value: float) -> float:
    """As many digits as a fit to float32 has."""
    return float(f"{value:.5g}")


def _anchor(fit: AxisFit, form: _Form) -> float:
    """Of a kind that has anchors, in pixels."""
    return fit.size / (form.variances[1] if form.kind == "linear" else 1)


def _box(levels: Sequence[FittedLevel], form: _Form) -> dict[str, Any]:
    if form.grid:
        return {"kind": "grid"}
    if form.kind == "distance-dfl":
        return {"kind": "dfl", "bins": len(levels[0].boxes[0].x.first)}
    if form.kind.startswith("distance"):
        return {"kind": "distance", "function": form.kind.partition("-")[2]}
    if form.kind == "yolov3":
        return {"kind": "yolov3", "scale": form.scale} if form.scale != 1 else {"kind": "yolov3"}
    if form.kind == "yolo":
        return {"kind": "yolo"}
    return {"kind": form.kind, "variances": list(form.variances)}


def _level(fitted: FittedLevel, form: _Form, parts: list[Part]) -> dict[str, Any]:
    first = fitted.boxes[0]
    stride = (_stride(first.x, form, fitted.cells[0]), _stride(first.y, form, fitted.cells[1]))
    entry: dict[str, Any] = {"stride": stride[0] if stride[0] == stride[1] else
                             [stride[1], stride[0]]}
    if form.kind in ("ssd", "linear", "yolo", "yolov3") and not form.grid:
        entry["anchors"] = [[round(_anchor(a, form), 3) for a in (b.x, b.y)] for b in fitted.boxes]
    roles: dict[str, Values] = {"box": [], "class": [], "objectness": [], _LANDMARKS: []}
    for box, scores, marks in zip(fitted.boxes, fitted.scores, fitted.marks):
        firsts, seconds = zip(_axis(box.x, form, stride[0]), _axis(box.y, form, stride[1]))
        roles["box"] += [v for group in (*firsts, *seconds) for v in group]
        roles["class"] += [(c, 1.0, 0.0) for c in scores.classes]
        if scores.objectness is not None:
            roles["objectness"].append((scores.objectness, 1.0, 0.0))
        for i, (channel, corner, gain) in enumerate(marks):
            axis = (box.x, box.y)[i % 2]
            unit = form.variances[0] * _anchor(axis, form) if form.kind in ("ssd", "linear") and (
                not form.grid) else stride[i % 2]
            shift = (corner - form.offset * stride[i % 2]) / unit
            roles[_LANDMARKS].append((channel, gain / unit, shift))
    for role, values in roles.items():
        if values:
            parts.append(_part(fitted, role, values))
            entry[role] = parts[-1].name
    return entry


def _axis(fit: AxisFit, form: _Form, stride: float) -> tuple[Values, Values]:
    """Channels, factors and shifts of an axis' first and second value."""
    one, two, shift = 1.0, 1.0, (0.0, 0.0)
    if form.kind in ("ssd", "linear"):
        extent = stride if form.grid else _anchor(fit, form)
        one = fit.gain / (form.variances[0] * extent)
        shift = (fit.corner - form.offset * stride) / (form.variances[0] * extent), 0.0
        if form.kind == "ssd":
            two = fit.power / form.variances[1]
    elif form.kind == "yolov3":
        two = fit.power
    elif form.kind in ("distance-linear", "distance-relu"):
        one = two = fit.gain / stride
    elif form.kind == "distance-exp":
        one = two = fit.power
        shift = float(np.log(fit.gain / stride)), float(np.log(fit.gain / stride))
    elif form.kind == "distance-dfl" and abs(fit.gain / stride - 1) > _SAME:
        raise NotATail(f"its distances are in {fit.gain:g} pixels where cells are {stride:g}")
    return ([(c, one, shift[0]) for c in fit.first], [(c, two, shift[1]) for c in fit.second])


def _part(fitted: FittedLevel, role: str, values: Values) -> Part:
    """One tensor for a role of a level; the file's own where it is the same."""
    ends = np.cumsum(fitted.channels)
    which = {int(np.searchsorted(ends, c, side="right")) for c, _, _ in values}
    if len(which) > 1:
        raise NotATail(f"the values of a {role} come from {len(which)} convolutions")
    number = which.pop()
    source = fitted.level.tensors[number]
    base = int(ends[number]) - fitted.channels[number]
    channel = tuple(c - base for c, _, _ in values)
    factor = tuple(1.0 if abs(f - 1) < 1e-4 else f for _, f, _ in values)
    shift = tuple(0.0 if abs(s) < 1e-4 else s for _, _, s in values)
    same = channel == tuple(range(fitted.channels[number])) and set(factor) == {1.0} and (
        set(shift) == {0.0})
    return Part(source if same else f"{source}.{role}", source, channel, factor, shift)
