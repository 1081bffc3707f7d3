"""The description proved against the file: the tail in onnxruntime, the machine's integers here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.compiler.detection.integers import Decoded, decode
from falconet.compiler.detection.tables import describe
from falconet.compiler.graph import Graph, Tensor
from falconet.compiler.importer.tails.box_fit import corners
from falconet.compiler.importer.tails.describing import Described, FittedLevel
from falconet.compiler.importer.tails.head_split import Part
from falconet.compiler.importer.tails.probing import Rows
from falconet.compiler.importer.tails.tail_graph import NotATail, Tail
from falconet.isa import Arch, preset
from falconet.isa.program.forms import DetectLevel

__all__ = ["Deviation", "Known", "machine_form", "prove"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TURNS = 4
_STEP = 16 / 255  # of stored logits and offsets: -8 to 8
_REACH = (1 << Arch.BOX_BITS - 1) / Arch.BOX_STEPS - 8  # pixels that a coordinate holds, and some
_SCORE = 4 / (1 << Arch.SCORE_BITS)


@dataclass(frozen=True)
class Deviation:
    """The largest differences found: ``box`` and ``point`` in pixels, ``score`` of 1."""

    box: float
    score: float
    point: float = 0.0


@dataclass(frozen=True)
class Known:
    """What else is known of a tail: the columns of boxes and landmarks, and their units.

    ``size`` is that of the input, x and y; ``unit`` pixels of a one; ``reach`` where boxes are
    clipped, 0 where not.
    """

    tail: Tail
    rows: Rows
    box: int
    marks: tuple[int, ...]
    size: tuple[int, int]
    unit: tuple[float, float]
    reach: tuple[float, float]


def machine_form(described: Described) -> tuple[dict[str, Any], list[Part]]:
    """The description as quantising leaves it, the background's logit taken from the others."""
    post = {"kind": "detection", **described.fields}
    if post["score"] != "softmax":
        return post, described.parts
    background, count = post.pop("background", 0), len(post["labels"]) + 1
    post["score"] = "sigmoid"
    if count > 2:
        post["score"], post["background"] = "softmax", "zero"
    classes = {level["class"] for level in post["levels"]}
    parts = []
    for p in described.parts:
        if p.name in classes:
            keep = [i for i in range(len(p.channel)) if i % count != background]
            p = Part(p.name, p.source, tuple(p.channel[i] for i in keep),
                     tuple(p.factor[i] for i in keep), tuple(p.shift[i] for i in keep))
        parts.append(p)
    return post, parts


def prove(
    known: Known, levels: Sequence[FittedLevel], post: Mapping[str, Any], parts: Sequence[Part],
) -> Deviation:
    """Random stored heads through both; the largest differences.

    Parameters
    ----------
    post:
        The description that the machine gets.
    parts:
        Its tensors. Channels of the tail that are in none are 0.

    Raises
    ------
    NotATail
        If a difference is larger than what the tables' rounding explains; it says where.
    """
    graph = _graph(known, post, parts)
    detect = describe(graph, preset("pynq-z2"))
    assert detect is not None
    random, worst = np.random.default_rng(5), Deviation(0.0, 0.0)
    for _ in range(_TURNS):
        stored: dict[str, Ints] = {p.name: random.integers(
            -128, 128, graph.tensors[p.name].shape) for p in parts}
        table = known.rows.table(known.tail.run(_heads(known.tail, graph, parts, stored)))
        for number, (fitted, level) in enumerate(zip(levels, detect.levels)):
            found = _Compared(known, fitted, level, table, decode(level, stored), f"level {number}")
            worst = Deviation(max(worst.box, found.boxes()), max(worst.score, found.scores()),
                              max(worst.point, found.points()))
    return worst


def _graph(known: Known, post: Mapping[str, Any], parts: Sequence[Part]) -> Graph:
    """Nothing but the input and the heads, with scales that reach what is usual."""
    function = post["box"].get("function") if post["box"]["kind"] == "distance" else None
    tensors = {"image": Tensor("image", (3, known.size[1], known.size[0]), 1.0)}
    boxes = {level["box"] for level in post["levels"]}
    for p in parts:
        shape = (len(p.channel), *known.tail.shapes[p.source][1:])
        scale, zero = _STEP, 0
        if p.name in boxes and post["box"]["kind"] in ("ssd", "grid", "yolov3", "distance"):
            scale /= 2
            zero = -128 if function == "linear" else 0  # what is below 0 is none to the machine
        if p.name in boxes and post["box"]["kind"] == "linear":
            scale, zero = 4 * scale, -128
        tensors[p.name] = Tensor(p.name, shape, scale, zero)
    graph = Graph("tail")
    graph.tensors, graph.inputs, graph.meta = tensors, ["image"], {"postprocess": dict(post)}
    return graph


def _heads(tail: Tail, graph: Graph, parts: Sequence[Part], stored: Mapping[str, Ints]
           ) -> dict[str, NDArray[np.float32]]:
    """What the file's convolutions would give."""
    heads = {h: np.zeros(s, np.float32) for h, s in tail.shapes.items()}
    for p in parts:
        t = graph.tensors[p.name]
        real = (stored[p.name] - t.zero_point) * t.scale
        back = (real - np.reshape(p.shift, (-1, 1, 1))) / np.reshape(p.factor, (-1, 1, 1))
        heads[p.source][list(p.channel)] = back.astype(np.float32)
    return heads


class _Compared:
    """One level as the file and as the machine decode it."""

    def __init__(self, known: Known, fitted: FittedLevel, level: DetectLevel,
                 table: NDArray[np.float32], machine: Decoded, where: str) -> None:
        self.known, self.fitted, self.level, self.where = known, fitted, level, where
        self.machine = machine
        a, (h, w) = len(fitted.boxes), fitted.level.size
        self.rows = table[fitted.level.row].astype(np.float64)  # [A, cells, K]
        self.shape = a, h, w

    def scores(self) -> float:
        truth = np.stack([self._scores(i) for i in range(self.shape[0])])  # [A, cells, n]
        found = self.machine.scores.reshape(*truth.shape[:1], truth.shape[2], -1).swapaxes(1, 2)
        return self._difference(found / (1 << Arch.SCORE_BITS), truth, _SCORE, "score")

    def _scores(self, anchor: int) -> Floats:
        s = self.fitted.scores[anchor]
        found: Floats = self.rows[anchor][:, list(s.columns)]
        return found if s.partner is None else found * self.rows[anchor][:, [s.partner]]

    def boxes(self) -> float:
        first, known = self.known.box, self.known
        truth = np.stack([corners(self.rows[i][:, first:first + 4], b.form, known.unit)
                          for i, b in enumerate(self.fitted.boxes)])
        found = self.machine.boxes.reshape(self.shape[0], 4, -1).swapaxes(1, 2) / Arch.BOX_STEPS
        for axis in (0, 1):
            if known.reach[axis]:
                found[:, :, axis::2] = found[:, :, axis::2].clip(0, known.reach[axis])
        return self._difference(found, truth, self._bound(truth), "box")

    def _bound(self, truth: Floats) -> Floats:
        """Pixels that tables, strides and anchors of limited precision may move an edge."""
        level, unit = self.level, Arch.BOX_STEPS
        extent = np.abs(truth[..., 2:] - truth[..., :2]).max(axis=2, keepdims=True)
        both = np.array([a[:2] for a in level.anchors]) / unit
        sides, exact = both.max(axis=1), both.min()
        steps = sides[:, None, None] * (2.0 ** -level.size_shift + 2.0 ** -level.centre_shift)
        cells = max(self.fitted.level.size) * self._stride_error()
        bound: Floats = 2.5 / unit + steps + extent * (0.5 / unit / exact + 1e-4) + cells
        return bound

    def _stride_error(self) -> float:
        fits = [a for b in self.fitted.boxes for a in (b.x, b.y) if a.stride]
        return max([abs(a.stride - s / Arch.BOX_STEPS) for a in fits
                    for s in self.level.stride if a.stride
                    and abs(a.stride - s / Arch.BOX_STEPS) < 1 / Arch.BOX_STEPS] or [0.0])

    def points(self) -> float:
        if not self.known.marks:
            return 0.0
        unit = np.array([self.known.unit[i % 2] for i in range(len(self.known.marks))])
        truth = self.rows[:, :, list(self.known.marks)] * unit
        found = self.machine.marks.reshape(self.shape[0], len(unit), -1).swapaxes(1, 2)
        bound = 2 / Arch.BOX_STEPS + 2.0 ** -self.level.mark_shift * max(
            max(a[:2]) for a in self.level.anchors) / Arch.BOX_STEPS
        bound += max(self.fitted.level.size) * self._stride_error()
        return self._difference(found / Arch.BOX_STEPS, truth, bound, "landmark")

    def _difference(self, found: Floats, truth: Floats, bound: Floats | float, what: str) -> float:
        inside = np.all(np.abs(truth) < _REACH, axis=2, keepdims=True)
        off = np.where(inside, np.abs(found - truth), 0)
        if np.any(off > bound):
            a, cell, k = np.unravel_index(np.argmax(off - bound), off.shape)
            y, x = divmod(int(cell), self.shape[2])
            raise NotATail(
                f"{self.where}, anchor {a}, cell {x}, {y}: value {k} of the {what} is "
                f"{truth[a, cell, k]:.6g} in the file and {found[a, cell, k]:.6g} as described")
        return float(off.max())
