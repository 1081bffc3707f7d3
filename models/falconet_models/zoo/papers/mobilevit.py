"""MobileViT (Mehta and Rastegari, 2022): attention between convolutions, over patches of 2 x 2.

Of each place in a patch, the tokens are all patches: [B * 4, patches, channels].
"""

from __future__ import annotations

import torch
from torch import nn

from falconet_models.zoo.papers.mobilenets import InvertedResidual
from falconet_models.zoo.papers.transformers import Block
from falconet_models.zoo.papers.units import scaled, unit

__all__ = ["MobileViT", "folded", "unfolded"]

_SIDE = 2


def unfolded(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] as [B * 4, H * W / 4, C]."""
    b, c, h, w = x.shape
    y = x.reshape(b * c * h // _SIDE, _SIDE, w // _SIDE, _SIDE).transpose(1, 2)
    y = y.reshape(b, c, h * w // _SIDE**2, _SIDE**2).transpose(1, 3)
    return y.reshape(b * _SIDE**2, h * w // _SIDE**2, c)


def folded(y: torch.Tensor, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """The inverse; ``shape`` is that of the image."""
    b, c, h, w = shape
    x = y.reshape(b, _SIDE**2, h * w // _SIDE**2, c).transpose(1, 3)
    x = x.reshape(b * c * h // _SIDE, w // _SIDE, _SIDE, _SIDE).transpose(1, 2)
    return x.reshape(b, c, h, w)


class _Mixed(nn.Module):
    """A convolution of what is near, a transformer of what is far, and both beside the input."""

    def __init__(self, channels: int, inner: int, depth: int) -> None:
        super().__init__()
        self.near = nn.Sequential(unit(channels, channels, 3, act=nn.SiLU),
                                  nn.Conv2d(channels, inner, 1, bias=False))
        self.far = nn.Sequential(
            *(Block(inner, 4, 2 * inner, nn.SiLU) for _ in range(depth)), nn.LayerNorm(inner))
        self.project = unit(inner, channels, act=nn.SiLU)
        self.join = unit(2 * channels, channels, 3, act=nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.near(x)
        b, c, h, w = y.shape
        y = folded(self.far(unfolded(y)), (b, c, h, w))
        found: torch.Tensor = self.join(torch.cat([x, self.project(y)], 1))
        return found


class MobileViT(nn.Sequential):
    """MobileViT-XXS: classifier; height and width are multiples of 64."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        a, b, c, d, e, last = (scaled(n, width) for n in (16, 24, 48, 64, 80, 320))

        def inverted(inp: int, out: int, stride: int = 1) -> InvertedResidual:
            return InvertedResidual(inp, 2 * inp, out, 3, stride, act=nn.SiLU)

        def mixed(channels: int, inner: int, depth: int) -> _Mixed:
            return _Mixed(channels, scaled(inner, width, 4), depth if width == 1 else 1)

        super().__init__(
            unit(3, a, 3, 2, act=nn.SiLU), inverted(a, a),
            inverted(a, b, 2), inverted(b, b), inverted(b, b),
            inverted(b, c, 2), mixed(c, 64, 2), inverted(c, d, 2), mixed(d, 80, 4),
            inverted(d, e, 2), mixed(e, 96, 3), unit(e, last, act=nn.SiLU),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))
