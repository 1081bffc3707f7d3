"""What the YOLO networks have in common: blocks with SiLU, pooling pyramids, decoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from falconet_models.zoo.papers.units import Size, unit

__all__ = ["Bottleneck", "CrossStage", "PathAggregation", "Pyramid", "cells", "conv", "rows"]

conv = partial(unit, act=nn.SiLU)
"""A unit with SiLU."""


class Bottleneck(nn.Module):
    """Two units, the first with a kernel of ``first``; plus the input if ``short``."""

    def __init__(self, channels: int, *, short: bool = True, first: int = 1, share: float = 1
                 ) -> None:
        super().__init__()
        hidden = int(channels * share)
        self.body = nn.Sequential(conv(channels, hidden, first), conv(hidden, channels, 3))
        self.short = short

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.short else y


class CrossStage(nn.Module):
    """C3: a branch through bottlenecks and one past them, half as wide, joined (Wang et al., 2020).

    ``first``: the first kernel of a bottleneck.
    """

    def __init__(self, inp: int, out: int, count: int, *, short: bool = True, first: int = 1
                 ) -> None:
        super().__init__()
        hidden = out // 2
        self.through, self.past = conv(inp, hidden), conv(inp, hidden)
        self.body = nn.Sequential(
            *(Bottleneck(hidden, short=short, first=first) for _ in range(count)))
        self.join = conv(2 * hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.join(torch.cat([self.body(self.through(x)), self.past(x)], 1))
        return found


class Pyramid(nn.Module):
    """SPPF: maxima of 5 x 5, 9 x 9 and 13 x 13, each of the one before, beside the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = conv(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = [self.reduce(x)]
        for _ in range(3):
            seen.append(self.pool(seen[-1]))
        found: torch.Tensor = self.join(torch.cat(seen, 1))
        return found


class PathAggregation(nn.Module):
    """Three levels, joined from coarse to fine and back (PANet, Liu et al., 2018).

    Who extends it makes the stages; ``third``, ``fourth`` and ``fifth`` are the backbone's, the
    last one as narrow as its map is joined.
    """

    third: nn.Module
    fourth: nn.Module
    fifth: nn.Module
    up: nn.Module
    middle: nn.Module
    small: nn.Module
    down4: nn.Module
    medium: nn.Module
    down5: nn.Module
    large: nn.Module

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of strides 8, 16 and 32."""
        third = self.third(x)
        fourth = self.fourth(third)
        fifth = self.fifth(fourth)
        middle = self.middle(torch.cat([self.up(fifth), fourth], 1))
        small = self.small(torch.cat([self.up(middle), third], 1))
        medium = self.medium(torch.cat([self.down4(small), middle], 1))
        large = self.large(torch.cat([self.down5(medium), fifth], 1))
        return [small, medium, large]


def cells(size: Size, strides: Sequence[int], offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Points [2, N] (x, y) of all cells in strides, and the stride [1, N] of each."""
    points, step = [], []
    for s in strides:
        h, w = size[0] // s, size[1] // s
        y, x = torch.meshgrid(torch.arange(h) + offset, torch.arange(w) + offset, indexing="ij")
        points.append(torch.stack([x.reshape(-1), y.reshape(-1)]))
        step.append(torch.full((1, h * w), float(s)))
    return torch.cat(points, 1).float(), torch.cat(step, 1)


def rows(x: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] as [B, C, h * w]."""
    return x.view(x.shape[0], x.shape[1], -1)
