"""A head's description as the integers of docs/arithmetic.md (Detection): tables and anchors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.graph import Graph, Tensor
from falconet.isa import Arch, Mark, Scan
from falconet.isa.heads import Head, Level, fault, parse

__all__ = ["describe"]

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

_UNIT = Arch.BOX_STEPS
_MAXIMUM = 100  # boxes, where the description says nothing
_PIXELS = (1 << (Arch.BOX_BITS - 1)) // _UNIT - 1  # largest input whose edges are coordinates
_SCALE = (1 << Arch.BOX_BITS) - 1
_SCAN = {f.name: f for f in Scan.layout}
_MARK = {f.name: f for f in Mark.layout}


def describe(graph: Graph, arch: Arch) -> dict[str, Any] | None:
    """``header["detect"]`` (see :mod:`falconet.isa.container`) but for its offsets in DDR.

    None if the graph's description is absent or says that the outputs are classes.

    Raises
    ------
    FalconetError
        naming the field that the machine cannot do, and what to do about it.
    """
    post = graph.meta.get("postprocess")
    head = parse(post)
    if head is None:
        if isinstance(post, dict) and post.get("kind") not in (None, "classification"):
            _refuse("postprocess.kind", f"{post['kind']!r} is unknown to the machine; describe the "
                                        "head as 'detection'")
        return None
    if head.score == "softmax":
        _refuse("postprocess.score", "'softmax' takes two logits an anchor; quantise with "
                "'falconet quantize', which folds the two logits into one")
    _, height, width = graph.tensors[graph.inputs[0]].shape
    if max(height, width) > _PIXELS:
        _refuse(f"input '{graph.inputs[0]}'", f"boxes in {height} x {width} pixels do not fit "
                f"{Arch.BOX_BITS} bits of 1/{_UNIT} pixel; use at most {_PIXELS} a side")
    if len(head.levels) > _SCAN["level"].hi + 1:
        _refuse("postprocess.levels", f"{len(head.levels)} of them; use at most "
                                      f"{_SCAN['level'].hi + 1}")
    if len(head.labels) > _SCAN["n_class"].hi:
        _refuse("postprocess.labels", f"{len(head.labels)} classes; use at most "
                                      f"{_SCAN['n_class'].hi}")
    points = _points(head, graph)
    levels = [_level(head, level, graph, (height, width)) for level in head.levels]
    rows = -(-2 * points // (Arch.ROW_BYTES // 2))
    return {
        "mode": head.nms, "agnostic": head.agnostic, "limit": _limit(head, rows, arch),
        "points": points, "score": head.score_threshold, "iou": head.nms_threshold,
        "sigma": head.sigma, "rows": rows,
        "levels": levels,
    }


def _refuse(field: str, why: str) -> NoReturn:
    fault(field, f"{why}, or compile with '--post host'")


def _limit(head: Head, rows: int, arch: Arch) -> int:
    room = arch.candidates // (1 + rows)
    if head.maximum is None:
        return min(_MAXIMUM, room)
    if head.maximum > room:
        _refuse("postprocess.maximum", f"'{arch.name}' has room for {room} boxes"
                f"{' with landmarks' * bool(rows)}, not {head.maximum}; ask for fewer")
    return head.maximum


def _tensor(graph: Graph, level: Level, role: str, channels: int, what: str) -> Tensor:
    field, name = f"{level.field}.{role}", level.tensors[role]
    if name not in graph.tensors:
        fault(field, f"the network has no tensor '{name}'; its outputs are "
                     f"{', '.join(graph.outputs)}")
    t = graph.tensors[name]
    if t.shape[0] != channels:
        fault(field, f"'{name}' has {t.shape[0]} channels where {what} make {channels}; name "
                     "another tensor or mend the anchors and labels")
    return t


def _points(head: Head, graph: Graph) -> int:
    """Landmarks of a box, the same in all levels; 0 for none."""
    found = 0
    for level in head.levels:
        name = level.tensors.get("landmark")
        if name is None:
            continue
        if not found:
            anchors = len(level.anchors)
            channels = graph.tensors[name].shape[0] if name in graph.tensors else 2 * anchors
            found = max(1, channels // (2 * anchors))
        if 2 * found > _MARK["n_values"].hi:
            _refuse(f"{level.field}.landmark", f"{found} points; use at most "
                                               f"{_MARK['n_values'].hi // 2}")
        n = len(level.anchors)
        _tensor(graph, level, "landmark", 2 * found * n, f"{n} anchors x {found} points x 2")
    return found


def _level(head: Head, level: Level, graph: Graph, size: tuple[int, int]) -> dict[str, Any]:
    n, classes = len(level.anchors), len(head.labels)
    if n > Arch.ANCHORS:
        _refuse(f"{level.field}.anchors", f"{n} of them; use at most {Arch.ANCHORS}")
    scores = _tensor(graph, level, "class", n * classes, f"{n} anchors x {classes} labels")
    if scores.shape[0] > _SCAN["n_channels"].hi:
        _refuse(f"{level.field}.class", f"{scores.shape[0]} channels; use at most "
                                        f"{_SCAN['n_channels'].hi}")
    boxes = _tensor(graph, level, "box", 4 * n, f"{n} anchors x 4")
    extra: dict[str, Tensor] = {}
    if "objectness" in level.tensors:
        extra["objectness"] = _tensor(graph, level, "objectness", n, f"{n} anchors")
    if "landmark" in level.tensors:
        extra["landmark"] = graph.tensors[level.tensors["landmark"]]
    for role, t in (("box", boxes), *extra.items()):
        if t.shape[1:] != scores.shape[1:]:
            fault(f"{level.field}.{role}", f"'{t.name}' is {list(t.shape[1:])}, the scores are "
                                           f"{list(scores.shape[1:])}; name tensors of one size")
    centre, extent, mark = _functions(head)
    centre_shift, centre_table = _fit(centre, boxes, -(1 << 15), (1 << 15) - 1)
    size_shift, size_table = _fit(extent, boxes, 0, _SCALE)
    mark_shift, mark_table = _fit(mark, extra.get("landmark"), -(1 << 15), (1 << 15) - 1)
    if head.box == "distance":
        centre_shift, centre_table = 1, []
    edge = 1 << (Arch.BOX_BITS - 1)
    high, wide = (_UNIT * v for v in size)
    return {
        "scores": scores.name, "boxes": boxes.name,
        "objectness": level.tensors.get("objectness", ""),
        "landmarks": level.tensors.get("landmark", ""),
        "n_class": classes, "height": scores.shape[1], "width": scores.shape[2],
        "grid": int(head.box != "ssd"), "form": int(head.box == "distance"),
        "clip": [0, wide, 0, high] if head.clip else [-edge, edge - 1, -edge, edge - 1],
        **_places(head, level, scores),
        "centre_shift": centre_shift, "size_shift": size_shift, "mark_shift": mark_shift,
        "score": _scores(scores), "objectness_table": _scores(extra.get("objectness")),
        "centre": centre_table, "size": size_table, "mark": mark_table,
    }


def _places(head: Head, level: Level, scores: Tensor) -> dict[str, Any]:
    """Stride and anchors in 1/16 pixel; a cell's centre must fit its bits everywhere."""
    stride = [_rounded(v * _UNIT, f"{level.field}.stride", "stride_x") for v in level.stride]
    centre = [round(head.offset * v * _UNIT) for v in level.stride]
    for s, c, n, axis in zip(stride, centre, scores.shape[:0:-1], ("width", "height")):
        if not (-(1 << 15) <= c < 1 << 15 and s * (n - 1) + c < 1 << (Arch.CENTRE_BITS - 1)):
            _refuse(f"{level.field}.stride", f"cells of {s / _UNIT:g} pixels reach too far over a "
                                             f"{axis} of {n}; mend it")
    anchors = []
    for i, anchor in enumerate(level.anchors):
        side = anchor if head.box in ("ssd", "yolo") else level.stride
        anchors.append([_rounded(v * _UNIT, f"{level.field}.anchors[{i}]", "stride_x")
                        for v in side] + centre)
    return {"stride": stride, "anchors": anchors}


def _rounded(value: float, field: str, of: str) -> int:
    if round(value) > _SCAN[of].hi:
        _refuse(field, f"{value / _UNIT:g} pixels; use at most {_SCAN[of].hi // _UNIT}")
    return round(value)


def _sigmoid(r: Floats) -> Floats:
    values: Floats = np.where(r < 0, np.exp(-np.abs(r)), 1.0) / (1.0 + np.exp(-np.abs(r)))
    return values


def _functions(head: Head) -> tuple[Function, Function, Function]:
    """What a stored centre, size and landmark mean, in units of the anchor or of the stride."""
    v0, v1 = head.variances

    def offset(r: Floats) -> Floats:
        return r

    if head.box == "ssd":
        return lambda r: v0 * r, lambda r: _exp(v1 * r), lambda r: v0 * r
    if head.box == "yolo":
        return lambda r: 2 * _sigmoid(r) - 0.5, lambda r: (2 * _sigmoid(r)) ** 2, offset
    if head.box == "grid" or head.function == "exp":
        return offset, _exp, offset
    return offset, lambda r: np.maximum(r, 0), offset


def _exp(r: Floats) -> Floats:
    values: Floats = np.exp(np.minimum(r, 64.0))  # far beyond what a table holds
    return values


def _reals(t: Tensor) -> Floats:
    """The real value of every stored one, -128 first."""
    values: Floats = (np.arange(-128, 128) - t.zero_point) * np.float64(t.scale)
    return values


def _scores(t: Tensor | None) -> list[int]:
    if t is None:
        return []
    top = float(1 << Arch.SCORE_BITS)
    return [int(v) for v in np.minimum(np.rint(_sigmoid(_reals(t)) * top), top - 1)]


def _fit(function: Function, t: Tensor | None, low: int, high: int) -> tuple[int, list[int]]:
    """The largest shift in [1, 15] for which the function's whole table fits, and the table."""
    if t is None:
        return 1, []
    values = function(_reals(t))
    for shift in range(15, 0, -1):
        table = np.rint(np.ldexp(values, shift))
        if shift == 1 or (table.min() >= low and table.max() <= high):
            return shift, [int(v) for v in np.clip(table, low, high)]
    raise AssertionError
