"""Xception (Chollet, 2017): separable convolutions with linear shortcuts."""

from __future__ import annotations

import torch
from torch import nn

from falconet_models.zoo.papers.units import classifier, scaled, unit

__all__ = ["Xception"]


def _separable(inp: int, out: int) -> nn.Sequential:
    """Depthwise and pointwise with nothing between, then batch norm."""
    return nn.Sequential(nn.Conv2d(inp, inp, 3, padding=1, groups=inp, bias=False),
                         nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out))


class _Block(nn.Module):
    """Separable convolutions to ``outs``, a ReLU before each (``first``: before the first too);
    with ``strided`` then a maximum, and a pointwise shortcut, else the input itself is added."""

    def __init__(self, inp: int, outs: tuple[int, ...], *, strided: bool, first: bool = True
                 ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(zip((inp, *outs), outs)):
            layers += [nn.ReLU()] * (first or i > 0) + [_separable(a, b)]
        self.body = nn.Sequential(*layers, *[nn.MaxPool2d(3, 2, 1)] * strided)
        self.short = unit(inp, outs[-1], 1, 2, act=None) if strided else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(x) + self.short(x)
        return found


class Xception(nn.Sequential):
    """Classifier for 299 x 299; ``middle`` blocks of three separable convolutions."""

    def __init__(self, *, width: float = 1, classes: int = 1000, middle: int = 8) -> None:
        a, b, c, d, e, f, g = (scaled(n, width) for n in (32, 64, 128, 256, 728, 1024, 1536))
        last = scaled(2048, width)
        super().__init__(
            unit(3, a, 3, 2, pad=0), unit(a, b, 3, pad=0),
            _Block(b, (c, c), strided=True, first=False), _Block(c, (d, d), strided=True),
            _Block(d, (e, e), strided=True),
            *(_Block(e, (e, e, e), strided=False) for _ in range(middle)),
            _Block(e, (e, f), strided=True),
            _separable(f, g), nn.ReLU(), _separable(g, last), nn.ReLU(),
            classifier(last, classes))
