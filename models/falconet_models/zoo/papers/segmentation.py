"""LR-ASPP (Howard et al., 2019, section 6.4), DeepLabV3 (Chen et al., 2017), both on MobileNetV3-L
with a dilated last stage, and U-Net (Ronneberger et al., 2015) with padded convolutions and batch
norm, as it is commonly used, upwards by transposed convolutions or bilinear."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from falconet_models.zoo.papers.mobilenets import Trunk
from falconet_models.zoo.papers.units import scaled, unit

__all__ = ["DeepLab", "LrAspp", "UNet", "unet", "unet_bilinear"]

_LOW = 4  # the layer of the trunk with stride 8
_RATES = (12, 24, 36)


def _enlarged(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class LrAspp(nn.Module):
    """Classes of each pixel [B, classes, H, W], not normalised."""

    def __init__(self, *, width: float = 1, classes: int = 21) -> None:
        super().__init__()
        self.trunk = Trunk(width=width, dilated=True)
        high, low = self.trunk.channels[-1], self.trunk.channels[_LOW]
        hidden = scaled(128, width)
        self.seen = unit(high, hidden)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, hidden, 1, bias=False),
                                  nn.Sigmoid())
        self.low, self.high = nn.Conv2d(low, classes, 1), nn.Conv2d(hidden, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.trunk(x)
        low, high = found[_LOW], found[-1]
        high = self.seen(high) * self.gate(high)
        return _enlarged(self.low(low) + self.high(_enlarged(high, low)), x)


class DeepLab(nn.Module):
    """Classes of each pixel [B, classes, H, W], not normalised; atrous rates 12, 24, 36.

    The auxiliary head, which is for training alone, is not here.
    """

    def __init__(self, *, width: float = 1, classes: int = 21) -> None:
        super().__init__()
        self.trunk = Trunk(width=width, dilated=True)
        channels, hidden = self.trunk.channels[-1], scaled(256, width)
        self.branches = nn.ModuleList([
            unit(channels, hidden), *(unit(channels, hidden, 3, dilation=r) for r in _RATES)])
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), unit(channels, hidden))
        self.project = nn.Sequential(unit(5 * hidden, hidden), nn.Dropout(0.5))
        self.head = nn.Sequential(unit(hidden, hidden, 3), nn.Conv2d(hidden, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.trunk(x)[-1]
        seen = [branch(y) for branch in self.branches]
        seen.append(_enlarged(self.whole(y), y))
        return _enlarged(self.head(self.project(torch.cat(seen, 1))), x)


def _double(inp: int, out: int, hidden: int = 0) -> nn.Sequential:
    hidden = hidden or out
    return nn.Sequential(unit(inp, hidden, 3), unit(hidden, out, 3))


class UNet(nn.Module):
    """Classes of each pixel [B, classes, H, W], not normalised; H and W are multiples of 16."""

    def __init__(self, *, bilinear: bool, width: float = 1, classes: int = 1) -> None:
        super().__init__()
        a, b, c, d = (scaled(n, width) for n in (64, 128, 256, 512))
        last = d if bilinear else 2 * d
        self.begin = _double(3, a)
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _double(i, o))
            for i, o in ((a, b), (b, c), (c, d), (d, last)))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for inp, skip in ((2 * d, d), (2 * c, c), (2 * b, b), (2 * a, a)):
            if bilinear:
                self.up.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
                self.merge.append(_double(inp, skip // (1 if skip == a else 2), inp // 2))
            else:
                self.up.append(nn.ConvTranspose2d(inp, skip, 2, 2))
                self.merge.append(_double(2 * skip, skip))
        self.end = nn.Conv2d(a, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [self.begin(x)]
        for layer in self.down:
            seen.append(layer(seen[-1]))
        x = seen.pop()
        for up, merge in zip(self.up, self.merge):
            x = merge(torch.cat([seen.pop(), up(x)], 1))
        found: torch.Tensor = self.end(x)
        return found


unet = partial(UNet, bilinear=False)
unet_bilinear = partial(UNet, bilinear=True)
