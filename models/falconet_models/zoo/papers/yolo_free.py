"""YOLOv8n (Jocher et al., 2023) and YOLO11n (2024): no anchors; distances as distributions.

Both end in one tensor [1, 4 + classes, N]: centre, width and height in pixels, the classes' scores
between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from falconet_models.zoo.papers.units import Scores, Size, scaled, unit
from falconet_models.zoo.papers.yolo_units import (
    Bottleneck,
    CrossStage,
    Pyramid,
    cells,
    conv,
    rows,
)

__all__ = ["Yolo11n", "YoloV8n"]

_BINS = 16
_STRIDES = (8, 16, 32)


class _Split(nn.Module):
    """C2f: half goes through ``count`` blocks in turn, and all that is between them is joined."""

    def __init__(self, inp: int, out: int, count: int = 1, *, hidden: int = 0,
                 block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        hidden = hidden or out // 2
        self.begin = conv(inp, 2 * hidden)
        self.blocks = nn.ModuleList(block(hidden) for _ in range(count))
        self.join = conv((2 + count) * hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = list(self.begin(x).chunk(2, 1))
        for block in self.blocks:
            seen.append(block(seen[-1]))
        found: torch.Tensor = self.join(torch.cat(seen, 1))
        return found


class _Expected(nn.Module):
    """DFL (Li et al., 2020): the mean of a distribution over 16 distances, for each of four edges.

    [B, 64, N] to [B, 4, N]; the mean is a convolution with the weights 0 to 15.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(_BINS, 1, 1, bias=False).requires_grad_(False)
        self.mean.weight.data[:] = torch.arange(_BINS).view(1, _BINS, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, cells = x.shape
        shares = x.view(n, 4, _BINS, cells).transpose(2, 1).softmax(1)
        found: torch.Tensor = self.mean(shares).view(n, 4, cells)
        return found


class _Detect(nn.Module):
    """Boxes and scores of three levels; ``light``: the scores' branch is separable."""

    def __init__(self, channels: Sequence[int], size: Size, classes: int, *, light: bool
                 ) -> None:
        super().__init__()
        self.classes = classes
        hidden = max(16, channels[0] // 4, 4 * _BINS)
        seen = max(channels[0], min(classes, 100))
        self.boxes = nn.ModuleList(nn.Sequential(
            conv(c, hidden, 3), conv(hidden, hidden, 3), nn.Conv2d(hidden, 4 * _BINS, 1))
            for c in channels)

        def stage(inp: int, out: int) -> nn.Module:
            if not light:
                return conv(inp, out, 3)
            return nn.Sequential(conv(inp, inp, 3, groups=inp), conv(inp, out))

        self.scores = nn.ModuleList(nn.Sequential(
            stage(c, seen), stage(seen, seen), Scores(seen, classes)) for c in channels)
        self.expected = _Expected()
        points, step = cells(size, _STRIDES, 0.5)
        self.points: torch.Tensor
        self.step: torch.Tensor
        self.register_buffer("points", points[None])
        self.register_buffer("step", step)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        maps = [torch.cat([b(x), s(x)], 1) for b, s, x in zip(self.boxes, self.scores, levels)]
        boxes, scores = torch.split(
            torch.cat([rows(m) for m in maps], 2), [4 * _BINS, self.classes], 1)
        before, behind = self.expected(boxes).chunk(2, 1)
        low, high = self.points - before, self.points + behind
        box = torch.cat([(low + high) / 2, high - low], 1) * self.step
        return torch.cat([box, scores.sigmoid()], 1)


class _Network(nn.Module):
    """Trunk, path down and up again, heads; what differs are the blocks.

    Parameters
    ----------
    blocks:
        Of the trunk at strides 4, 8, 16, 32, and of the neck from coarse to fine and back.
    """

    def __init__(self, stem: nn.Module, downs: Sequence[nn.Module], blocks: Sequence[nn.Module],
                 tail: nn.Module, neck: Sequence[nn.Module], rising: Sequence[nn.Module],
                 detect: nn.Module) -> None:
        super().__init__()
        self.stem, self.downs = stem, nn.ModuleList(downs)
        self.blocks, self.tail = nn.ModuleList(blocks), tail
        self.up = nn.Upsample(scale_factor=2)
        self.neck, self.rising, self.detect = nn.ModuleList(neck), nn.ModuleList(rising), detect

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, seen = self.stem(x), []
        for down, block in zip(self.downs, self.blocks):
            x = block(down(x))
            seen.append(x)
        _, third, fourth, _ = seen
        fifth = self.tail(x)
        middle = self.neck[0](torch.cat([self.up(fifth), fourth], 1))
        small = self.neck[1](torch.cat([self.up(middle), third], 1))
        medium = self.neck[2](torch.cat([self.rising[0](small), middle], 1))
        large = self.neck[3](torch.cat([self.rising[1](medium), fifth], 1))
        found: torch.Tensor = self.detect([small, medium, large])
        return found


class YoloV8n(_Network):
    """The smallest of version 8."""

    def __init__(self, size: Size, *, width: float = 1, classes: int = 80) -> None:
        a, b, c, d, e = (scaled(n, width) for n in (16, 32, 64, 128, 256))

        def block(short: bool) -> Callable[[int], nn.Module]:
            return lambda n: Bottleneck(n, short=short, first=3)

        super().__init__(
            conv(3, a, 3, 2), [conv(i, o, 3, 2) for i, o in ((a, b), (b, c), (c, d), (d, e))],
            [_Split(n, n, count, block=block(True))
             for n, count in ((b, 1), (c, 2), (d, 2), (e, 1))],
            Pyramid(e),
            [_Split(i, o, block=block(False))
             for i, o in ((e + d, d), (d + c, c), (c + d, d), (d + e, e))],
            [conv(c, c, 3, 2), conv(d, d, 3, 2)],
            _Detect((c, d, e), size, classes, light=False))


class _Attention(nn.Module):
    """Self-attention over all cells, keys half as wide as values; places by a depthwise 3 x 3."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.wide = heads, channels // heads
        self.narrow = self.wide // 2
        self.project = unit(channels, channels + 2 * self.narrow * heads, act=None)
        self.place = unit(channels, channels, 3, groups=channels, act=None)
        self.join = unit(channels, channels, act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        query, key, value = self.project(x).view(n, self.heads, -1, h * w).split(
            (self.narrow, self.narrow, self.wide), 2)
        shares = ((query.transpose(-2, -1) @ key) * self.narrow**-0.5).softmax(-1)
        seen = (value @ shares.transpose(-2, -1)).view(n, c, h, w)
        found: torch.Tensor = self.join(seen + self.place(value.reshape(n, c, h, w)))
        return found


class _Attending(nn.Module):
    """C2PSA: half passes by, half goes through attention and two 1 x 1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.begin, self.join = conv(channels, channels), conv(channels, channels)
        self.attention = _Attention(hidden, max(1, hidden // 64))
        self.feed = nn.Sequential(conv(hidden, 2 * hidden), unit(2 * hidden, hidden, act=None))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        past, y = self.begin(x).chunk(2, 1)
        y = y + self.attention(y)
        found: torch.Tensor = self.join(torch.cat([past, y + self.feed(y)], 1))
        return found


class Yolo11n(_Network):
    """The smallest of version 11."""

    def __init__(self, size: Size, *, width: float = 1, classes: int = 80) -> None:
        a, b, c, d, e = (scaled(n, width) for n in (16, 32, 64, 128, 256))

        def plain(inp: int, out: int, share: float = 0.5) -> nn.Module:
            return _Split(inp, out, hidden=int(out * share),
                          block=lambda n: Bottleneck(n, first=3, share=0.5))

        def deep(inp: int, out: int) -> nn.Module:
            return _Split(inp, out, block=lambda n: CrossStage(n, n, 2, first=3))

        super().__init__(
            conv(3, a, 3, 2), [conv(i, o, 3, 2) for i, o in ((a, b), (c, c), (d, d), (d, e))],
            [plain(b, c, 0.25), plain(c, d, 0.25), deep(d, d), deep(e, e)],
            nn.Sequential(Pyramid(e), _Attending(e)),
            [plain(e + d, d), plain(2 * d, c), plain(c + d, d), deep(d + e, e)],
            [conv(c, c, 3, 2), conv(d, d, 3, 2)],
            _Detect((c, d, e), size, classes, light=True))
