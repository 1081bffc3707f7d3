"""Small programs that a page can show, for the machine ``tiny``."""

from __future__ import annotations

import io
from typing import Any

import networks
import numpy as np
from detectors import detector
from PIL import Image

from falconet.compiler import compile_graph
from falconet.isa import Program, preset

__all__ = ["classifier", "detector_program", "noise", "png"]

PREPROCESS = {"fit": "stretch", "colour": "RGB", "mean": [120, 120, 120], "std": [60, 60, 60]}
TINY = preset("tiny")


def detector_program(post: str = "machine", **described: Any) -> Program:
    """Of 32 x 48 pixels, three classes, landmarks; ``post``: who makes the boxes."""
    graph = detector(3, points=2, maximum=30, score_threshold=0.5, nms_threshold=0.4, **described)
    graph.meta["preprocess"] = {**PREPROCESS, "size": [32, 48]}
    return compile_graph(graph, TINY, "spots", post=post)


def classifier() -> Program:
    """Of 8 x 8 pixels and seven classes."""
    b = networks.Builder((3, 8, 8), 5)
    graph = b.done(b.conv(b.conv("x", 12, 3, 2), 7, 4, pads=(0, 0, 0, 0)))
    output = graph.outputs[0]
    graph.meta = {"preprocess": {**PREPROCESS, "size": [8, 8]}, "postprocess": {
        "kind": "classification", "output": output, "labels": [f"kind {i}" for i in range(7)]}}
    return compile_graph(graph, TINY, "kinds")


def noise(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """A photograph of coarse noise, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 5, width // 5, 3), np.uint8)
    return coarse.repeat(5, 0).repeat(5, 1)


def png(photograph: np.ndarray, **save: Any) -> bytes:
    """As a file."""
    file = io.BytesIO()
    Image.fromarray(photograph).save(file, "PNG", **save)
    return file.getvalue()
