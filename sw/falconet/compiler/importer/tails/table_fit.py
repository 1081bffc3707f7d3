"""One table of a tail's rows: its columns understood, its levels fitted, the whole proved."""

from __future__ import annotations

import numpy as np

from falconet.compiler.importer.tails.box_fit import BoxFit, axes_of, clipped, fit_box, fit_mark
from falconet.compiler.importer.tails.describing import Described, FittedLevel, Mark, describe_fits
from falconet.compiler.importer.tails.probing import Prober, Rows, levels_of
from falconet.compiler.importer.tails.proof import Deviation, Known, machine_form, prove
from falconet.compiler.importer.tails.sampling import draw
from falconet.compiler.importer.tails.score_fit import Scores, columns, scores
from falconet.compiler.importer.tails.tail_graph import NotATail, Tail

__all__ = ["TableFit"]

_PIXELS = 2.0  # values that mostly stay below are shares of the input's size
_WITH_OBJECTNESS = ("yolo", "yolov3")


class TableFit:
    """One table of rows, all levels of it fitted."""

    def __init__(self, tail: Tail, prober: Prober, rows: Rows, size: tuple[int, int],
                 names: list[str]) -> None:
        self.tail, self.rows, self.size, self.names = tail, rows, size, names
        levels = levels_of(prober, rows)
        samples = draw(tail, rows, levels)
        order = sorted(range(len(levels)), key=lambda i: -levels[i].row.shape[1])
        self.levels = [levels[i] for i in order]
        self.samples = [samples[i] for i in order]
        self.kinds = columns(self.levels[0], self.samples[0], 0)
        self.notes: list[str] = []

    def described(self) -> tuple[Described, Deviation, list[str]]:
        """Description, what was proved, and what was assumed.

        Raises
        ------
        NotATail
            Naming what is not understood.
        """
        first = self._box()
        rest = [k for k, c in enumerate(self.kinds) if c.kind == "other"
                and not first <= k < first + 4]
        boxes = [self._boxes(i, first) for i in range(len(self.levels))]
        chosen = self._score_columns(first, rest)
        objectness = self._objectness(chosen, boxes[0][0])
        fitted = []
        for i, (level, s) in enumerate(zip(self.levels, self.samples)):
            per = [columns(level, s, a) for a in range(len(level.row))]
            found = [scores({k: per[a][k] for k in chosen}, s, a, first=objectness)
                     for a in range(len(level.row))]
            fitted.append(FittedLevel(
                level, tuple(self.tail.shapes[t][0] for t in level.tensors), boxes[i], found,
                self._marks(i, rest), (self.size[0] / level.size[1], self.size[1] / level.size[0])))
        described = describe_fits(fitted)
        self._label(described, fitted[0].scores[0])
        ends = self._ends(boxes[0][0])
        described.fields["clip"] = bool(ends[0])
        known = Known(self.tail, self.rows, first, tuple(rest), self.size, self.unit, ends)
        post, parts = machine_form(described)
        return described, prove(known, fitted, post, parts), self.notes

    def _box(self) -> int:
        """The first column of the boxes; their unit and where they end are set."""
        kinds = [c.kind for c in self.kinds]
        starts = [k for k in range(len(kinds) - 3) if kinds[k:k + 4] == ["other"] * 4]
        if not starts:
            raise NotATail(f"no four values of a row are a box; they are {_counted(kinds)}")
        for first in starts:
            values = self.samples[0].table[:, :, first:first + 4]
            small = np.median(np.abs(values)) < _PIXELS
            self.unit = (float(self.size[0]), float(self.size[1])) if small else (1.0, 1.0)
            ends = [max(clipped(s.table[:, :, [first + k, first + k + 2]].ravel())
                        for s in self.samples) for k in (0, 1)]
            self.reach = (*ends, *ends)
            if any(self.reach):
                self.samples = draw(self.tail, self.rows, self.levels, many=True)
            if self._fit(0, 0, first) is not None:
                return first
        raise NotATail(f"its columns {starts[0]} to {starts[0] + 3} are boxes by none of the "
                       "decoders that the machine has")

    def _fit(self, number: int, anchor: int, first: int) -> BoxFit | None:
        s, level = self.samples[number], self.levels[number]
        return fit_box(s.table[anchor, :, first:first + 4], level.depends[anchor, first:first + 4],
                       s.channels, (s.x, s.y), self.unit, self.reach)

    def _boxes(self, number: int, first: int) -> list[BoxFit]:
        found = []
        for a in range(len(self.levels[number].row)):
            fit = self._fit(number, a, first)
            if fit is None:
                raise NotATail(f"the boxes of level {number}, anchor {a} are decoded unlike those "
                               "of level 0")
            found.append(fit)
        return found

    def _ends(self, box: BoxFit) -> tuple[float, float]:
        """Where boxes are clipped, x and y in pixels."""
        x, y = (max(self.reach[k] for k in axis) * self.unit[i]
                for i, axis in enumerate(axes_of(box.form)))
        for end, size, axis in ((x, self.size[0], "x"), (y, self.size[1], "y")):
            if end and round(end, 2) != size:
                self.notes.append(f"the file ends boxes at {axis} = {end:g}, the machine at {size}")
        return x, y

    def _score_columns(self, first: int, rest: list[int]) -> list[int]:
        """The columns of classes and objectness; what else there is but landmarks is refused."""
        kinds = [c.kind for c in self.kinds]
        left = [k for k in range(len(kinds)) if k not in rest and not first <= k < first + 4
                and kinds[k] != "one"]  # YOLOv6 writes an objectness of 1
        if rest:  # key points have a visibility each, behind the classes
            left = [k for k in left if k < rest[0] or first > rest[-1]] or left
            lost = [k for k, c in enumerate(kinds) if c == "sigmoid" and k not in left]
            if lost:
                self.notes.append(f"the visibility of its {len(lost)} points is left out")
        if not left:
            raise NotATail("it has boxes and no scores")
        chosen = [k for k in left if kinds[k] != "logit"]
        if chosen and len(chosen) < len(left):
            raise NotATail(f"{len(left) - len(chosen)} of its columns are values of a convolution "
                           "as they are (coefficients of masks?), and the machine has no use for "
                           "them")
        return left

    def _objectness(self, chosen: list[int], box: BoxFit) -> bool:
        """Whether the first of the sigmoids is the objectness, of which the file says nothing."""
        kinds = {self.kinds[k].kind for k in chosen}
        if kinds != {"sigmoid"} or len(chosen) < 2:
            return False
        if self.names:
            if len(chosen) - len(self.names) in (0, 1):
                return len(chosen) > len(self.names)
            raise NotATail(f"its rows have {len(chosen)} scores where the file names "
                           f"{len(self.names)} classes")
        ends = np.cumsum([self.tail.shapes[t][0] for t in self.levels[0].tensors])
        homes = [int(np.searchsorted(ends, self.kinds[k].channels[0], side="right"))
                 for k in chosen]
        own = homes[0] not in homes[1:]
        if own or box.x.kind in _WITH_OBJECTNESS:
            self.notes.append("its first score is taken as the objectness")
            return True
        return False

    def _marks(self, number: int, rest: list[int]) -> list[list[Mark]]:
        """Of each anchor its landmarks' channels, corners and gains, in turn x and y."""
        s, level = self.samples[number], self.levels[number]
        if len(rest) % 2:
            raise NotATail(f"{len(rest)} of its columns are neither boxes, scores nor landmarks")
        found = []
        for a in range(len(level.row)):
            marks = []
            for i, k in enumerate(rest):
                fit = fit_mark(s.table[a, :, k] * self.unit[i % 2], level.depends[a, k],
                               s.channels, (s.x, s.y)[i % 2])
                if fit is None:
                    raise NotATail(f"its column {k} is neither of a box, a score nor a landmark")
                marks.append(fit)
            found.append(marks)
        return found

    def _label(self, described: Described, first: Scores) -> None:
        count = len(first.columns)
        if self.names and len(self.names) != count:
            raise NotATail(f"its rows have {count} classes where the file names {len(self.names)}")
        if not self.names:
            self.notes.append("the file has no names of classes")
        if described.fields["box"].get("function") == "linear":
            self.notes.append("a distance below 0 is 0 to the machine")
        if first.assumed:
            self.notes.append("the first class of the softmax is taken as the background")
        described.fields["labels"] = self.names or [f"class {i}" for i in range(count)]


def _counted(kinds: list[str]) -> str:
    return ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
