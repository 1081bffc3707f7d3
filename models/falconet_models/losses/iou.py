"""Losses of boxes, by name: :func:`box_loss`.

Boxes are float tensors [N, 4] of x1, y1, x2, y2 in pixels; a loss is [N]. Every loss is 0 where a
box is its ground truth and has an area. Degenerate boxes (no width, no height, no overlap) have
finite losses and bounded gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from falconet.isa import FalconetError, near

__all__ = ["BOX_LOSSES", "BoxLoss", "WiseIoU", "box_loss"]

EPS = 1e-9
FLOOR = 1e-3
"""Pixels and square pixels: what is divided by is no smaller, since gradients grow with its
inverse."""


@dataclass(frozen=True)
class Pair:
    """What the losses are made of, for boxes b and their ground truths g; every field is [N].

    ``dx``, ``dy``: from the centre of g to that of b; ``w``, ``h`` and ``wg``, ``hg``: the sizes;
    ``cw``, ``ch``: the size of the smallest box C that encloses both.
    """

    iou: Tensor
    union: Tensor
    dx: Tensor
    dy: Tensor
    w: Tensor
    h: Tensor
    wg: Tensor
    hg: Tensor
    cw: Tensor
    ch: Tensor

    @classmethod
    def of(cls, b: Tensor, g: Tensor) -> Pair:
        if b.shape != g.shape or b.ndim != 2 or b.shape[1] != 4:
            raise FalconetError(
                f"boxes {list(b.shape)} and ground truth {list(g.shape)} do not go together; give "
                "[N, 4] twice")
        w, h = (b[:, 2:] - b[:, :2]).clamp(min=0).unbind(1)
        wg, hg = (g[:, 2:] - g[:, :2]).clamp(min=0).unbind(1)
        both = torch.minimum(b[:, 2:], g[:, 2:]) - torch.maximum(b[:, :2], g[:, :2])
        iw, ih = both.clamp(min=0).unbind(1)
        inside = iw * ih
        union = w * h + wg * hg - inside
        cw, ch = (torch.maximum(b[:, 2:], g[:, 2:]) - torch.minimum(b[:, :2], g[:, :2])).unbind(1)
        dx, dy = ((b[:, 2:] + b[:, :2] - g[:, 2:] - g[:, :2]) / 2).unbind(1)
        return cls(inside / union.clamp(min=FLOOR), union, dx, dy, w, h, wg, hg, cw, ch)

    @property
    def outside(self) -> Tensor:
        """The share of C that neither box covers."""
        c = self.cw * self.ch
        return (c - self.union) / c.clamp(min=FLOOR)

    @property
    def distance(self) -> Tensor:
        """d² / c²: of the centres, by the diagonal of C."""
        return (self.dx**2 + self.dy**2) / self.diagonal

    @property
    def diagonal(self) -> Tensor:
        """c²."""
        return (self.cw**2 + self.ch**2).clamp(min=FLOOR)

    @property
    def aspect(self) -> Tensor:
        """a · v of CIoU; no gradient through a."""
        angles = [torch.atan2(w.clamp(min=FLOOR), h.clamp(min=FLOOR))
                  for w, h in ((self.wg, self.hg), (self.w, self.h))]
        v = 4 / math.pi**2 * (angles[0] - angles[1])**2
        a = (v / (1 - self.iou + v + EPS)).detach()
        return a * v

    @property
    def sides(self) -> Tensor:
        """(w - wg)² / Cw² + (h - hg)² / Ch²."""
        return ((self.w - self.wg)**2 / (self.cw**2).clamp(min=FLOOR)
                + (self.h - self.hg)**2 / (self.ch**2).clamp(min=FLOOR))


def _iou(p: Pair) -> Tensor:
    """1 - IoU."""
    return 1 - p.iou


def _iou_log(p: Pair) -> Tensor:
    """-ln IoU (Yu et al., UnitBox, 2016); constant where the boxes do not overlap."""
    return -p.iou.clamp(min=1e-6).log()


def _giou(p: Pair) -> Tensor:
    """1 - IoU + |C \\ (b U g)| / |C| (Rezatofighi et al., 2019, algorithms 1, 2); 0 to 2."""
    return 1 - p.iou + p.outside


def _diou(p: Pair) -> Tensor:
    """1 - IoU + d² / c² (Zheng et al., 2020, equation 7); 0 to 2."""
    return 1 - p.iou + p.distance


def _ciou(p: Pair) -> Tensor:
    """DIoU + a · v (Zheng et al., 2020, equations 8 to 11)."""
    return _diou(p) + p.aspect


def _eiou(p: Pair) -> Tensor:
    """DIoU + differences of the sides (Zhang et al., arXiv 2101.08158, L_EIOU); 0 to 4."""
    return _diou(p) + p.sides


def _focal_eiou(p: Pair, gamma: float = 0.5) -> Tensor:
    """IoU^gamma · EIoU (the same paper, L_Focal-EIOU); the weight has no gradient."""
    return p.iou.detach() ** gamma * _eiou(p)


def _siou(p: Pair, theta: float = 4.0) -> Tensor:
    """Angle, distance and shape cost (Gevorgyan, arXiv 2205.12740); ``theta``: of the shape.

    Its 1 - 2 sin²(asin x - pi/4) is sin(2 asin x) = 2 |dx| |dy| / d².
    """
    angle = 2 * p.dx.abs() * p.dy.abs() / (p.dx**2 + p.dy**2 + EPS)
    gamma = 2 - angle
    distance = sum(1 - torch.exp(-gamma * (d / c.clamp(min=FLOOR))**2)
                   for d, c in ((p.dx, p.cw), (p.dy, p.ch)))
    shape = sum((1 - torch.exp(-(s - t).abs() / torch.maximum(s, t).clamp(min=FLOOR)))**theta
                for s, t in ((p.w, p.wg), (p.h, p.hg)))
    return 1 - p.iou + (distance + shape) / 2


def _alpha(p: Pair, kind: str, alpha: float = 3.0) -> Tensor:
    """The power ``alpha`` of each part (He et al., arXiv 2110.13675, L_alpha-IoU to L_alpha-CIoU).

    The parts are held off 0, where a power below 1 has no finite slope.
    """
    parts = {"iou": [], "giou": [p.outside], "diou": [p.distance], "ciou": [p.distance, p.aspect]}
    loss = 1 - p.iou.clamp(min=1e-6) ** alpha
    for part in parts[kind]:
        loss = loss + part.clamp(min=EPS) ** alpha - EPS**alpha
    return loss


class BoxLoss(nn.Module):
    """One of the losses that have no memory. ``options`` are the formula's, such as ``alpha``."""

    def __init__(self, formula: Callable[..., Tensor], **options: float) -> None:
        super().__init__()
        self._formula = partial(formula, **options)

    def forward(self, boxes: Tensor, truth: Tensor) -> Tensor:
        """Losses [N] of boxes [N, 4] and truth [N, 4]."""
        return self._formula(Pair.of(boxes, truth))


class WiseIoU(BoxLoss):
    """Wise-IoU (Tong et al., arXiv 2301.10051).

    v1 is exp(d² / c²) · (1 - IoU) without a gradient through c; v2 multiplies it by
    (L / mean)^gamma, v3 by beta / (delta · alpha^(beta - delta)) with beta = L / mean, where L is
    the box's own 1 - IoU, without a gradient, and ``mean`` its running mean. The mean moves in
    training mode only and is saved with the module.

    Parameters
    ----------
    version:
        1, 2 or 3.
    epochs, batches:
        t and n of the momentum 1 - 0.05^(1 / (t · n)): after so many epochs of so many batches the
        first value counts for a twentieth.
    """

    mean: Tensor

    def __init__(
        self, version: int, *, gamma: float = 0.5, alpha: float = 1.9, delta: float = 3.0,
        epochs: int = 34, batches: int = 100,
    ) -> None:
        super().__init__(_iou)
        self.version, self.gamma, self.alpha, self.delta = version, gamma, alpha, delta
        self.momentum = 1 - 0.05 ** (1 / (epochs * batches))
        self.register_buffer("mean", torch.ones(()))

    def forward(self, boxes: Tensor, truth: Tensor) -> Tensor:
        p = Pair.of(boxes, truth)
        loss = 1 - p.iou
        if self.training and len(loss):
            self.mean.lerp_(loss.detach().mean().to(self.mean), self.momentum)
        first = loss * torch.exp((p.dx**2 + p.dy**2) / p.diagonal.detach())
        beta = loss.detach() / self.mean.to(loss).clamp(min=EPS)
        if self.version == 2:
            return first * beta**self.gamma
        if self.version == 3:
            return first * beta / (self.delta * self.alpha ** (beta - self.delta))
        return first


BOX_LOSSES: dict[str, Callable[..., BoxLoss]] = {
    **{f.__name__[1:]: partial(BoxLoss, f)
       for f in (_iou, _iou_log, _giou, _diou, _ciou, _eiou, _focal_eiou, _siou)},
    **{f"alpha_{kind}": partial(BoxLoss, partial(_alpha, kind=kind))
       for kind in ("iou", "giou", "diou", "ciou")},
    **{f"wiou_v{version}": partial(WiseIoU, version) for version in (1, 2, 3)},
}
"""Every loss by its name."""


def box_loss(name: str, **options: Any) -> BoxLoss:
    """The loss called ``name``; ``options`` are those of its formula.

    Raises
    ------
    FalconetError
        if there is no such loss.
    """
    if name not in BOX_LOSSES:
        raise FalconetError(f"box loss '{name}' is unknown; {near(name, BOX_LOSSES)}choose one of: "
                            f"{', '.join(BOX_LOSSES)}")
    return BOX_LOSSES[name](**options)
