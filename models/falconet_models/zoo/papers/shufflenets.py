"""ShuffleNetV1 (Zhang et al., 2018) with three groups, and V2 (Ma et al., 2018), both 1.0 x."""

from __future__ import annotations

import torch
from torch import nn

from falconet_models.zoo.papers.units import classifier, scaled, unit

__all__ = ["ShuffleNetV1", "ShuffleNetV2", "shuffled"]

_BLOCKS = (4, 8, 4)


def shuffled(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Channel i of each group, for all groups, then channel i + 1: so groups see each other."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class _Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shuffled(x, self.groups)


class _V1Block(nn.Module):
    """Grouped pointwise, shuffle, depthwise, grouped pointwise; added to the input, or with
    stride 2 behind its average.

    The first pointwise convolution of the network has one group, since its input is narrow.
    """

    def __init__(self, inp: int, out: int, groups: int, first: bool, strided: bool) -> None:
        super().__init__()
        self.strided = strided
        hidden, made = out // 4, out - inp if strided else out
        self.branch = nn.Sequential(
            unit(inp, hidden, groups=1 if first else groups),
            _Shuffle(groups) if groups > 1 else nn.Identity(),
            unit(hidden, hidden, 3, 2 if strided else 1, groups=hidden, act=None),
            unit(hidden, made, groups=groups, act=None))
        self.pool = nn.AvgPool2d(3, 2, 1) if strided else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.branch(x)
        if self.strided:
            return torch.cat([self.pool(x), self.act(y)], 1)
        found: torch.Tensor = self.act(x + y)
        return found


class ShuffleNetV1(nn.Sequential):
    """Classifier; three groups, widths 240, 480, 960."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        groups, channels = 3, 24
        layers: list[nn.Module] = [unit(3, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
        for stage, blocks in enumerate(_BLOCKS):
            out = scaled(240, width, 48) * 2**stage
            for block in range(blocks):
                layers.append(_V1Block(channels, out, groups, stage + block == 0, block == 0))
                channels = out
        super().__init__(*layers, classifier(channels, classes))


class _V2Block(nn.Module):
    """Half of the channels pass by; with stride 2 both branches see all of them."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.split = stride == 1
        half = out // 2
        seen = half if self.split else inp
        self.aside = nn.Identity() if self.split else nn.Sequential(
            unit(inp, inp, 3, stride, groups=inp, act=None), unit(inp, half))
        self.branch = nn.Sequential(
            unit(seen, half), unit(half, half, 3, stride, groups=half, act=None),
            unit(half, half))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1) if self.split else (x, x)
        return shuffled(torch.cat([self.aside(a), self.branch(b)], 1), 2)


class ShuffleNetV2(nn.Sequential):
    """Classifier; widths 116, 232, 464."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        channels = 24
        layers: list[nn.Module] = [unit(3, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
        for out, blocks in zip((116, 232, 464), _BLOCKS):
            out = scaled(out, width, 4)
            for block in range(blocks):
                layers.append(_V2Block(channels, out, 1 if block else 2))
                channels = out
        last = scaled(1024, width)
        super().__init__(*layers, unit(channels, last), classifier(last, classes))
