"""What several of the networks are made of: convolution with batch norm, gates, shuffles, decoders.

Float modules in the NCHW layout. Strides and kernels are square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

__all__ = [
    "Activate", "Depthwise", "Gate", "Scores", "SeparableUnit", "Size", "centre_boxes",
    "classifier", "decoded", "pad_of", "scaled", "unit",
]

Activate = Callable[[], nn.Module] | None
"""Makes the activation behind a batch norm; ``None``: there is none."""
Size = tuple[int, int]
"""Height and width."""


def scaled(channels: float, width: float, by: int = 8) -> int:
    """``channels`` at ``width`` times the width: a multiple of ``by``, unless that is 1."""
    return int(channels) if width == 1 else max(by, round(channels * width / by) * by)


def pad_of(kernel: int, dilation: int = 1) -> int:
    """The pads on each side with which a convolution of stride 1 keeps the size."""
    return (kernel - 1) // 2 * dilation


def unit(
    inp: int, out: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, dilation: int = 1,
    act: Activate = nn.ReLU, pad: int | None = None,
) -> nn.Sequential:
    """Convolution without bias, batch norm, activation."""
    pad = pad_of(kernel, dilation) if pad is None else pad
    layers: list[nn.Module] = [
        nn.Conv2d(inp, out, kernel, stride, pad, dilation, groups, bias=False),
        nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([] if act is None else [act()]))


class Depthwise(nn.Sequential):
    """A unit with one filter a channel."""

    def __init__(self, channels: int, kernel: int = 3, stride: int = 1, *, dilation: int = 1,
                 act: Activate = nn.ReLU) -> None:
        super().__init__(*unit(channels, channels, kernel, stride, groups=channels,
                               dilation=dilation, act=act))


class SeparableUnit(nn.Sequential):
    """A depthwise unit, then a pointwise one."""

    def __init__(self, inp: int, out: int, kernel: int = 3, stride: int = 1, *,
                 act: Activate = nn.ReLU) -> None:
        super().__init__(Depthwise(inp, kernel, stride, act=act), unit(inp, out, act=act))


class Gate(nn.Module):
    """Squeeze and excitation (Hu et al., 2018): each channel times a factor that all of it decides.

    ``x * outer(expand(inner(squeeze(mean(x)))))``; both layers are 1 x 1, with a bias if ``bias``.
    """

    def __init__(
        self, channels: int, hidden: int, *, inner: Callable[[], nn.Module] = nn.ReLU,
        outer: Callable[[], nn.Module] = nn.Sigmoid, bias: bool = True,
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.inner = inner()
        self.expand = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.outer = outer()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        factor: torch.Tensor = self.outer(self.expand(self.inner(self.squeeze(self.pool(x)))))
        return x * factor


class Scores(nn.Conv2d):
    """A head's last convolution, 1 x 1: an untrained network finds as much as its biases let it.

    Parameters
    ----------
    anchors:
        Each of them has ``out / anchors`` values in turn.
    decides:
        Which of these values say whether there is something: ``"each"``, by its sigmoid; the
        ``"fifth"`` (objectness); or all together by their softmax, where the ``"first"`` is the
        background's.
    """

    def __init__(self, inp: int, out: int, *, anchors: int = 1,
                 decides: Literal["each", "fifth", "first"] = "each") -> None:
        super().__init__(inp, out, 1)
        self.anchors, self.decides = anchors, decides

    def settle(self, y: torch.Tensor, share: float, most: int) -> None:
        """Move the biases so that of ``y``, what they gave, ``share`` of a picture's decisions
        say yes, but at most ``most`` of them."""
        assert self.bias is not None
        values = y.detach().view(len(y), self.anchors, -1, *y.shape[2:])
        bias = self.bias.data.view(self.anchors, -1)
        if self.decides == "first":
            values = values[:, :, 1:].amax(2) - values[:, :, 0]
        elif self.decides == "fifth":
            values = values[:, :, 4]
        count = max(1, min(most, int(share * values[0].numel()))) * len(y)
        least = values.flatten().topk(count + 1).values[-1]
        if self.decides == "first":
            bias[:, 0] += least
        else:
            (bias[:, 4] if self.decides == "fifth" else bias).sub_(least)


def classifier(channels: int, classes: int) -> nn.Sequential:
    """The mean over all pixels, then a fully connected layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def centre_boxes(
    sizes: Sequence[Size], image: Size, anchors: Sequence[Sequence[Sequence[float]]],
) -> torch.Tensor:
    """Anchors [N, 4] as centre x, centre y, width, height in pixels, row by row and level by level.

    Parameters
    ----------
    sizes:
        Of the maps, finest first.
    anchors:
        Width and height in pixels of the boxes around each cell's centre, for each level.
    """
    rows: list[Any] = []
    for (h, w), boxes in zip(sizes, anchors):
        y = (torch.arange(h, dtype=torch.float32) + 0.5) * image[0] / h
        x = (torch.arange(w, dtype=torch.float32) + 0.5) * image[1] / w
        cells = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 1, 2)
        shape = torch.tensor(boxes, dtype=torch.float32).expand(h * w, -1, 2)
        rows.append(torch.cat([cells.expand(h * w, len(boxes), 2), shape], -1).reshape(-1, 4))
    return torch.cat(rows)


def decoded(
    raw: torch.Tensor, anchors: torch.Tensor, variances: tuple[float, float] = (0.1, 0.2),
) -> torch.Tensor:
    """Corners [B, N, 4] in pixels of what SSD heads say (Liu et al., 2016, section 2.2).

    centre = anchor + v0 * raw * size, size = size * exp(v1 * raw).
    """
    centre = raw[..., :2] * variances[0] * anchors[:, 2:] + anchors[:, :2]
    half = torch.exp(raw[..., 2:] * variances[1]) * (anchors[:, 2:] * 0.5)
    return torch.cat([centre - half, centre + half], -1)
