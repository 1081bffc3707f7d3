"""Boxes out of a detector's heads, in float: decoding and non-maximum suppression.

This is what the host does where the machine does not, and what the machine's integers
(docs/arithmetic.md, section Detection) are measured against; the two share no code. The head is
described by ``postprocess`` of a program's ``meta`` (``falconet_models.metadata``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError

__all__ = ["Boxes", "decode", "iou", "suppress"]

Array = NDArray[Any]
Get = Callable[[str], Array]


@dataclass(frozen=True)
class Boxes:
    """Candidates in pixels of the network's input, in the order level, y, x, anchor, class.

    ``box`` [n, 4]: left, top, width, height; ``score`` [n]; ``label`` [n]: class; ``points``
    [n, landmarks, 2]: x, y.
    """

    box: Array
    score: Array
    label: Array
    points: Array


def iou(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box [4] with many [n, 4]: left, top, width, height."""
    corner = np.maximum(box[:2], boxes[:, :2])
    overlap = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:]) - corner
    common = np.prod(np.maximum(overlap, 0), axis=1)
    union = np.prod(box[2:]) + np.prod(boxes[:, 2:], axis=1) - common
    ratio: Array = common / np.maximum(union, np.finfo(np.float32).tiny)
    return ratio


def _distance(box: Array, boxes: Array) -> Array:
    """Squared distance of the centres over the squared diagonal of the smallest box around both."""
    ends, many = box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:]
    between = (box[:2] + ends - boxes[:, :2] - many) / 2
    around = np.maximum(ends, many) - np.minimum(box[:2], boxes[:, :2])
    diagonal = np.maximum((around**2).sum(axis=1), np.finfo(np.float32).tiny)
    ratio: Array = (between**2).sum(axis=1) / diagonal
    return ratio


def _sigmoid(x: Array) -> Array:
    y: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return y


def _exp(x: Array) -> Array:
    """Boxes beyond e**50 are as large as those of e**50, and not infinite."""
    y: Array = np.exp(np.minimum(x, 50))
    return y


def _decode(form: Mapping[str, Any], r: Array, cell: Array, stride: Array, anchor: Array) -> Array:
    """Left, top, right, bottom [n, 4] of the values ``r`` [n, 4 or 4 * bins]."""
    kind = form["kind"]
    if kind == "distance":
        function = form.get("function", "linear")
        d = np.maximum(_exp(r) if function == "exp" else r, 0)
        return np.hstack([cell - d[:, :2] * stride, cell + d[:, 2:] * stride])
    if kind == "dfl":
        sides = r.reshape(len(r), 4, r.shape[1] // 4)
        weights = np.exp(sides - sides.max(axis=2, keepdims=True))
        d = weights @ np.arange(sides.shape[2]) / weights.sum(axis=2)
        return np.hstack([cell - d[:, :2] * stride, cell + d[:, 2:] * stride])
    if kind in ("ssd", "linear"):
        v0, v1 = form.get("variances", (1, 1))
        middle, size = cell + v0 * r[:, :2] * anchor, v1 * r[:, 2:]
        extent = anchor * (_exp(size) if kind == "ssd" else np.maximum(size, 0))
    elif kind == "yolov3":
        scale = float(form.get("scale", 1))
        middle = cell + (scale * _sigmoid(r[:, :2]) - (scale - 1) / 2) * stride
        extent = anchor * _exp(r[:, 2:])
    elif kind == "grid":
        middle, extent = cell + r[:, :2] * stride, stride * _exp(r[:, 2:])
    elif kind == "yolo":
        t = 2 * _sigmoid(r)
        middle, extent = cell + (t[:, :2] - 0.5) * stride, anchor * t[:, 2:] ** 2
    else:
        raise FalconetError(
            f"meta: postprocess.box.kind='{kind}' is unknown; use ssd, linear, grid, yolo, "
            "yolov3, distance or dfl"
        )
    return np.hstack([middle - extent / 2, middle + extent / 2])


class _Level:
    """One level of the head: its cells, and its tensors row by row."""

    def __init__(self, level: Mapping[str, Any], get: Get) -> None:
        self.level, self.get = level, get
        self.height, self.width = get(level["class"]).shape[1:]
        stride_y, stride_x = np.broadcast_to(level["stride"], 2)
        self.stride = np.array([stride_x, stride_y], np.float64)
        self.anchors = np.asarray(level.get("anchors") or [self.stride], np.float64)

    def rows(self, part: str, values: int) -> Array:
        """[A * values, H, W] as float64 [H * W * A, values]: one row an anchor."""
        tensor = self.get(self.level[part])
        shape = (len(self.anchors) * values, self.height, self.width)
        if tensor.shape != shape:
            raise FalconetError(
                f"output '{self.level[part]}' ({part}) is {list(tensor.shape)} where postprocess "
                f"says {list(shape)}; give the outputs of the model that the metadata are from"
            )
        rows: Array = tensor.reshape(-1, values, *shape[1:]).transpose(2, 3, 0, 1)
        return rows.reshape(-1, values).astype(np.float64)

    def scores(self, rule: str, classes: int, background: int | str) -> Array:
        """[H * W * A, classes]."""
        if rule == "softmax":
            scores = self._softmax(classes, background)
        else:
            scores = _sigmoid(self.rows("class", classes))
        if "objectness" in self.level:
            scores = scores * _sigmoid(self.rows("objectness", 1))
        root: Array = np.sqrt(scores) if rule == "geometric" else scores
        return root

    def _softmax(self, classes: int, background: int | str) -> Array:
        """Shares of the classes without the background's."""
        if background == "zero":
            logits, place = np.insert(self.rows("class", classes), 0, 0.0, axis=1), 0
        else:
            logits, place = self.rows("class", classes + 1), int(background)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: Array = np.delete(weights / weights.sum(axis=1, keepdims=True), place, axis=1)
        return shares

    def cells(self, row: Array, offset: float) -> tuple[Array, Array]:
        """Centre of the cell, and size of the anchor, of each row: x, y [n, 2] each."""
        cell, anchor = np.divmod(row, len(self.anchors))
        position = np.stack([cell % self.width, cell // self.width], axis=1)
        return (position + offset) * self.stride, self.anchors[anchor]


def decode(
    post: Mapping[str, Any], get: Get, *, least: float, size: tuple[int, int] | None = None
) -> Boxes:
    """The boxes with a score of ``least`` or more.

    Parameters
    ----------
    get:
        Gives the real tensor [C, H, W] of a name.
    size:
        (height, width) of the network's input, where the description says ``clip``.
    """
    form, rule = post["box"], post.get("score", "sigmoid")
    if rule not in ("sigmoid", "softmax", "geometric"):
        raise FalconetError(
            f"meta: postprocess.score='{rule}' is unknown; use sigmoid, softmax or geometric"
        )
    found = []
    for each in post["levels"]:
        level = _Level(each, get)
        scores = level.scores(rule, len(post["labels"]), post.get("background", 0))
        row, label = np.nonzero(scores >= least)
        cell, anchor = level.cells(row, float(post.get("offset", 0.5)))
        r = level.rows("box", 4 * form.get("bins", 1))[row]
        edges = _decode(form, r, cell, level.stride, anchor)
        if post.get("clip", False):
            if size is None:
                raise FalconetError("meta: preprocess.size is missing; postprocess.clip needs it")
            edges = np.clip(edges, 0, [size[1], size[0]] * 2)
        points = np.zeros((len(row), 0, 2))
        if "landmark" in each:
            values = get(each["landmark"]).shape[0] // len(level.anchors)
            unit = float(form.get("variances", (1, 1))[0]) * anchor if (
                form["kind"] in ("ssd", "linear")) else level.stride
            r = level.rows("landmark", values)[row].reshape(len(row), values // 2, 2)
            points = cell[:, None] + r * np.broadcast_to(unit, cell.shape)[:, None]
        edges[:, 2:] -= edges[:, :2]
        found.append((edges, scores[row, label], label, points))
    return Boxes(*(np.concatenate(part) for part in zip(*found)))


def suppress(
    boxes: Boxes, *, mode: str = "greedy", threshold: float = 0.45, sigma: float = 0.5,
    least: float = 0.0, agnostic: bool = False, maximum: int | None = None,
) -> tuple[list[int], list[float]]:
    """Indices of the boxes that stay, best first, ties in order, and their scores.

    Parameters
    ----------
    mode:
        ``"greedy"``: a box goes if it overlaps a better one that stayed by more than
        ``threshold``; ``"diou"``: and if IoU less the centres' distance does too (Zheng et al.,
        2020); ``"soft_linear"``, ``"soft_gaussian"``: its score falls (Bodla et al., 2017), and
        below ``least`` it goes.
    agnostic:
        Whether boxes of different classes suppress each other.
    """
    if mode not in ("greedy", "diou", "soft_linear", "soft_gaussian"):
        raise FalconetError(
            f"meta: postprocess.nms='{mode}' is unknown; use greedy, soft_linear, soft_gaussian or "
            "diou"
        )
    scores = boxes.score.astype(np.float64)
    left = np.arange(len(scores))
    kept: list[int] = []
    while left.size and (maximum is None or len(kept) < maximum):
        best = int(left[np.argmax(scores[left])])
        kept.append(best)
        left = left[left != best]
        box, others = boxes.box[best], boxes.box[left]
        rival = agnostic | (boxes.label[left] == boxes.label[best])
        overlap = iou(box, others)
        over = rival & (overlap > threshold)
        if mode == "diou":
            over &= overlap - _distance(box, others) > threshold
        if mode in ("greedy", "diou"):
            left = left[~over]
            continue
        if mode == "soft_linear":
            scores[left] *= np.where(over, 1 - overlap, 1)
        else:
            scores[left] *= np.where(rival, np.exp(-(overlap**2) / sigma), 1)
        left = left[scores[left] >= least]
    return kept, [float(s) for s in scores[kept]]
