"""Detection heads: what is predicted at every cell, and the boxes that it means.

Two kinds, told apart by how four numbers become a box (``falconet_models.metadata``): with anchors
of given sizes (``ssd``, ``yolo``), several a cell, as in SSDLite and RetinaNet; and anchor-free
(``distance`` as in FCOS, ``grid`` as in YOLOX), one box a cell. Both are as the machine's detect
engine decodes them.

Rows are in the order level, y, x, anchor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from falconet_models.architecture import check_boxes
from falconet_models.networks.layers import Style, Unit, real
from falconet_models.networks.mobilenet import Separable

__all__ = ["BoxCode", "Branches", "Maps", "Priors", "Raw", "flatten"]

Maps = list[dict[str, torch.Tensor]]
"""By level: ``class`` [B, A * classes, H, W], ``box`` [B, A * 4, H, W], and, if the head has it,
``objectness`` [B, A, H, W]; logits and numbers as the convolutions give them."""

_LARGEST = 10.0  # of an exponent: 22,026 strides, more than any image; keeps gradients finite


@dataclass(frozen=True)
class Priors:
    """Where the N predictions of an image sit, in pixels of the input.

    Members
    -------
    centres:
        [N, 2], x and y of the cell.
    sizes:
        [N, 2], width and height of the anchor; without anchors the stride.
    strides:
        [N]
    counts:
        Predictions a level.
    """

    centres: torch.Tensor
    sizes: torch.Tensor
    strides: torch.Tensor
    counts: tuple[int, ...]

    def boxes(self) -> torch.Tensor:
        """[N, 4], x1, y1, x2, y2 of the anchors, or of squares of one stride."""
        return torch.cat([self.centres - self.sizes / 2, self.centres + self.sizes / 2], 1)


@dataclass(frozen=True)
class Raw:
    """Maps as rows: ``classes`` [B, N, classes], ``boxes`` [B, N, 4], ``objectness`` [B, N]."""

    classes: torch.Tensor
    boxes: torch.Tensor
    objectness: torch.Tensor | None

    def scores(self) -> torch.Tensor:
        """[B, N, classes] in [0, 1]: of the class, times that of there being an object."""
        found = self.classes.sigmoid()
        return found if self.objectness is None else found * self.objectness.sigmoid()[..., None]


@dataclass(frozen=True)
class BoxCode:
    """What four numbers of a prediction mean: ``box`` of a head's description.

    Members
    -------
    kind:
        ``ssd``, ``yolo``, ``grid`` or ``distance``.
    variances:
        Of ``ssd``.
    function:
        Of ``distance``: ``linear``, ``relu`` or ``exp``.
    """

    kind: str = "distance"
    variances: tuple[float, float] = (0.1, 0.2)
    function: str = "exp"

    def __post_init__(self) -> None:
        check_boxes(self.kind, self.function)

    def description(self) -> dict[str, Any]:
        """As it stands in a model's metadata."""
        more: dict[str, dict[str, Any]] = {"ssd": {"variances": list(self.variances)},
                                           "distance": {"function": self.function}}
        return {"kind": self.kind, **more.get(self.kind, {})}

    def decode(self, raw: torch.Tensor, priors: Priors) -> torch.Tensor:
        """Boxes [..., N, 4] as x1, y1, x2, y2 in pixels, from the predictions' numbers."""
        stride = priors.strides[:, None]
        first, second = raw[..., :2], raw[..., 2:]
        if self.kind == "distance":
            reach = (raw.clamp(max=_LARGEST).exp() if self.function == "exp"
                     else raw.clamp(min=0)) * stride
            return torch.cat([priors.centres - reach[..., :2], priors.centres + reach[..., 2:]], -1)
        if self.kind == "ssd":
            offset = self.variances[0] * first * priors.sizes
            size = priors.sizes * (self.variances[1] * second).clamp(max=_LARGEST).exp()
        elif self.kind == "yolo":
            offset = (2 * first.sigmoid() - 0.5) * stride
            size = priors.sizes * (2 * second.sigmoid()) ** 2
        else:
            offset, size = first * stride, stride * second.clamp(max=_LARGEST).exp()
        centre = priors.centres + offset
        return torch.cat([centre - size / 2, centre + size / 2], -1)

    def start(self) -> float:
        """The bias to begin with: boxes of two strides, or of the anchor's size."""
        if self.kind == "distance" and self.function != "exp":
            return 1.0
        return 0.0


class Branches(nn.Module):
    """What predicts at one level: a branch for classes and one for boxes, separable convolutions.

    Parameters
    ----------
    depth:
        Separable convolutions of each branch before the last one, whose pointwise part predicts.
    prior:
        Probability of a class at the beginning (Lin et al., 2017).
    """

    def __init__(
        self, style: Style, inp: int, classes: int, anchors: int, code: BoxCode, *, depth: int,
        objectness: bool, prior: float = 0.01,
    ) -> None:
        super().__init__()

        def tower() -> nn.Sequential:
            return nn.Sequential(
                *[Separable(style, inp, inp, act="relu") for _ in range(depth)],
                Unit(style, inp, inp, 3, groups=inp, act="relu"))

        def predict(channels: int, bias: float) -> Unit:
            unit = Unit(style, inp, channels, norm=False)
            nn.init.normal_(unit.conv.weight, std=0.01)
            assert unit.conv.bias is not None
            nn.init.constant_(unit.conv.bias, bias)
            return unit

        rare = -math.log(1 / prior - 1)
        self.class_tower, self.box_tower = tower(), tower()
        self.class_logits = predict(anchors * classes, 0.0 if objectness else rare)
        self.box_numbers = predict(anchors * 4, code.start())
        self.object_logits = predict(anchors, rare) if objectness else None

    def forward(self, x: Any) -> dict[str, torch.Tensor]:
        boxes = self.box_tower(x)
        found = {"class": real(self.class_logits(self.class_tower(x))),
                 "box": real(self.box_numbers(boxes))}
        if self.object_logits is not None:
            found["objectness"] = real(self.object_logits(boxes))
        return found


def flatten(maps: Maps, anchors: Sequence[int]) -> Raw:
    """Rows of all levels; ``anchors`` a cell by level."""

    def rows(part: str) -> torch.Tensor:
        found = []
        for level, n in zip(maps, anchors):
            b, c, h, w = level[part].shape
            found.append(level[part].reshape(b, n, c // n, h, w).permute(0, 3, 4, 1, 2)
                         .reshape(b, h * w * n, c // n))
        return torch.cat(found, 1)

    objects = rows("objectness")[..., 0] if "objectness" in maps[0] else None
    return Raw(rows("class"), rows("box"), objects)
