"""SSDLite (Sandler et al., 2018) on MobileNetV3-L with a reduced tail (Howard et al., 2019)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from falconet_models.zoo.papers.mobilenets import InvertedResidual, Trunk
from falconet_models.zoo.papers.units import (
    Depthwise,
    Scores,
    Size,
    centre_boxes,
    decoded,
    scaled,
    unit,
)

__all__ = ["SsdLite"]

_SPLIT = 13  # the layer of the trunk in whose middle, with stride 16, the first level ends
_EXTRA = (512, 256, 256, 128)
_SMALLEST, _LARGEST = 0.2, 0.95
_RATIOS = (2.0, 3.0)


def _extra(inp: int, out: int) -> nn.Sequential:
    """One level coarser: half the channels, a strided filter, all channels."""
    return nn.Sequential(unit(inp, out // 2, act=nn.ReLU6),
                         Depthwise(out // 2, 3, 2, act=nn.ReLU6),
                         unit(out // 2, out, act=nn.ReLU6))


def _head(inp: int, last: nn.Module) -> nn.Sequential:
    return nn.Sequential(Depthwise(inp, act=nn.ReLU6), last)


def _anchors(levels: int, image: Size) -> list[list[tuple[float, float]]]:
    """Two squares, and each ratio both ways, of each level; sizes between the levels' are evenly
    spaced in units of the image."""
    step = (_LARGEST - _SMALLEST) / (levels - 1)
    sizes = [*(_SMALLEST + step * i for i in range(levels)), 1.0]
    found = []
    for a, b in itertools.pairwise(sizes):
        shapes = [(a, a), (math.sqrt(a * b), math.sqrt(a * b))]
        for r in _RATIOS:
            w, h = a * math.sqrt(r), a / math.sqrt(r)
            shapes += [(w, h), (h, w)]
        found.append([(w * image[1], h * image[0]) for w, h in shapes])
    return found


class SsdLite(nn.Module):
    """Detector of six levels, six anchors a cell: boxes [1, N, 4] in pixels (left, top, right,
    bottom) and scores [1, N, classes], the first class that of the background."""

    def __init__(self, size: Size, *, width: float = 1, classes: int = 91) -> None:
        super().__init__()
        self.classes = classes
        self.trunk = Trunk(width=width, reduced=True)
        block = self.trunk.layers[_SPLIT]
        assert isinstance(block, InvertedResidual)
        channels = [block.hidden, self.trunk.channels[-1]]
        self.extra = nn.ModuleList()
        for out in _EXTRA:
            self.extra.append(_extra(channels[-1], scaled(out, width)))
            channels.append(scaled(out, width))
        self.scores = nn.ModuleList(
            _head(c, Scores(c, 6 * classes, anchors=6, decides="first")) for c in channels)
        self.boxes = nn.ModuleList(_head(c, nn.Conv2d(c, 6 * 4, 1)) for c in channels)
        maps = [(-(-size[0] // s), -(-size[1] // s)) for s in (16, 32, 64, 128, 256, 512)]
        self.anchors: torch.Tensor
        self.register_buffer("anchors", centre_boxes(maps, size, _anchors(len(maps), size)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = []
        for i, layer in enumerate(self.trunk.layers):
            if i == _SPLIT:
                assert isinstance(layer, InvertedResidual)
                x = layer.expand(x)
                found.append(x)
                x = layer.project(layer.gate(layer.filter(x)))
            else:
                x = layer(x)
        found.append(x)
        for more in self.extra:
            found.append(more(found[-1]))
        boxes = torch.cat([self._rows(head(f), 4) for head, f in zip(self.boxes, found)], 1)
        scores = torch.cat([self._rows(head(f), self.classes)
                            for head, f in zip(self.scores, found)], 1)
        return decoded(boxes, self.anchors), scores.softmax(-1)

    @staticmethod
    def _rows(x: torch.Tensor, values: int) -> torch.Tensor:
        """[B, 6 * values, h, w] as [B, h * w * 6, values]."""
        n, _, h, w = x.shape
        return x.view(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values)
