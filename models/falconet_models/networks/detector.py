"""Detectors: a MobileNet, an optional top-down neck, and a head with or without anchors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from falconet.isa import FalconetError, near
from falconet.isa.errors import shown
from falconet_models.checked import STRICT, Finite, Part, Side, checked
from falconet_models.networks.heads import (
    ANCHORED,
    BoxCode,
    Branches,
    Maps,
    Priors,
    Raw,
    flatten,
)
from falconet_models.networks.layers import Add, Input, Style, Unit, Upsample
from falconet_models.networks.mobilenet import Backbone, BackboneConfig, Separable, input_step

__all__ = ["PRESETS", "Detector", "DetectorConfig", "preset"]

Positive = Annotated[float, Field(gt=0, le=1e4)]
Anchors = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=16)]
Strides = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...],
                    Field(min_length=1, max_length=8)]


@dataclass(frozen=True)
class DetectorConfig:
    """All that defines a detector but its weights; :meth:`to_dict` is JSON.

    Members
    -------
    labels:
        Names of the classes.
    size:
        [height, width] of the input.
    features:
        Strides at which the backbone's features are taken.
    levels:
        Strides at which boxes are predicted: of ``features``, and beyond them by further strided
        convolutions of ``extra`` channels (of ``neck`` channels if there is a neck).
    neck:
        Channels of the top-down neck (feature pyramid), which doubles strides; 0 for none.
    depth:
        Separable convolutions of a head's branch before the last.
    box:
        ``ssd`` or ``yolo`` (anchors), ``grid`` or ``distance`` (anchor-free).
    function:
        Of ``distance``.
    objectness:
        Predict whether there is an object, apart from its class.
    scales, ratios:
        Anchors of every level: ``scale * stride`` is the root of the area, ``ratio`` is height by
        width.
    offset:
        Of a cell's centre from its corner, in strides.
    mean, std:
        Of the pixels, 0 to 255, in R, G, B.
    pad:
        Pixel value around a letterboxed photograph, to be the data's too.
    """

    labels: Annotated[tuple[str, ...], Field(max_length=10_000)]
    name: str = "detector"
    size: Side = (320, 320)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    features: Strides = (16, 32)
    levels: Strides = (16, 32)
    neck: Annotated[int, Field(ge=0, le=2048)] = 0
    extra: Annotated[int, Field(ge=2, le=2048)] = 128
    depth: Annotated[int, Field(ge=0, le=16)] = 0
    box: str = "distance"
    function: str = "exp"
    variances: tuple[Positive, Positive] = (0.1, 0.2)
    objectness: bool = False
    scales: Anchors = (3.0, 4.2)
    ratios: Anchors = (1.0, 0.5, 2.0)
    offset: Part = 0.5
    mean: tuple[Finite, Finite, Finite] = (128.0, 128.0, 128.0)
    std: tuple[Positive, Positive, Positive] = (64.0, 64.0, 64.0)
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    clip: bool = True
    nms: Literal["greedy", "soft_linear", "soft_gaussian", "diou"] = "greedy"
    maximum: Annotated[int, Field(ge=1, le=65_535)] | None = None
    score_threshold: Part = 0.5
    nms_threshold: Part = 0.45
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        BoxCode(self.box, self.variances, self.function)
        last = max(self.features, default=0)
        beyond = [s for s in self.levels if s > last]
        if set(self.levels) - set(beyond) - set(self.features) or not self.levels:
            raise FalconetError(f"levels {list(self.levels)}: those up to {last} must be among "
                                f"features {list(self.features)}; mend one of them")
        if beyond != [last << i for i in range(1, len(beyond) + 1)]:
            raise FalconetError(f"levels {beyond} beyond the backbone must double {last}; "
                                "leave none out")
        if list(self.levels) != sorted(set(self.levels)):
            raise FalconetError(f"levels {list(self.levels)}: give them in rising order")
        if self.neck and self.levels[0] > self.features[0]:
            raise FalconetError(f"features {list(self.features)}: nothing is predicted at "
                                f"{self.features[0]}; leave it out")
        largest = max(last, *self.levels)
        if any(s % largest or s < largest for s in self.size):
            raise FalconetError(f"size {list(self.size)}: use multiples of {largest}, the largest "
                                "stride")
        if not self.labels:
            raise FalconetError("labels: there are none; name the classes")

    def anchors(self, stride: int) -> list[tuple[float, float]]:
        """[width, height] of a level's anchors in pixels; of the stride's size without anchors."""
        if self.box not in ANCHORED:
            return [(float(stride), float(stride))]
        return [(scale * stride / ratio**0.5, scale * stride * ratio**0.5)
                for scale in self.scales for ratio in self.ratios]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "") -> DetectorConfig:
        """Inverse of :meth:`to_dict`; refused are unknown fields and values out of bounds."""
        return checked(cls, values, where)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


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
        """The head as ``falconet.isa.heads.parse`` takes it: kind ``detection``."""
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


_DIGITS = tuple("0123456789")

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "labels": _DIGITS, "size": (96, 96),
        "backbone": BackboneConfig("mobilenetv1", 0.25, repeats=0),
        "features": (8, 16), "levels": (8,), "neck": 48,
    },
    "ssdlite-mobilenetv2": {
        "box": "ssd", "features": (16, 32), "levels": (16, 32, 64),
    },
    "retinanet-mobilenetv2": {
        "box": "ssd", "backbone": BackboneConfig("mobilenetv2", 0.5), "features": (8, 16, 32),
        "levels": (8, 16, 32), "neck": 64, "depth": 1, "scales": (3.0, 3.8, 4.8),
    },
    "grid-mobilenetv1": {
        "backbone": BackboneConfig("mobilenetv1", 0.5), "features": (8, 16, 32),
        "levels": (8, 16, 32), "neck": 64, "box": "grid", "objectness": True, "offset": 0.0,
    },
    "grid-mobilenetv2": {
        "backbone": BackboneConfig("mobilenetv2", 0.5), "features": (8, 16, 32),
        "levels": (8, 16, 32), "neck": 64,
    },
    "grid-mobilenetv3": {
        "backbone": BackboneConfig("mobilenetv3-small", 1.0, squeeze=False),
        "features": (8, 16, 32), "levels": (8, 16, 32), "neck": 64,
    },
}
"""Fields of :class:`DetectorConfig` by name of the preset."""


def preset(name: str, **changes: Any) -> DetectorConfig:
    """The preset ``name`` with some fields changed; all but ``digits`` need ``labels``."""
    if name not in PRESETS:
        raise FalconetError(f"network {shown(name)} is unknown; {near(name, PRESETS)}choose one "
                            f"of: {', '.join(PRESETS)}")
    fields = {"name": name, **PRESETS[name], **changes}
    if "labels" not in fields:
        raise FalconetError(f"network '{name}': labels are missing; name the classes")
    return DetectorConfig(**fields)
