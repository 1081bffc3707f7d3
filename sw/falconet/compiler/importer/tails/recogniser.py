"""A whole file with a detector's tail: recognised, cut at its heads, described, and proved."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from falconet.compiler.importer.tails.head_split import Part, split
from falconet.compiler.importer.tails.probing import Prober, rows_of
from falconet.compiler.importer.tails.proof import Deviation
from falconet.compiler.importer.tails.table_fit import TableFit
from falconet.compiler.importer.tails.tail_graph import NotATail, find

__all__ = ["Recognised", "names_of", "recognise", "without"]


@dataclass(frozen=True)
class Recognised:
    """``model`` has the heads that ``description`` (``falconet_models.metadata``) names too.

    ``notes``: what the file did not say and was taken to be so. ``parts``: what the heads are
    of the file's last convolutions.
    """

    model: onnx.ModelProto
    description: dict[str, Any]
    deviation: Deviation
    notes: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def line(self) -> str:
        """What was recognised, in one line."""
        d = self.description
        strides = ", ".join(_number(level["stride"]) for level in d["levels"])
        anchors = len(d["levels"][0].get("anchors", [0]))
        points = f", landmarks within {self.deviation.point:.2f}" if self.deviation.point else ""
        text = (f"{_title(d)} of {len(d['labels'])} classes, {len(d['levels'])} levels of stride "
                f"{strides}, {anchors} {'anchors' if anchors > 1 else 'anchor'} each")
        proof = [f"proved: boxes within {self.deviation.box:.2f} pixels{points}, scores within "
                 f"{self.deviation.score:.5f}"] if self.deviation.score else []
        return "; ".join([text, *proof, *self.notes])


def _number(value: Any) -> str:
    return " x ".join(f"{v:g}" for v in reversed(value)) if isinstance(value, list) else (
        f"{value:g}")


def _title(d: Mapping[str, Any]) -> str:
    box, scores = d["box"], d.get("score", "sigmoid")
    kinds = {"dfl": f"distances of {box.get('bins')} bins", "distance":
             f"distances ({box.get('function', 'linear')})", "ssd": "boxes around anchors (SSD)",
             "grid": "boxes in cells (YOLOX)", "yolo": "boxes of anchors (YOLOv5)",
             "yolov3": "boxes of anchors (YOLOv3)", "linear": "linear boxes"}
    rule = {"sigmoid": "sigmoid", "softmax": "softmax with background",
            "geometric": "root of class times centerness"}[scores]
    more = " times objectness" if scores == "sigmoid" and "objectness" in d["levels"][0] else ""
    return f"{kinds[box['kind']]}, scores by {rule}{more}"


def recognise(model: onnx.ModelProto, metadata: Mapping[str, str] | None = None) -> Recognised:
    """The description of a float model's tail.

    Parameters
    ----------
    model:
        Constants folded, shapes inferred, one input [1, C, H, W], no suppression at the end.
    metadata:
        Of the file: ``names`` as Ultralytics writes them.

    Raises
    ------
    NotATail
        Why what follows the last convolutions is not understood, by the file's names.
    """
    tail = find(model)
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    prober, names = Prober(tail), names_of(metadata or {})
    reasons, done = [], None
    tables = rows_of(prober)
    for rows in sorted(tables, key=lambda r: -len(r.cell)):
        try:
            done = TableFit(tail, prober, rows, (dims[3], dims[2]), names).described()
            break
        except NotATail as e:
            reasons.append(f"output '{tail.outputs[rows.outputs[0][0]]}': {e}")
    if done is None:
        raise NotATail(reasons[0] if reasons else "no output is computed from the heads")
    described, deviation, notes = done
    parts, used = described.parts, int(np.bitwise_or.reduce(rows.mask))
    gone = [tail.outputs[i] for t in tables if int(np.bitwise_or.reduce(t.mask)) & used
            for i, _ in t.outputs]
    left = sorted(set(gone) - {tail.outputs[i] for i, _ in rows.outputs})
    if left:
        notes.append(f"left out: {', '.join(left)}")
    post = {"kind": "detection", **described.fields}
    return Recognised(without(split(model, parts), gone), post,
                      deviation, notes, parts)


def without(model: onnx.ModelProto, outputs: list[str]) -> onnx.ModelProto:
    """The model without some of its outputs; nodes stay."""
    kept = [o for o in model.graph.output if o.name not in outputs]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def names_of(metadata: Mapping[str, str]) -> list[str]:
    """Class names out of a file's metadata, by their numbers; none if it has none."""
    try:
        found = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if isinstance(found, dict) and all(isinstance(k, int) for k in found):
        found = [found[k] for k in sorted(found)]
    return [str(v) for v in found] if isinstance(found, (list, tuple)) else []
