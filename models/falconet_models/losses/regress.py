"""Losses of numbers, a box's offsets say: predictions and targets [N, D], a loss is [N]."""

from __future__ import annotations

import torch
from torch import Tensor

from falconet.isa import FalconetError

__all__ = ["l1", "smooth_l1"]


def l1(predicted: Tensor, target: Tensor, *, ignored: Tensor | None = None) -> Tensor:
    """Sum of |predicted - target|; 0 where a sample is ``ignored`` (bool [N])."""
    return _difference(predicted, target, ignored).abs().sum(1)


def smooth_l1(
    predicted: Tensor, target: Tensor, *, beta: float = 1.0, ignored: Tensor | None = None,
) -> Tensor:
    """Sum of d² / (2 beta) where d = |predicted - target| < ``beta``, of d - beta / 2 elsewhere.

    Girshick, Fast R-CNN, arXiv 1504.08083, equation 3 (``beta`` 1); Ren et al., Faster R-CNN, use
    1/9. At 0 it is :func:`l1`.
    """
    d = _difference(predicted, target, ignored).abs()
    if not beta:
        return d.sum(1)
    return torch.where(d < beta, d**2 / (2 * beta), d - beta / 2).sum(1)


def _difference(predicted: Tensor, target: Tensor, ignored: Tensor | None) -> Tensor:
    if predicted.shape != target.shape or predicted.ndim != 2:
        raise FalconetError(f"predictions {list(predicted.shape)} and targets "
                            f"{list(target.shape)} do not go together; give [N, D] twice")
    if ignored is None:
        return predicted - target
    rows = ignored[:, None]
    return predicted.masked_fill(rows, 0.0) - target.masked_fill(rows, 0.0)
