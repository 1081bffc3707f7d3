"""ResNet-18 and -50 (He et al., 2016), RegNetX-400MF (Radosavovic et al., 2020), and ResNet-18 with
gates: squeeze and excitation (Hu et al., 2018), CBAM (Woo et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from falconet_models.zoo.papers.units import Gate, classifier, scaled, unit

__all__ = [
    "Cbam", "RegNetX", "ResNet", "cbam18", "residual_trunk", "resnet18", "resnet50", "se18",
]

_WIDTHS = (64, 128, 256, 512)
_REDUCTION = 16

Attention = Callable[[int], nn.Module]
"""Makes what stands before the addition of a block, for so many channels."""


class Cbam(nn.Module):
    """Channels, then places, are weighed by what their mean and their maximum say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // _REDUCTION, 4)
        self.shared = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(),
                                    nn.Conv2d(hidden, channels, 1, bias=False))
        self.mean, self.most = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.place = unit(2, 1, 7, act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * torch.sigmoid(self.shared(self.mean(x)) + self.shared(self.most(x)))
        seen = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.place(seen))


def _gate(channels: int) -> nn.Module:
    return Gate(channels, max(channels // _REDUCTION, 4), bias=False)


class _Block(nn.Module):
    """``body`` plus the input, which is brought to its shape where it has another one."""

    def __init__(self, body: nn.Module, inp: int, out: int, stride: int,
                 attention: Attention | None = None) -> None:
        super().__init__()
        self.body = body
        self.attention = attention(out) if attention else nn.Identity()
        same = stride == 1 and inp == out
        self.short = nn.Identity() if same else unit(inp, out, 1, stride, act=None)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.act(self.attention(self.body(x)) + self.short(x))
        return found


def _basic(inp: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(unit(inp, out, 3, stride), unit(out, out, 3, act=None))


def _bottleneck(inp: int, hidden: int, out: int, stride: int, group: int = 0) -> nn.Sequential:
    """1 x 1, 3 x 3 with the stride (groups of ``group`` channels, if any), 1 x 1."""
    groups = hidden // group if group else 1
    return nn.Sequential(unit(inp, hidden), unit(hidden, hidden, 3, stride, groups=groups),
                         unit(hidden, out, act=None))


def residual_trunk(
    blocks: tuple[int, ...], *, width: float = 1, deep: bool = False,
    attention: Attention | None = None,
) -> tuple[nn.Sequential, int]:
    """A ResNet up to its last block, and the channels of it; ``deep``: of bottlenecks."""
    channels = scaled(64, width)
    layers: list[nn.Module] = [unit(3, channels, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, count in enumerate(blocks):
        hidden = scaled(_WIDTHS[stage], width)
        out = 4 * hidden if deep else hidden
        for block in range(count):
            stride = 2 if stage and not block else 1
            body = (_bottleneck(channels, hidden, out, stride) if deep
                    else _basic(channels, out, stride))
            layers.append(_Block(body, channels, out, stride, attention))
            channels = out
    return nn.Sequential(*layers), channels


class ResNet(nn.Sequential):
    """Classifier; ``blocks`` of each stage."""

    def __init__(
        self, blocks: tuple[int, ...], *, width: float = 1, classes: int = 1000,
        deep: bool = False, attention: Attention | None = None,
    ) -> None:
        trunk, channels = residual_trunk(blocks, width=width, deep=deep, attention=attention)
        super().__init__(*trunk, classifier(channels, classes))


class RegNetX(nn.Sequential):
    """Classifier of bottlenecks that are as wide inside as outside, in groups of 16 channels."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        channels = 32
        layers: list[nn.Module] = [unit(3, channels, 3, 2)]
        for count, out in zip((1, 2, 7, 12), (32, 64, 160, 400)):
            out = scaled(out, width, 16)
            for block in range(count):
                stride = 1 if block else 2
                layers.append(_Block(_bottleneck(channels, out, out, stride, 16), channels, out,
                                     stride))
                channels = out
        super().__init__(*layers, classifier(channels, classes))


resnet18 = partial(ResNet, (2, 2, 2, 2))
resnet50 = partial(ResNet, (3, 4, 6, 3), deep=True)
cbam18 = partial(ResNet, (2, 2, 2, 2), attention=Cbam)
se18 = partial(ResNet, (2, 2, 2, 2), attention=_gate)
