"""Small networks with a described detection head, as integer graphs."""

from __future__ import annotations

from typing import Any

import networks
import numpy as np

from falconet.compiler.graph import Graph

BOXES: dict[str, dict[str, Any]] = {
    "ssd": {"kind": "ssd", "variances": [0.1, 0.2]},
    "grid": {"kind": "grid"},
    "yolo": {"kind": "yolo"},
    "yolov3": {"kind": "yolov3", "scale": 1.05},
    "blaze": {"kind": "linear", "variances": [0.3, 0.4]},
    "dfl": {"kind": "dfl", "bins": 16},
    "gfl": {"kind": "dfl", "bins": 9},
    "linear": {"kind": "distance"},
    "relu": {"kind": "distance", "function": "relu"},
    "exp": {"kind": "distance", "function": "exp"},
}


def detector(seed: int = 0, *, size: tuple[int, int] = (32, 48), levels: int = 2, classes: int = 3,
             anchors: int = 2, points: int = 0, objectness: bool = False, box: str = "ssd",
             heads: Any = networks.Builder.conv, **post: Any) -> Graph:
    """A backbone of two strided convolutions a level; every head a ``heads(builder, x, channels)``.

    ``post``: further entries of the description.
    """
    b = networks.Builder((3, *size), seed)
    x, outputs, described = b.conv("x", 12, 3, 2), [], []
    for i in range(levels):
        x = b.conv(b.depthwise(x), 20, 3, 2)
        more = post.get("score") == "softmax" and post.get("background", 0) != "zero"
        parts = {"class": anchors * (classes + more),
                 "box": 4 * anchors * BOXES[box].get("bins", 1)}
        if objectness:
            parts["objectness"] = anchors
        if points:
            parts["landmark"] = 2 * points * anchors
        level: dict[str, Any] = {part: heads(b, x, c) for part, c in parts.items()}
        outputs += level.values()
        sides = b.random.integers(8, 60, (anchors, 2)).tolist()
        described.append({"stride": 4 << i, **level, **({"anchors": sides} if box in (
            "ssd", "yolo", "yolov3", "blaze") or anchors > 1 else {})})
    for name in outputs:  # logits and offsets of a sane size, whatever the weights
        b.graph.tensors[name] = networks.Tensor(name, b.shape(name), 0.02,
                                                b.graph.tensors[name].zero_point)
    graph = b.done(*outputs)
    graph.meta = {"postprocess": {
        "kind": "detection", "labels": [f"class {i}" for i in range(classes)],
        "levels": described, "box": BOXES[box], **post,
    }}
    return graph


def random_input(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {n: random.integers(-128, 128, graph.tensors[n].shape).astype(np.int8)
            for n in graph.inputs}
