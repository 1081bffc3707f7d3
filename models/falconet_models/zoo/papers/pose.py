"""Simple baseline for poses (Xiao et al., 2018): a ResNet, three transposed convolutions, maps."""

from __future__ import annotations

from torch import nn

from falconet_models.zoo.papers.resnets import residual_trunk
from falconet_models.zoo.papers.units import scaled

__all__ = ["SimplePose"]


class SimplePose(nn.Sequential):
    """A map of each joint [B, joints, H / 4, W / 4], on ResNet-18."""

    def __init__(self, *, width: float = 1, classes: int = 17) -> None:
        trunk, channels = residual_trunk((2, 2, 2, 2), width=width)
        hidden = scaled(256, width)
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.ConvTranspose2d(channels, hidden, 4, 2, 1, bias=False),
                       nn.BatchNorm2d(hidden), nn.ReLU()]
            channels = hidden
        super().__init__(*trunk, *layers, nn.Conv2d(hidden, classes, 1))
