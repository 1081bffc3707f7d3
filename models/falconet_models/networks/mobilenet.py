"""MobileNetV1, V2 and V3 as a stem and a list of blocks; backbones and classifiers of them.

Tables from the papers: Howard et al., 2017 (table 1); Sandler et al., 2018 (table 2); Howard et
al., 2019 (tables 1 and 2). ``width`` multiplies channels, rounded to multiples of 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from falconet.isa import FalconetError
from falconet_models.architecture import FAMILIES, BackboneConfig
from falconet_models.networks.layers import (
    Act,
    Add,
    Classify,
    Input,
    SqueezeExcite,
    Style,
    Unit,
    divisible,
)

__all__ = ["Backbone", "Classifier", "ClassifierConfig", "Separable",
           "input_step"]


@dataclass(frozen=True)
class _Block:
    """A block with its output channels, its stride, and the activation that it ends with."""

    module: nn.Module
    channels: int
    stride: int
    act: Act = ""


class Separable(nn.Module):
    """Depthwise and pointwise convolution, an activation behind each."""

    def __init__(self, style: Style, inp: int, out: int, stride: int = 1, act: Act = "relu6",
                 kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = Unit(style, inp, inp, kernel, stride=stride, groups=inp, act=act)
        self.pointwise = Unit(style, inp, out, act=act)

    def forward(self, x: Any) -> Any:
        return self.pointwise(self.depthwise(x))


class _Inverted(nn.Module):
    """Expand, depthwise, (squeeze and excite), project; with a residual where sizes agree."""

    def __init__(self, style: Style, inp: int, hidden: int, out: int, stride: int, act: Act,
                 kernel: int = 3, squeeze: bool = False) -> None:
        super().__init__()
        self.expand = Unit(style, inp, hidden, act=act) if hidden != inp else nn.Identity()
        self.depthwise = Unit(style, hidden, hidden, kernel, stride=stride, groups=hidden, act=act)
        self.squeeze = SqueezeExcite(style, hidden, act) if squeeze else nn.Identity()
        self.project = Unit(style, hidden, out)
        self.add = Add(style) if stride == 1 and inp == out else None

    def forward(self, x: Any) -> Any:
        y = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return y if self.add is None else self.add(y, x)


# output channels, stride; the blocks of 512 channels are counted by the configuration
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (1024, 2), (1024, 1))

# expansion, output channels, blocks, stride of the first
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
       (6, 320, 1, 1))

# kernel, hidden channels, output channels, squeeze, h-swish, stride
_V3_LARGE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2),
    (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1),
    (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
)
_V3_SMALL = (
    (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2),
    (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1),
    (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1),
)


def _v1(style: Style, c: BackboneConfig) -> list[_Block]:
    channels = divisible(32 * c.width)
    blocks = [_Block(Unit(style, 3, channels, 3, stride=2, act="relu6"), channels, 2, "relu6")]
    for base, stride in _V1:
        out = divisible(base * c.width)
        for _ in range(c.repeats if (base, stride) == (512, 1) else 1):
            blocks.append(_Block(Separable(style, channels, out, stride), out, stride, "relu6"))
            channels = out
    return blocks


def _v2(style: Style, c: BackboneConfig) -> list[_Block]:
    channels = divisible(32 * c.width)
    blocks = [_Block(Unit(style, 3, channels, 3, stride=2, act="relu6"), channels, 2, "relu6")]
    for expansion, base, count, first in _V2:
        out = divisible(base * c.width)
        for stride in (first, *[1] * (count - 1)):
            blocks.append(_Block(
                _Inverted(style, channels, expansion * channels, out, stride, "relu6"),
                out, stride))
            channels = out
    last = divisible(1280 * max(1.0, c.width))
    blocks.append(_Block(Unit(style, channels, last, act="relu6"), last, 1, "relu6"))
    return blocks


def _v3(style: Style, c: BackboneConfig) -> list[_Block]:
    table = _V3_LARGE if c.family == "mobilenetv3-large" else _V3_SMALL
    channels = divisible(16 * c.width)
    blocks = [_Block(Unit(style, 3, channels, 3, stride=2, act="hswish"), channels, 2, "hswish")]
    for kernel, hidden, base, squeeze, swish, stride in table:
        out = divisible(base * c.width)
        blocks.append(_Block(_Inverted(
            style, channels, divisible(hidden * c.width), out, stride,
            "hswish" if swish else "relu", kernel, bool(squeeze) and c.squeeze), out, stride))
        channels = out
    last = 6 * channels
    blocks.append(_Block(Unit(style, channels, last, act="hswish"), last, 1, "hswish"))
    return blocks


_BLOCKS = dict(zip(FAMILIES, (_v1, _v2, _v3, _v3)))

_HIDDEN = {"mobilenetv3-small": 1024, "mobilenetv3-large": 1280}


class Backbone(nn.Module):
    """Blocks up to the last one at the largest of ``strides``.

    Members
    -------
    strides, channels:
        Of the tensors that ``forward`` returns: the last ones at each stride.
    """

    def __init__(self, style: Style, config: BackboneConfig, strides: tuple[int, ...]) -> None:
        super().__init__()
        blocks = _BLOCKS[config.family](style, config)
        reached, last = 1, {}
        for i, block in enumerate(blocks):
            reached *= block.stride
            last[reached] = i
        if not strides or set(strides) - set(last) or list(strides) != sorted(set(strides)):
            raise FalconetError(f"strides {list(strides)}: {config.family} has features at "
                                f"{sorted(last)}; choose some of them in this order")
        self.taps = tuple(last[s] for s in strides)
        self.strides = tuple(strides)
        self.channels = tuple(blocks[t].channels for t in self.taps)
        self.acts = tuple(blocks[t].act for t in self.taps)
        self.blocks = nn.Sequential(*[b.module for b in blocks[: self.taps[-1] + 1]])

    def forward(self, x: Any) -> list[Any]:
        """Features by stride, the smallest stride first."""
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                found.append(x)
        return found


def input_step(mean: tuple[float, ...], std: tuple[float, ...]) -> float:
    """The least scale with which int8 holds every normalised pixel of 0 to 255."""
    return max(max(m / (128 * s), (255 - m) / (127 * s)) for m, s in zip(mean, std))


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier: ``backbone``, ``classes``, and the input's [height, width], mean and std."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    classes: int = 1000
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


class Classifier(nn.Module):
    """A MobileNet as its paper has it: ``forward`` gives logits [B, classes]."""

    def __init__(self, config: ClassifierConfig, style: Style = "float") -> None:
        super().__init__()
        self.config, self.style = config, style
        family, width = config.backbone.family, config.backbone.width
        self.input = Input(style, input_step(config.mean, config.std))
        self.backbone = Backbone(style, config.backbone, (32,))
        hidden = _HIDDEN.get(family, 0)
        self.head = Classify(
            style, self.backbone.channels[-1], config.classes, act=self.backbone.acts[-1],
            hidden=divisible(hidden * max(1.0, width)) if hidden else 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone(self.input(x))[-1])
        return logits

    def preprocess(self) -> dict[str, Any]:
        """How a photograph becomes the input: see ``falconet_models.metadata``."""
        c = self.config
        return {"fit": "crop", "size": list(c.size), "resize": round(max(c.size) * 8 / 7),
                "colour": "RGB", "mean": list(c.mean), "std": list(c.std)}
