"""EfficientNet-B0 (Tan and Le, 2019) and EfficientDet-D0 (Tan et al., 2020)."""

from __future__ import annotations

import torch
from torch import nn

from falconet_models.zoo.papers.mobilenets import InvertedResidual
from falconet_models.zoo.papers.units import (
    Gate,
    Scores,
    Size,
    centre_boxes,
    classifier,
    decoded,
    scaled,
    unit,
)

__all__ = ["EfficientDet", "EfficientNet"]

# expansion, kernel, stride, output channels, blocks
_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
           (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))
_LEVELS = (8, 16, 32, 64, 128)
_RATIOS = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
_SCALES = (0.0, 1 / 3, 2 / 3)


def _stages(width: float) -> tuple[nn.ModuleList, list[int]]:
    """The stem and the stages, and the channels of each of them."""
    channels = scaled(32, width)
    stages: list[nn.Module] = [unit(3, channels, 3, 2, act=nn.SiLU)]
    widths = [channels]
    for expansion, kernel, first, out, count in _STAGES:
        blocks: list[nn.Module] = []
        for stride in (first, *[1] * (count - 1)):
            hidden = channels * expansion
            blocks.append(InvertedResidual(
                channels, hidden, scaled(out, width), kernel, stride, act=nn.SiLU,
                gate=Gate(hidden, max(1, channels // 4), inner=nn.SiLU)))
            channels = scaled(out, width)
        stages.append(nn.Sequential(*blocks))
        widths.append(channels)
    return nn.ModuleList(stages), widths


class EfficientNet(nn.Sequential):
    """Classifier of gated inverted residuals with SiLU."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        stages, widths = _stages(width)
        last = scaled(1280, width)
        super().__init__(*stages, unit(widths[-1], last, act=nn.SiLU), classifier(last, classes))


class _Fusion(nn.Module):
    """``sum(w * x) / (sum(w) + 1e-4)`` with w = relu(weight), SiLU, separable convolution."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(inputs))
        self.act = nn.SiLU()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        w = torch.relu(self.weight)
        w = w / (w.sum() + 1e-4)
        total = inputs[0] * w[0]
        for i, x in enumerate(inputs[1:], 1):
            total = total + x * w[i]
        found: torch.Tensor = self.conv(self.act(total))
        return found


def _lateral(inp: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inp, out, 1), nn.BatchNorm2d(out))


class _BiFpn(nn.Module):
    """One cell: down from coarse to fine, up again; every sum weighs its inputs.

    The first cell takes three levels of the trunk and makes the two coarser ones. Its levels 4 and
    5 are brought to width twice, once for each sum.
    """

    def __init__(self, channels: int, inputs: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.first = bool(inputs)
        if inputs:
            self.lateral = nn.ModuleList(_lateral(c, channels) for c in inputs)
            self.again = nn.ModuleList(_lateral(c, channels) for c in inputs[1:])
            self.coarser = nn.Sequential(_lateral(inputs[-1], channels), nn.MaxPool2d(3, 2, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.down = nn.ModuleList(_Fusion(2, channels) for _ in range(4))
        self.rise = nn.ModuleList([*(_Fusion(3, channels) for _ in range(3)), _Fusion(2, channels)])

    def forward(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        again = levels
        if self.first:
            p6 = self.coarser(levels[-1])
            more = [p6, self.pool(p6)]
            again = [levels[0], *(m(x) for m, x in zip(self.again, levels[1:])), *more]
            levels = [*(m(x) for m, x in zip(self.lateral, levels)), *more]
        middle = list(levels)
        for i in (3, 2, 1, 0):
            middle[i] = self.down[i](levels[i], self.up(middle[i + 1]))
        found = [middle[0]]
        for i in (1, 2, 3):
            found.append(self.rise[i - 1](again[i], middle[i], self.pool(found[-1])))
        return [*found, self.rise[3](again[4], self.pool(found[-1]))]


class _Head(nn.Module):
    """Three separable convolutions that all levels share, batch norms of their own, an output."""

    def __init__(self, channels: int, out: int, depth: int = 3, *, scores: bool = False) -> None:
        super().__init__()
        self.convs = nn.ModuleList(self._separable(channels, channels) for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in _LEVELS) for _ in range(depth))
        self.act = nn.SiLU()
        self.out = self._separable(channels, out, scores)

    @staticmethod
    def _separable(inp: int, out: int, scores: bool = False) -> nn.Sequential:
        last = Scores(inp, out, anchors=9) if scores else nn.Conv2d(inp, out, 1)
        return nn.Sequential(nn.Conv2d(inp, inp, 3, padding=1, groups=inp, bias=False), last)

    def forward(self, x: torch.Tensor, level: int) -> torch.Tensor:
        for conv, norms in zip(self.convs, self.norms):
            assert isinstance(norms, nn.ModuleList)
            x = self.act(norms[level](conv(x)))
        found: torch.Tensor = self.out(x)
        return found


class EfficientDet(nn.Module):
    """Detector of five levels, nine anchors a cell: boxes [1, N, 4] in pixels (left, top, right,
    bottom) and scores [1, N, classes].

    An anchor is 4 strides wide, times 1, 2^(1/3) and 2^(2/3), in three shapes.
    """

    def __init__(self, size: Size, *, width: float = 1, classes: int = 90) -> None:
        super().__init__()
        self.classes = classes
        self.stages, widths = _stages(width)
        channels = scaled(64, width)
        self.neck = nn.ModuleList([_BiFpn(channels, (widths[3], widths[5], widths[7])),
                                   _BiFpn(channels), _BiFpn(channels)])
        self.scores = _Head(channels, 9 * classes, scores=True)
        self.boxes = _Head(channels, 9 * 4)
        shapes = [[(4 * s * 2**k * a, 4 * s * 2**k * b) for k in _SCALES for a, b in _RATIOS]
                  for s in _LEVELS]
        self.anchors: torch.Tensor
        self.register_buffer("anchors", centre_boxes(
            [(-(-size[0] // s), -(-size[1] // s)) for s in _LEVELS], size, shapes))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in (3, 5, 7):
                levels.append(x)
        for cell in self.neck:
            levels = cell(levels)
        rows = {}
        for name, head, n in (("boxes", self.boxes, 4), ("scores", self.scores, self.classes)):
            rows[name] = torch.cat([head(f, i).permute(0, 2, 3, 1).reshape(f.shape[0], -1, n)
                                    for i, f in enumerate(levels)], 1)
        return decoded(rows["boxes"], self.anchors, (1, 1)), rows["scores"].sigmoid()
