"""YOLOv3-tiny (Redmon and Farhadi, 2018) and YOLOv5n (Jocher, 2020): heads with anchors.

Both end in one tensor [1, N, 5 + classes]: centre, width and height in pixels, objectness and the
classes' scores, all of them between 0 and 1, in the order level, anchor, row, column.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from falconet_models.zoo.papers.units import Scores, Size, scaled, unit
from falconet_models.zoo.papers.yolo_units import CrossStage, PathAggregation, Pyramid, conv

__all__ = ["YoloV3Tiny", "YoloV5n"]

_V5_ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)),
               ((116, 90), (156, 198), (373, 326)))
_V3_ANCHORS = (((10, 14), (23, 27), (37, 58)), ((81, 82), (135, 169), (344, 319)))

Anchors = Sequence[Sequence[tuple[float, float]]]


class _Detect(nn.Module):
    """centre = (2 sigmoid(r) + cell - 0.5) * stride; size = (2 sigmoid(r))^2 * anchor."""

    def __init__(self, channels: Sequence[int], size: Size, strides: Sequence[int],
                 anchors: Anchors, classes: int) -> None:
        super().__init__()
        self.values, self.strides = 5 + classes, strides
        self.heads = nn.ModuleList(
            Scores(c, len(a) * self.values, anchors=len(a), decides="fifth")
            for c, a in zip(channels, anchors))
        for i, (s, boxes) in enumerate(zip(strides, anchors)):
            h, w = size[0] // s, size[1] // s
            y, x = torch.meshgrid(torch.arange(h) - 0.5, torch.arange(w) - 0.5, indexing="ij")
            grid = torch.stack([x, y], -1).expand(1, len(boxes), h, w, 2)
            shape = torch.tensor(boxes).float().view(1, len(boxes), 1, 1, 2)
            self.register_buffer(f"grid{i}", grid.float().contiguous())
            self.register_buffer(f"shape{i}", shape.expand(1, len(boxes), h, w, 2).contiguous())

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        found = []
        for i, (head, x, stride) in enumerate(zip(self.heads, levels, self.strides)):
            x = head(x)
            n, c, h, w = x.shape
            x = x.view(n, c // self.values, self.values, h, w).permute(0, 1, 3, 4, 2).contiguous()
            centre, shape, scores = x.sigmoid().split((2, 2, self.values - 4), 4)
            centre = (centre * 2 + self.get_buffer(f"grid{i}")) * stride
            shape = (shape * 2) ** 2 * self.get_buffer(f"shape{i}")
            found.append(torch.cat([centre, shape, scores], 4).view(n, -1, self.values))
        return torch.cat(found, 1)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)


class YoloV3Tiny(nn.Module):
    """Seven convolutions and six maxima, two levels (strides 32 and 16), leaky ReLU."""

    def __init__(self, size: Size, *, width: float = 1, classes: int = 80) -> None:
        super().__init__()
        channels = 3
        layers: list[nn.Module] = []
        for i, out in enumerate((16, 32, 64, 128, 256, 512)):
            out = scaled(out, width)
            layers.append(unit(channels, out, 3, act=_leaky))
            layers.append(nn.MaxPool2d(2) if i < 5 else
                          nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1)))
            channels = out
        a, b, c, d = (scaled(n, width) for n in (1024, 256, 512, 128))
        self.fine = nn.Sequential(*layers[:9])
        self.coarse = nn.Sequential(*layers[9:], unit(channels, a, 3, act=_leaky),
                                    unit(a, b, act=_leaky))
        self.large = unit(b, c, 3, act=_leaky)
        self.up = nn.Sequential(unit(b, d, act=_leaky), nn.Upsample(scale_factor=2))
        self.small = unit(d + scaled(256, width), b, 3, act=_leaky)
        self.detect = _Detect((b, c), size, (16, 32), _V3_ANCHORS, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x)
        x = self.coarse(fine)
        found: torch.Tensor = self.detect(
            [self.small(torch.cat([self.up(x), fine], 1)), self.large(x)])
        return found


class YoloV5n(PathAggregation):
    """Release 7 of the smallest, three levels."""

    def __init__(self, size: Size, *, width: float = 1, classes: int = 80) -> None:
        super().__init__()
        a, b, c, d, e = (scaled(n, width) for n in (16, 32, 64, 128, 256))
        self.third = nn.Sequential(
            conv(3, a, 6, 2, pad=2), conv(a, b, 3, 2), CrossStage(b, b, 1), conv(b, c, 3, 2),
            CrossStage(c, c, 2))
        self.fourth = nn.Sequential(conv(c, d, 3, 2), CrossStage(d, d, 3))
        self.fifth = nn.Sequential(conv(d, e, 3, 2), CrossStage(e, e, 1), Pyramid(e), conv(e, d))
        self.up = nn.Upsample(scale_factor=2)
        self.middle = nn.Sequential(CrossStage(2 * d, d, 1, short=False), conv(d, c))
        self.small = CrossStage(2 * c, c, 1, short=False)
        self.down4, self.medium = conv(c, c, 3, 2), CrossStage(2 * c, d, 1, short=False)
        self.down5, self.large = conv(d, d, 3, 2), CrossStage(2 * d, e, 1, short=False)
        self.detect = _Detect((c, d, e), size, (8, 16, 32), _V5_ANCHORS, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.detect(self.levels(x))
        return found
