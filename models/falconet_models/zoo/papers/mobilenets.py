"""MobileNetV1 (Howard et al., 2017), V2 (Sandler et al., 2018), V3 (Howard et al., 2019), and
MnasNet-B1 (Tan et al., 2019), which is V2's block with kernels and expansions found by search."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from falconet_models.architecture import divisible
from falconet_models.zoo.papers.units import (
    Activate,
    Depthwise,
    Gate,
    SeparableUnit,
    classifier,
    scaled,
    unit,
)

__all__ = [
    "InvertedResidual", "MnasNet", "MobileNetV1", "MobileNetV2", "MobileNetV3", "Trunk", "large",
    "small",
]

# output channels and stride
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
       (1024, 1))
# expansion, output channels, blocks, stride of the first block
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
       (6, 320, 1, 1))
# kernel, stride, expansion, output channels, blocks
_MNAS = ((3, 2, 3, 24, 3), (5, 2, 3, 40, 3), (5, 2, 6, 80, 3), (3, 1, 6, 96, 2), (5, 2, 6, 192, 4),
         (3, 1, 6, 320, 1))
# kernel, expanded channels, output channels, gate, h-swish, stride
_V3 = {
    "large": (
        (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2),
        (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1),
        (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1),
        (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1),
        (5, 960, 160, 1, 1, 1)),
    "small": (
        (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2),
        (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1),
        (5, 144, 48, 1, 1, 1), (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1),
        (5, 576, 96, 1, 1, 1)),
}
_V3_HIDDEN = {"large": 1280, "small": 1024}
_LAST_STAGE = {"large": 12, "small": 8}  # the block with which the last resolution begins


class MobileNetV1(nn.Sequential):
    """Classifier of separable convolutions."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        channels = scaled(32, width)
        layers: list[nn.Module] = [unit(3, channels, 3, 2)]
        for out, stride in _V1:
            layers.append(SeparableUnit(channels, scaled(out, width), stride=stride))
            channels = scaled(out, width)
        super().__init__(*layers, classifier(channels, classes))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, gate, project; plus the input where shapes are equal.

    Parameters
    ----------
    hidden:
        Expanded channels; if they are ``inp``, nothing is expanded.
    gate:
        Makes the gate for ``hidden`` channels, if there is one.
    """

    def __init__(
        self, inp: int, hidden: int, out: int, kernel: int, stride: int, *, act: Activate,
        gate: nn.Module | None = None, dilation: int = 1,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.expand = nn.Identity() if hidden == inp else unit(inp, hidden, act=act)
        self.filter = Depthwise(hidden, kernel, stride, dilation=dilation, act=act)
        self.gate = gate if gate is not None else nn.Identity()
        self.project = unit(hidden, out, act=None)
        self.residual = stride == 1 and inp == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.gate(self.filter(self.expand(x))))
        return x + y if self.residual else y


class MobileNetV2(nn.Sequential):
    """Classifier of inverted residuals, in the order of torchvision's checkpoint."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        channels, act = scaled(32, width), nn.ReLU6
        layers: list[nn.Module] = [unit(3, channels, 3, 2, act=act)]
        for expansion, out, blocks, first in _V2:
            for stride in (first, *[1] * (blocks - 1)):
                layers.append(InvertedResidual(channels, channels * expansion, scaled(out, width),
                                               3, stride, act=act))
                channels = scaled(out, width)
        last = scaled(1280, width)
        super().__init__(*layers, unit(channels, last, act=act), classifier(last, classes))


class MnasNet(nn.Sequential):
    """MnasNet-B1, the one without gates."""

    def __init__(self, *, width: float = 1, classes: int = 1000) -> None:
        channels, act = scaled(16, width), nn.ReLU
        stem = scaled(32, width)
        layers: list[nn.Module] = [unit(3, stem, 3, 2, act=act), Depthwise(stem, act=act),
                                   unit(stem, channels, act=None)]
        for kernel, first, expansion, out, blocks in _MNAS:
            for stride in (first, *[1] * (blocks - 1)):
                layers.append(InvertedResidual(channels, channels * expansion, scaled(out, width),
                                               kernel, stride, act=act))
                channels = scaled(out, width)
        last = scaled(1280, width)
        super().__init__(*layers, unit(channels, last, act=act), classifier(last, classes))


class Trunk(nn.Module):
    """MobileNetV3 up to its last convolution: ``layers``, in the order in which they run.

    Parameters
    ----------
    reduced:
        The last stage and the convolution behind it are half as wide (for detectors).
    dilated:
        The last stage keeps the resolution and its kernels are spread by 2 (for segmentation).

    Attributes
    ----------
    channels:
        Of the output of each of ``layers``.
    """

    def __init__(
        self, kind: str = "large", *, width: float = 1, reduced: bool = False,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        channels = scaled(16, width)
        self.layers = nn.ModuleList([unit(3, channels, 3, 2, act=nn.Hardswish)])
        self.channels = [channels]
        for i, (kernel, hidden, out, gated, swish, stride) in enumerate(_V3[kind]):
            late = i >= _LAST_STAGE[kind]
            out //= 2 if reduced and late else 1
            hidden //= 2 if reduced and i > _LAST_STAGE[kind] else 1
            hidden, out = scaled(hidden, width), scaled(out, width)
            gate = _v3_gate(hidden) if gated else None
            self.layers.append(InvertedResidual(
                channels, hidden, out, kernel, 1 if dilated and late else stride,
                act=nn.Hardswish if swish else nn.ReLU, gate=gate,
                dilation=2 if dilated and late else 1))
            self.channels.append(out)
            channels = out
        last = 6 * channels
        self.layers.append(unit(channels, last, act=nn.Hardswish))
        self.channels.append(last)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The output of each layer."""
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def _v3_gate(hidden: int) -> Gate:
    return Gate(hidden, divisible(hidden / 4), outer=nn.Hardsigmoid)


class MobileNetV3(nn.Module):
    """Classifier; ``kind`` is ``"large"`` or ``"small"``."""

    def __init__(self, kind: str, *, width: float = 1, classes: int = 1000) -> None:
        super().__init__()
        self.trunk = Trunk(kind, width=width)
        channels, hidden = self.trunk.channels[-1], scaled(_V3_HIDDEN[kind], width)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, hidden), nn.Hardswish(),
            nn.Dropout(0.2), nn.Linear(hidden, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.trunk(x)[-1])
        return found


large = partial(MobileNetV3, "large")
small = partial(MobileNetV3, "small")
