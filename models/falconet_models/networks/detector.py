"""Detectors: a MobileNet, an optional top-down neck, and a head with or without anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from falconet_models.architecture import ANCHORED, DetectorConfig
from falconet_models.networks.heads import (
    BoxCode,
    Branches,
    Maps,
    Priors,
    Raw,
    flatten,
)
from falconet_models.networks.layers import Add, Input, Style, Unit, Upsample
from falconet_models.networks.mobilenet import Backbone, Separable, input_step

__all__ = ["Detector"]

class _TopDown(nn.Module):
    """A feature pyramid: every level gets what the coarser ones know (Lin et al., 2017).

    Levels that nobody sees (``used``) end at the sum.
    """

    def __init__(self, style: Style, inputs: Sequence[int], out: int, used: Sequence[bool]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(Unit(style, c, out) for c in inputs)
        self.up = Upsample()
        self.add = nn.ModuleList(Add(style) for _ in inputs[1:])
        self.smooth = nn.ModuleList(
            Separable(style, out, out, act="relu") if u else nn.Identity() for u in used)

    def forward(self, features: list[Any]) -> list[Any]:
        found = [lateral(x) for lateral, x in zip(self.lateral, features)]
        for i in reversed(range(len(found) - 1)):
            found[i] = self.add[i](found[i], self.up(found[i + 1]))
        return [smooth(x) for smooth, x in zip(self.smooth, found)]


class _Coarser(nn.Module):
    """One level beyond the features: pointwise to half the channels, then a strided separable."""

    def __init__(self, style: Style, inp: int, out: int) -> None:
        super().__init__()
        self.reduce = Unit(style, inp, out // 2, act="relu")
        self.shrink = Separable(style, out // 2, out, 2, act="relu")

    def forward(self, x: Any) -> Any:
        return self.shrink(self.reduce(x))


class Detector(nn.Module):
    """``forward`` gives the raw maps by level, ``decode`` makes boxes and scores of them.

    Input: float32 [B, 3, H, W], ``(pixel - mean) / std``; H and W may differ from ``config.size``
    where they are multiples of the largest stride.
    """

    def __init__(self, config: DetectorConfig, style: Style = "float") -> None:
        super().__init__()
        self.config, self.style = config, style
        self.code = BoxCode(config.box, config.variances, config.function)
        self.input = Input(style, input_step(config.mean, config.std))
        self.backbone = Backbone(style, config.backbone, config.features)
        channels = dict(zip(config.features, self.backbone.channels))
        self.neck = None
        if config.neck:
            last = config.features[-1] if config.levels[-1] > config.features[-1] else 0
            self.neck = _TopDown(style, self.backbone.channels, config.neck,
                                 [s in (*config.levels, last) for s in config.features])
            channels = dict.fromkeys(config.features, config.neck)
        last, self.coarser = config.features[-1], nn.ModuleList()
        for stride in (s for s in config.levels if s > config.features[-1]):
            channels[stride] = config.neck or config.extra
            self.coarser.append(_Coarser(style, channels[last], channels[stride]))
            last = stride
        self._strides = (*config.features, *(s for s in config.levels if s not in config.features))
        self.heads = nn.ModuleList(
            Branches(style, channels[s], len(config.labels), len(config.anchors(s)), self.code,
                     depth=config.depth, objectness=config.objectness)
            for s in config.levels)

    def forward(self, x: torch.Tensor) -> Maps:
        features = self.features(x)
        return [head(f) for head, f in zip(self.heads, features)]

    def features(self, x: torch.Tensor) -> list[Any]:
        """What the heads see, by level (for distillation; see :func:`layers.real`)."""
        found = self.backbone(self.input(x))
        if self.neck is not None:
            found = self.neck(found)
        for more in self.coarser:
            found.append(more(found[-1]))
        return [f for f, s in zip(found, self._strides) if s in self.config.levels]

    def priors(self, maps: Maps) -> Priors:
        """Where the predictions of such maps sit."""
        centres, sizes, strides, counts = [], [], [], []
        for level, stride in zip(maps, self.config.levels):
            h, w = level["class"].shape[2:]
            device = level["class"].device
            anchors = torch.tensor(self.config.anchors(stride), device=device)
            y = (torch.arange(h, device=device) + self.config.offset) * stride
            x = (torch.arange(w, device=device) + self.config.offset) * stride
            cells = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 1, 2)
            n = len(anchors)
            centres.append(cells.expand(h * w, n, 2).reshape(-1, 2))
            sizes.append(anchors.expand(h * w, n, 2).reshape(-1, 2))
            strides.append(torch.full((h * w * n,), float(stride), device=device))
            counts.append(h * w * n)
        return Priors(torch.cat(centres), torch.cat(sizes), torch.cat(strides), tuple(counts))

    def flatten(self, maps: Maps) -> Raw:
        """The maps as rows, in the order of :meth:`priors`."""
        return flatten(maps, [len(self.config.anchors(s)) for s in self.config.levels])

    def decode(self, maps: Maps) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes [B, N, 4] in pixels of the input and scores [B, N, classes]; not suppressed."""
        raw = self.flatten(maps)
        boxes = self.code.decode(raw.boxes, self.priors(maps))
        if self.config.clip:
            height, width = (n * self.config.levels[0] for n in maps[0]["class"].shape[2:])
            high = torch.tensor([width, height] * 2, device=boxes.device)
            boxes = boxes.clamp(min=0).minimum(high)
        return boxes, raw.scores()

    def outputs(self) -> list[tuple[str, int, str]]:
        """Name, level and part of every map that an exported network has."""
        parts = ("class", "box", *["objectness"] * self.config.objectness)
        return [(f"{part}.{i}", i, part) for i in range(len(self.config.levels)) for part in parts]

    def description(self) -> dict[str, Any]:
        """The head as ``falconet.isa.metadata.head.parse`` takes it: kind ``detection``."""
        c = self.config
        levels: list[dict[str, Any]] = [{"stride": s} for s in c.levels]
        for level, stride in zip(levels, c.levels):
            if c.box in ANCHORED:
                level["anchors"] = [list(a) for a in c.anchors(stride)]
        for name, i, part in self.outputs():
            levels[i][part] = name
        return {
            "kind": "detection", "labels": list(c.labels), "levels": levels,
            "box": self.code.description(), "offset": c.offset, "clip": c.clip, "nms": c.nms,
            "score_threshold": c.score_threshold, "nms_threshold": c.nms_threshold,
            **({} if c.maximum is None else {"maximum": c.maximum}),
        }

    def preprocess(self) -> dict[str, Any]:
        """How a photograph becomes the input: see ``falconet_models.metadata``."""
        c = self.config
        return {"fit": "letterbox", "size": list(c.size), "colour": "RGB", "mean": list(c.mean),
                "std": list(c.std), "pad": [c.pad] * 3}
