"""Random detection heads: a ``detect`` header (falconet.isa.program.forms) and its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import Arch
from falconet.isa.program.forms import Detect
from falconet.isa.schema import read

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]


def sigmoid(r: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(r / 2))  # which no r overflows, as exp would


# What a box channel's real value means (falconet_models.metadata): centre, size.
KINDS: dict[str, tuple[Function, Function]] = {
    "ssd": (lambda r: 0.1 * r, lambda r: np.exp(0.2 * r)),
    "grid": (lambda r: r, np.exp),
    "yolo": (lambda r: 2 * sigmoid(r) - 0.5, lambda r: (2 * sigmoid(r)) ** 2),
    "linear": (lambda r: r, lambda r: np.maximum(r, 0)),
    "exp": (lambda r: r, np.exp),
}


def fit(values: Floats, lo: int, hi: int) -> tuple[list[int], int]:
    """Integers of the largest shift in [1, 15] for which all fit, clamped if none does."""
    for shift in range(15, 0, -1):
        entries = np.rint(values * 2.0**shift)
        if lo <= entries.min() and entries.max() <= hi:
            break
    return entries.clip(lo, hi).astype(int).tolist(), shift


def real(quant: list[float]) -> Floats:
    """What the 256 stored values mean."""
    return (np.arange(-128, 128) - quant[1]) * quant[0]


def probability(quant: list[float]) -> list[int]:
    return np.minimum(np.rint(65536 * sigmoid(real(quant))), 65535).astype(int).tolist()


def exponentials(scale: float) -> list[int]:
    """65,535 times exp(-255 * scale) to exp(0)."""
    return [round(65535 * float(np.exp(-k * scale))) for k in range(255, -1, -1)]


def random_level(
    rng: np.random.Generator, number: int, size: tuple[int, int], kind: str, *, classes: int,
    anchors: int, points: int, objectness: bool, form: int, grid: int, clip: list[int], wild: bool,
    bins: int = 0, softmax: bool = False,
) -> dict[str, Any]:
    """A level of stride ``8 * 2**number`` pixels; ``wild`` boxes reach every saturation, and
    exponentials are those of wide scales."""
    stride = 8 << number
    quant = {name: [float(rng.uniform(0.03, 0.09)), int(rng.integers(-30, 31))]
             for name in ("scores", "objectness", "landmarks")}
    span = {"ssd": 5.0, "grid": 1.5, "yolo": 4.0, "linear": 3.0, "exp": 1.5}[kind]
    quant["boxes"] = [span * (12 if wild else 1) / 128, int(rng.integers(-30, 31))]
    centre, centre_shift = fit(KINDS[kind][0](real(quant["boxes"])), -32768, 32767)
    length, size_shift = fit(KINDS[kind][1](real(quant["boxes"])), 0, 65535)
    mark, mark_shift = fit(KINDS[kind][0](real(quant["landmarks"])), -32768, 32767)
    sizes = rng.integers(64, 65536 if wild else 1024, (anchors, 2))
    if kind in ("grid", "linear", "exp"):
        sizes[:] = 16 * stride
    corner = int(rng.choice([0, 8 * stride]))
    more: dict[str, Any] = {}
    if bins:
        wide = rng.choice([0.003, 0.06, 2.0]) if wild else rng.uniform(0.03, 0.2)
        quant["boxes"][0] = float(wide)
        length, size_shift = exponentials(quant["boxes"][0]), 11
        more["bins"] = bins
    if softmax:
        more |= {"softmax": exponentials(quant["scores"][0]), "background": quant["scores"][1]}
    return more | {
        "kind": kind, "quant": quant,  # for float decoders; no part of a program
        "scores": f"scores{number}", "boxes": f"boxes{number}",
        "objectness": f"objectness{number}" if objectness else "",
        "landmarks": f"landmarks{number}" if points else "",
        "options": Arch.ROW_BYTES * number, "n_class": classes,
        "height": max(1, size[0] // stride), "width": max(1, size[1] // stride),
        "stride": [16 * stride, 16 * stride], "grid": grid, "form": form,
        "centre_shift": centre_shift, "size_shift": size_shift, "mark_shift": mark_shift,
        "clip": clip, "anchors": [[int(w), int(h), corner, corner] for w, h in sizes],
        "score": probability(quant["scores"]),
        "objectness_table": probability(quant["objectness"]) if objectness else [],
        "centre": centre, "size": length, "mark": mark if points else [],
    }


def random_tensors(rng: np.random.Generator, level: dict[str, Any], points: int, score: float,
                   hits: float) -> dict[str, NDArray[np.int8]]:
    """Heads of a level in which the share ``hits`` of the scores reaches ``score``."""
    h, w, anchors = level["height"], level["width"], len(level["anchors"])

    def full(channels: int) -> NDArray[np.int8]:
        return rng.integers(-128, 128, (channels, h, w)).astype(np.int8)

    scores = rng.integers(-128, 128, (anchors * level["n_class"], h, w))
    least = sum(entry < round(score * 65536) for entry in level["score"]) - 128
    if least > -128:
        scores = rng.integers(-128, least, scores.shape)
    if least < 128:
        hit = rng.random(scores.shape) < hits
        scores[hit] = rng.integers(least, 128, scores.shape)[hit]
    tensors = {level["scores"]: scores.astype(np.int8), level["boxes"]: full(
        4 * anchors * level.get("bins", 1))}
    if level["objectness"]:
        tensors[level["objectness"]] = full(anchors)
    if points:
        tensors[level["landmarks"]] = full(2 * points * anchors)
    return tensors


def head_of(detect: dict[str, Any]) -> Detect:
    """What a program with this header says of its head."""
    return read(Detect, detect, "detect")


def random_head(
    rng: np.random.Generator, arch: Arch, *, levels: int = 2, classes: int = 3, anchors: int = 2,
    points: int = 0, objectness: bool = False, form: int = 0, grid: int = 0,
    mode: str = "greedy", hits: float = 0.05, size: tuple[int, int] | None = None,
    wild: bool = False, bins: int = 0, softmax: bool = False,
) -> tuple[dict[str, Any], dict[str, NDArray[np.int8]]]:
    """``(detect, tensors)``: a header and its heads, int8 [C, H, W].

    Parameters
    ----------
    hits:
        Share of the score bytes that pass the least score (fewer remain with objectness).
    size:
        Height and width of the input in pixels; None: 24 to 63 each.
    wild:
        Sizes and offsets so great that every saturation is met.
    bins, softmax:
        Distances of so many bins a side (form 1); scores that are a softmax.

    ``options`` and ``weights`` lie one after the other in segment INPUT from 0, ``output`` is 0:
    change them as the program needs.
    """
    height, width = size or (int(v) for v in rng.integers(24, 64, 2))
    kinds = {(0, 0): ["ssd"], (0, 1): ["grid", "yolo"]}.get((form, grid), ["linear", "exp"])
    kind = str(rng.choice(kinds))
    rows = -(-2 * points // 8)
    room = arch.candidates // (1 + rows)
    score = float(rng.choice([0.1, 0.3, 0.5]))
    clip = [0, 16 * width, 0, 16 * height] if rng.integers(2) else [-32768, 32767] * 2
    detect: dict[str, Any] = {
        "mode": mode, "agnostic": bool(rng.integers(2)), "limit": min(room, int(rng.choice(
            [3, 10, 40, room]))), "points": points, "score": score,
        "iou": float(rng.choice([0.2, 0.45, 0.7])), "sigma": float(rng.choice([0.2, 0.5, 1.0])),
        "rows": rows, "output": 0,
        "weights": Arch.ROW_BYTES * levels if mode == "soft_gaussian" else -1,
        "levels": [
            random_level(
                rng, i, (height, width), kind, classes=classes, anchors=anchors, points=points,
                objectness=objectness, form=form, grid=grid, clip=clip, wild=wild, bins=bins,
                softmax=softmax)
            for i in range(levels)
        ],
    }
    tensors: dict[str, NDArray[np.int8]] = {}
    for level in detect["levels"]:
        tensors |= random_tensors(rng, level, points, score, hits)
    return detect, tensors
