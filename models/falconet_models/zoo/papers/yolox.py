"""YOLOX-nano (Ge et al., 2021): no anchors, one branch for classes and one for boxes.

It ends in one tensor [1, N, 5 + classes]: centre, width and height in pixels, objectness and the
classes' scores between 0 and 1.
"""

from __future__ import annotations

import torch
from torch import nn

from falconet_models.zoo.papers.units import Scores, SeparableUnit, Size, scaled
from falconet_models.zoo.papers.yolo_units import PathAggregation, cells, conv

__all__ = ["YoloXNano"]

_STRIDES = (8, 16, 32)


def _separable(inp: int, out: int, stride: int = 1) -> nn.Module:
    return SeparableUnit(inp, out, 3, stride, act=nn.SiLU)


class _Focus(nn.Module):
    """Each 2 x 2 pixels as channels of one."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv = conv(12, out, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[..., y::2, left::2] for left in (0, 1) for y in (0, 1)]
        found: torch.Tensor = self.conv(torch.cat(parts, 1))
        return found


class _Block(nn.Module):
    def __init__(self, channels: int, short: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), _separable(channels, channels))
        self.short = short

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.short else y


class _CrossStage(nn.Module):
    """Two branches half as wide, one of them through ``count`` separable blocks."""

    def __init__(self, inp: int, out: int, count: int, short: bool = True) -> None:
        super().__init__()
        hidden = out // 2
        self.through, self.past = conv(inp, hidden), conv(inp, hidden)
        self.body = nn.Sequential(*(_Block(hidden, short) for _ in range(count)))
        self.join = conv(2 * hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.join(torch.cat([self.body(self.through(x)), self.past(x)], 1))
        return found


class _Pyramid(nn.Module):
    """Maxima of 5 x 5, 9 x 9 and 13 x 13 of one map, side by side with it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv(channels, channels // 2)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))
        self.join = conv(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        found: torch.Tensor = self.join(torch.cat([x, *(pool(x) for pool in self.pools)], 1))
        return found


class _Head(nn.Module):
    """Box, objectness and classes of one level, the latter two between 0 and 1."""

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.stem = conv(channels, hidden)
        self.seen = nn.Sequential(_separable(hidden, hidden), _separable(hidden, hidden))
        self.placed = nn.Sequential(_separable(hidden, hidden), _separable(hidden, hidden))
        self.scores = nn.Conv2d(hidden, classes, 1)
        self.box, self.objectness = nn.Conv2d(hidden, 4, 1), Scores(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        scores, placed = self.scores(self.seen(x)), self.placed(x)
        return torch.cat([self.box(placed), self.objectness(placed).sigmoid(), scores.sigmoid()], 1)


class YoloXNano(PathAggregation):
    """Three levels; all 3 x 3 convolutions but the first are separable."""

    def __init__(self, size: Size, *, width: float = 1, classes: int = 80) -> None:
        super().__init__()
        a, b, c, d, e = (scaled(n, width) for n in (16, 32, 64, 128, 256))
        self.third = nn.Sequential(_Focus(a), _separable(a, b, 2), _CrossStage(b, b, 1),
                                   _separable(b, c, 2), _CrossStage(c, c, 3))
        self.fourth = nn.Sequential(_separable(c, d, 2), _CrossStage(d, d, 3))
        self.fifth = nn.Sequential(_separable(d, e, 2), _Pyramid(e), _CrossStage(e, e, 1, False),
                                   conv(e, d))
        self.up = nn.Upsample(scale_factor=2)
        self.middle = nn.Sequential(_CrossStage(2 * d, d, 1, False), conv(d, c))
        self.small = _CrossStage(2 * c, c, 1, False)
        self.down4, self.medium = _separable(c, c, 2), _CrossStage(2 * c, d, 1, False)
        self.down5, self.large = _separable(d, d, 2), _CrossStage(2 * d, e, 1, False)
        self.heads = nn.ModuleList(_Head(n, c, classes) for n in (c, d, e))
        points, step = cells(size, _STRIDES, 0.0)
        self.points: torch.Tensor
        self.step: torch.Tensor
        self.register_buffer("points", points.T[None].contiguous())
        self.register_buffer("step", step.T[None].contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [head(f) for head, f in zip(self.heads, self.levels(x))]
        y = torch.cat([m.flatten(2) for m in maps], 2).permute(0, 2, 1)
        centre = (y[..., :2] + self.points) * self.step
        shape = torch.exp(y[..., 2:4]) * self.step
        return torch.cat([centre, shape, y[..., 4:]], -1)
