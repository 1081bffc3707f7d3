"""SqueezeNet 1.1 (Iandola et al., 2016): squeeze to few channels, expand by 1 x 1 and 3 x 3."""

from __future__ import annotations

import torch
from torch import nn

from falconet_models.zoo.papers.units import scaled

__all__ = ["SqueezeNet"]

_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POOLED = (2, 4)  # a maximum stands before the fires of these numbers


class _Fire(nn.Module):
    def __init__(self, inp: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(inp, squeezed, 1), nn.ReLU())
        self.point = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x)
        return torch.cat([self.point(x), self.wide(x)], 1)


class SqueezeNet(nn.Sequential):
    """Classifier without batch norm; its last layer is a convolution, averaged over all pixels."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        channels = scaled(64, width)
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2), nn.ReLU(),
                                   nn.MaxPool2d(3, 2, ceil_mode=True)]
        for i, (squeezed, expanded) in enumerate(_FIRES):
            if i in _POOLED:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            squeezed, expanded = scaled(squeezed, width), scaled(expanded, width)
            layers.append(_Fire(channels, squeezed, expanded))
            channels = 2 * expanded
        super().__init__(*layers, nn.Dropout(), nn.Conv2d(channels, classes, 1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten())
