"""From a photograph to the input tensor, and from the output tensors to what is in the picture.

Everything is taken from a program's ``meta``; ``falconet_models.metadata`` is its reference.
numpy is all that is needed. Pre-processing is in :mod:`falconet.runtime.preprocess`, boxes in float
are in :mod:`falconet.runtime.boxes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch, FalconetError, Program
from falconet.isa.errors import shown
from falconet.runtime.boxes import decode, iou, suppress
from falconet.runtime.detections import Detections
from falconet.runtime.preprocess import Frame, Preprocessor, dequantize, quantize

__all__ = [
    "Classification", "Detection", "Frame", "Preprocessor", "dequantize", "detections_of", "iou",
    "postprocess", "quantize", "real_outputs",
]

Array = NDArray[Any]
Floats = NDArray[np.float32]


def real_outputs(program: Program, outputs: Mapping[str, Array]) -> dict[str, Floats]:
    """The program's outputs, int8, as the numbers that they stand for."""
    return {
        t["name"]: dequantize(outputs[t["name"]], float(t["scale"]), int(t["zero_point"]))
        for t in program.header["outputs"]
    }


@dataclass(frozen=True)
class Detection:
    """An object: its box (left, top, width, height) and landmarks in pixels of the photograph."""

    class_name: str
    score: float
    x: float
    y: float
    w: float
    h: float
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Classification:
    """A class and its probability."""

    class_name: str
    score: float
    index: int


def _softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def _classification(logits: Array, labels: Sequence[str], top: int) -> list[Classification]:
    p = _softmax(logits.astype(np.float64).reshape(-1))
    if labels and len(labels) != p.size:
        raise FalconetError(
            f"meta: postprocess.labels has {len(labels)} names for {p.size} classes; give as many"
        )
    best = np.argsort(-p, kind="stable")[:top]
    return [Classification(labels[i] if labels else str(i), float(p[i]), int(i)) for i in best]


def _on_photograph(
    frame: Frame, labels: Sequence[str], boxes: Array, scores: Sequence[float],
    classes: Sequence[int], points: Array,
) -> list[Detection]:
    """Detections of boxes (left, top, width, height) in pixels of the network's input."""
    ratio = np.array([frame.scale_x, frame.scale_y])
    corner = np.array([frame.left, frame.top])
    places = np.hstack([(boxes[:, :2] - corner) * ratio, boxes[:, 2:] * ratio])
    marks = (points - corner) * ratio
    return [
        Detection(str(labels[c]), float(s), x, y, w, h, tuple((px, py) for px, py in mark))
        for (x, y, w, h), s, c, mark in zip(places.tolist(), scores, classes, marks.tolist())
    ]


def _detection(
    meta: Mapping[str, Any], get: Callable[[str], Array], frame: Frame,
    score: float | None, overlap: float | None, maximum: int | None,
) -> list[Detection]:
    post = meta["postprocess"]
    size = (meta.get("preprocess") or {}).get("size")
    least = float(post.get("score_threshold", 0.5) if score is None else score)
    boxes = decode(post, get, least=least, size=size)
    kept, scores = suppress(
        boxes, mode=post.get("nms", "greedy"), agnostic=bool(post.get("agnostic", False)),
        threshold=float(post.get("nms_threshold", 0.45) if overlap is None else overlap),
        sigma=float(post.get("sigma", 0.5)), least=least,
        maximum=int(post.get("maximum", 100) if maximum is None else maximum),
    )
    return _on_photograph(frame, post["labels"], boxes.box[kept], scores,
                          boxes.label[kept].tolist(), boxes.points[kept])


def postprocess(
    meta: Mapping[str, Any],
    outputs: Mapping[str, Array],
    frame: Frame | None = None,
    *,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
    maximum: int | None = None,
    top: int = 5,
) -> list[Detection] | list[Classification]:
    """What the network saw, computed on the host in float.

    Parameters
    ----------
    meta:
        The ``meta`` of the program, or of the model, that the outputs are from; its
        ``postprocess`` is used.
    outputs:
        Real (dequantised) tensors by name, [C, H, W] with or without a leading 1.
    frame:
        From the :class:`Preprocessor`; detections need it.
    score_threshold, nms_threshold, maximum:
        Of detections, instead of those of the metadata.
    top:
        Classes to return, most probable first.

    Returns
    -------
    Detections, best score first, or classifications; an empty list without ``postprocess``.
    """
    post = meta.get("postprocess")
    if not isinstance(post, Mapping):
        return []

    def get(name: str) -> Array:
        if name not in outputs:
            raise FalconetError(f"output {shown(name)} is missing; postprocess asks for it")
        value = np.asarray(outputs[name])
        return value[0] if value.ndim == 4 else value

    try:
        if post["kind"] == "classification":
            return _classification(get(post["output"]), post.get("labels", []), top)
        if post["kind"] == "detection":
            if frame is None:
                raise FalconetError("postprocess: frame is missing; pass the preprocessor's")
            return _detection(meta, get, frame, score_threshold, nms_threshold, maximum)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as e:
        raise FalconetError(f"meta: postprocess is unusable ({e}); export the model again"
                            ) from None
    raise FalconetError(
        f"meta: postprocess.kind={shown(post['kind'])} is unknown; use classification or detection"
    )


def detections_of(
    meta: Mapping[str, Any], detections: Detections, frame: Frame
) -> list[Detection]:
    """The machine's own boxes, best first, in pixels of the photograph.

    Parameters
    ----------
    meta:
        The program's ``meta``; the class names of its ``postprocess`` are used.
    detections:
        Of a run (``RunResult.detections``): 1/16 pixel of the network's input.
    frame:
        From the :class:`Preprocessor`.
    """
    labels = (meta.get("postprocess") or {}).get("labels") or []
    records = detections.records
    if len(records) and int(records["label"].max()) >= len(labels):
        raise FalconetError(
            f"meta: postprocess.labels has {len(labels)} names, the machine found class "
            f"{int(records['label'].max())}; recompile the network"
        )
    x1, y1, x2, y2 = (
        records[k].astype(np.float64) / Arch.BOX_STEPS for k in ("x1", "y1", "x2", "y2"))
    return _on_photograph(
        frame, labels, np.stack([x1, y1, x2 - x1, y2 - y1], axis=1),
        (records["score"] / (1 << Arch.SCORE_BITS)).tolist(), records["label"].tolist(),
        detections.landmarks / Arch.BOX_STEPS,
    )
