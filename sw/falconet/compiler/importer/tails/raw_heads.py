"""Heads that a file gives as they are: which tensors and channels they are, for a decoder by hand.

A file without decoded boxes does not say what its offsets mean. Who knows that says so in a
description without tensors; what rows the file has, it says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from falconet.compiler.importer.tails.head_split import Part, split
from falconet.compiler.importer.tails.probing import Level, Prober, Rows, levels_of, rows_of
from falconet.compiler.importer.tails.proof import Deviation
from falconet.compiler.importer.tails.recogniser import Recognised, names_of, without
from falconet.compiler.importer.tails.sampling import draw
from falconet.compiler.importer.tails.score_fit import Column, Scores, columns, scores
from falconet.compiler.importer.tails.tail_graph import NotATail, Tail, find
from falconet.isa.metadata.head import parse

__all__ = ["complete", "is_partial"]

_WITH_OBJECTNESS = ("yolo", "yolov3", "grid")


def is_partial(description: Any) -> bool:
    """Whether a description says how boxes are decoded and names no tensor."""
    if not isinstance(description, Mapping) or not isinstance(description.get("box"), Mapping):
        return False
    levels = description.get("levels", [{}])
    return isinstance(levels, list) and bool(levels) and all(
        isinstance(level, Mapping) and not {"class", "box"} & level.keys() for level in levels)


def _check(partial: Mapping[str, Any]) -> None:
    """Refuse a field with a fault, as if tensors, strides and labels were there."""
    parse({"labels": ["-"], **partial, "kind": "detection", "levels": [
        {"stride": 8, **level, "class": "-", "box": "-"} for level in partial.get("levels", [{}])]})


def complete(model: onnx.ModelProto, partial: Mapping[str, Any],
             metadata: Mapping[str, str] | None = None) -> Recognised:
    """The description with the tensors, strides and labels that the file has.

    Parameters
    ----------
    model, metadata:
        As in :func:`recognise`.
    partial:
        A description whose ``levels`` have ``anchors``, or ``stride``, or are not there.

    Raises
    ------
    NotATail
        If its outputs are no rows of values that the last convolutions give.
    FalconetError
        Names the field of ``partial`` that has a fault.
    """
    _check(partial)
    tail = find(model, decoded=False)
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    prober, names = Prober(tail), list(partial.get("labels") or names_of(metadata or {}))
    found: list[tuple[Level, list[Part], Scores]] = []
    for rows in rows_of(prober):
        found += _levels(tail, prober, rows, str(partial["box"].get("kind")), names)
    found.sort(key=lambda f: -f[0].row.shape[1])
    given = list(partial.get("levels") or [{} for _ in found])
    if len(given) != len(found):
        raise NotATail(f"the file has {len(found)} levels of heads and the description "
                       f"{len(given)}")
    levels, parts = [], []
    for entry, (level, roles, _) in zip(given, found):
        height, width = level.size
        sides = [dims[2] / height, dims[3] / width]
        if len(entry.get("anchors", [0])) != len(level.row):
            raise NotATail(f"the level of '{level.tensors[0]}' has {len(level.row)} anchors and "
                           f"the description {len(entry.get('anchors', [0]))}")
        levels.append({"stride": sides[0] if sides[0] == sides[1] else sides, **entry,
                       **{p.name.rpartition(".")[2]: p.name for p in roles}})
        parts += roles
    s = found[0][2]
    labels = names or [f"class {i}" for i in range(len(s.columns))]
    post = {"kind": "detection", "score": s.rule, **({"background": s.background}
                                                     if s.background else {}),
            **partial, "labels": labels, "levels": levels}
    notes = ["the file decodes no boxes, so what is described by hand is not proved"]
    return Recognised(without(split(model, parts), tail.outputs), post, Deviation(0.0, 0.0), notes,
                      parts)


def _levels(tail: Tail, prober: Prober, rows: Rows, box: str, names: list[str]
            ) -> list[tuple[Level, list[Part], Scores]]:
    """Each level of a table, its heads, and the scores of an anchor."""
    levels = levels_of(prober, rows)
    result = []
    for level, samples in zip(levels, draw(tail, rows, levels)):
        roles: dict[str, list[int]] = {"box": [], "class": [], "objectness": [], "landmark": []}
        for a in range(len(level.row)):
            found = columns(level, samples, a)
            first, marks = _box(tail, rows, found)
            rest = {k: _as_score(c) for k, c in enumerate(found)
                    if k not in marks and not first <= k < first + 4}
            if not rest:
                raise NotATail("its rows have boxes and no scores")
            objectness = len(rest) > len(names) if names else box in _WITH_OBJECTNESS
            s = scores(rest, samples, a, first=objectness and len(rest) > 1)
            roles["box"] += [found[k].channels[0] for k in range(first, first + 4)]
            roles["landmark"] += [found[k].channels[0] for k in marks]
            roles["class"] += s.classes
            roles["objectness"] += [] if s.objectness is None else [s.objectness]
        counts = tuple(tail.shapes[t][0] for t in level.tensors)
        parts = [_part(level, counts, role, values) for role, values in roles.items() if values]
        result.append((level, parts, s))
    return result


def _as_score(column: Column) -> Column:
    """Logits are what the machine takes the sigmoid of."""
    return Column("sigmoid", column.channels) if column.kind == "logit" else column


def _box(tail: Tail, rows: Rows, found: list[Column]) -> tuple[int, list[int]]:
    """The first of four offsets, and the columns of landmarks: outputs of their own."""
    at, runs = 0, []
    for number, _ in rows.outputs:
        size = (len(found) if len(rows.outputs) == 1 else
                rows.width_of(tail, number))
        runs.append(range(at, at + size))
        at += size
    offsets = [r for r in runs if all(found[k].kind == "logit" for k in r)]
    own = next((r for r in offsets if len(r) == 4), None)
    if own is not None:
        marks = [k for r in offsets for k in r if r is not own and len(r) % 2 == 0]
        scored = [k for k in range(len(found)) if k not in marks and k not in own]
        return own.start, marks if scored else []
    for first in range(len(found) - 3):
        if all(c.kind == "logit" for c in found[first:first + 4]):
            return first, []
    raise NotATail("no four values of a row are given as a convolution makes them")


def _part(level: Level, counts: tuple[int, ...], role: str, channels: list[int]) -> Part:
    ends = np.cumsum(counts)
    which = {int(np.searchsorted(ends, c, side="right")) for c in channels}
    if len(which) > 1:
        raise NotATail(f"the values of a {role} come from {len(which)} convolutions")
    number = which.pop()
    base = int(ends[number]) - counts[number]
    source = level.tensors[number]
    return Part(f"{source}.{role}", source, tuple(c - base for c in channels),
                (1.0,) * len(channels), (0.0,) * len(channels))
