"""A head's description as the integers of docs/arithmetic.md (Detection): tables and anchors."""

from __future__ import annotations

from typing import NoReturn

from falconet.compiler.detection.meaning import exponentials, fit, functions, scores
from falconet.compiler.graph import Graph, Tensor
from falconet.isa import Arch, Mark, Scan
from falconet.isa.metadata.head import Head, Level, fault, parse
from falconet.isa.program.forms import Detect, DetectLevel

__all__ = ["describe", "head_tensor"]

_UNIT = Arch.BOX_STEPS
_MAXIMUM = 100  # boxes, where the description says nothing
_PIXELS = (1 << (Arch.BOX_BITS - 1)) // _UNIT - 1  # largest input whose edges are coordinates
_SCALE = (1 << Arch.BOX_BITS) - 1
_BIN_SHIFT = 11  # of an expectation over bins
_SCAN = {f.name: f for f in Scan.layout}
_MARK = {f.name: f for f in Mark.layout}


def describe(graph: Graph, arch: Arch) -> Detect | None:
    """The head of the program; until it is placed its offsets in DDR are 0, the weights' -1.

    ``graph`` is one of :func:`~falconet.compiler.detection.background.without_background`. None if
    its description is absent or says that the outputs are classes.

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
    assert head.background is None  # falconet.compiler.detection.background
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
    levels = tuple(_level(head, level, graph, (height, width)) for level in head.levels)
    rows = -(-2 * points // (Arch.ROW_BYTES // 2))
    return Detect(
        mode=head.nms, agnostic=head.agnostic, limit=_limit(head, rows, arch), points=points,
        rows=rows, score=head.score_threshold, iou=head.nms_threshold, sigma=head.sigma, output=0,
        weights=-1, levels=levels,
    )


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


def head_tensor(graph: Graph, level: Level, role: str, channels: int, what: str) -> Tensor:
    """The graph's tensor that a level names for a role; refused if it has other channels."""
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
        head_tensor(graph, level, "landmark", 2 * found * n, f"{n} anchors x {found} points x 2")
    return found


def _level(head: Head, level: Level, graph: Graph, size: tuple[int, int]) -> DetectLevel:
    n, classes = len(level.anchors), len(head.labels)
    if n > Arch.ANCHORS:
        _refuse(f"{level.field}.anchors", f"{n} of them; use at most {Arch.ANCHORS}")
    logits = head_tensor(graph, level, "class", n * classes, f"{n} anchors x {classes} labels")
    if logits.shape[0] > _SCAN["n_channels"].hi:
        _refuse(f"{level.field}.class", f"{logits.shape[0]} channels; use at most "
                                        f"{_SCAN['n_channels'].hi}")
    per = head.channels("box")
    boxes = head_tensor(graph, level, "box", per * n, f"{n} anchors x {per}")
    extra: dict[str, Tensor] = {}
    if "objectness" in level.tensors:
        extra["objectness"] = head_tensor(graph, level, "objectness", n, f"{n} anchors")
    if "landmark" in level.tensors:
        extra["landmark"] = graph.tensors[level.tensors["landmark"]]
    for role, t in (("box", boxes), *extra.items()):
        if t.shape[1:] != logits.shape[1:]:
            fault(f"{level.field}.{role}", f"'{t.name}' is {list(t.shape[1:])}, the scores are "
                                           f"{list(logits.shape[1:])}; name tensors of one size")
    centre, extent, mark = functions(head)
    centre_shift, centre_table = fit(centre, boxes, -(1 << 15), (1 << 15) - 1)
    size_shift, size_table = fit(extent, boxes, 0, _SCALE)
    mark_shift, mark_table = fit(mark, extra.get("landmark"), -(1 << 15), (1 << 15) - 1)
    if head.box in ("distance", "dfl"):
        centre_shift, centre_table = 1, ()
    if head.bins:
        size_shift, size_table = _BIN_SHIFT, exponentials(boxes)
    softmax = head.score == "softmax" and classes > 1  # of one class it is a sigmoid
    root = head.score == "geometric"
    edge = 1 << (Arch.BOX_BITS - 1)
    high, wide = (_UNIT * v for v in size)
    stride, anchors = _places(head, level, logits)
    return DetectLevel(
        scores=logits.name, boxes=boxes.name, objectness=level.tensors.get("objectness", ""),
        landmarks=level.tensors.get("landmark", ""), options=0, n_class=classes,
        height=logits.shape[1], width=logits.shape[2], stride=stride,
        grid=int(head.box not in ("ssd", "linear")), form=int(head.box in ("distance", "dfl")),
        centre_shift=centre_shift, size_shift=size_shift, mark_shift=mark_shift,
        clip=(0, wide, 0, high) if head.clip else (-edge, edge - 1, -edge, edge - 1),
        anchors=anchors, score=scores(logits, root=root), size=size_table,
        objectness_table=scores(extra.get("objectness"), root=root), centre=centre_table,
        mark=mark_table, bins=head.bins or None,
        softmax=exponentials(logits) if softmax else None,
        background=logits.zero_point if softmax else None,
    )


def _places(head: Head, level: Level, logits: Tensor
            ) -> tuple[tuple[int, int], tuple[tuple[int, int, int, int], ...]]:
    """Stride and anchors in 1/16 pixel; a cell's centre must fit its bits everywhere."""
    x, y = (_rounded(v * _UNIT, f"{level.field}.stride", "stride_x") for v in level.stride)
    cx, cy = (round(head.offset * v * _UNIT) for v in level.stride)
    for s, c, n, axis in zip((x, y), (cx, cy), logits.shape[:0:-1], ("width", "height")):
        if not (-(1 << 15) <= c < 1 << 15 and s * (n - 1) + c < 1 << (Arch.CENTRE_BITS - 1)):
            _refuse(f"{level.field}.stride", f"cells of {s / _UNIT:g} pixels reach too far over a "
                                             f"{axis} of {n}; mend it")
    anchors = []
    for i, anchor in enumerate(level.anchors):
        side = level.stride if head.box in ("grid", "distance", "dfl") else anchor
        w, h = (_rounded(v * _UNIT, f"{level.field}.anchors[{i}]", "stride_x") for v in side)
        anchors.append((w, h, cx, cy))
    return (x, y), tuple(anchors)


def _rounded(value: float, field: str, of: str) -> int:
    if round(value) > _SCAN[of].hi:
        _refuse(field, f"{value / _UNIT:g} pixels; use at most {_SCAN[of].hi // _UNIT}")
    return round(value)
