"""Losses of classes. Logits are [N, C]; a loss is [N], 0 where a sample is ``ignored`` (bool [N]).

Targets are classes (int64 [N]) or shares of classes (float [N, C]).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["cross_entropy", "focal", "hinge", "soften"]


def soften(targets: Tensor, count: int, smoothing: float = 0.0) -> Tensor:
    """Targets as shares [N, C]; ``smoothing`` of each is spread over all classes evenly.

    Szegedy et al., arXiv 1512.00567, section 7.
    """
    shares = targets if targets.ndim == 2 else F.one_hot(targets, count)
    return shares.float() * (1 - smoothing) + smoothing / count


def _kept(loss: Tensor, ignored: Tensor | None) -> Tensor:
    """``where`` keeps what is not finite in an ignored sample out of the sum, gradients too."""
    return loss if ignored is None else torch.where(ignored, torch.zeros_like(loss), loss)


def _calm(logits: Tensor, ignored: Tensor | None) -> Tensor:
    return logits if ignored is None else logits.masked_fill(ignored[:, None], 0.0)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0,
    ignored: Tensor | None = None,
) -> Tensor:
    """-sum over classes of weight · share · ln softmax(logits).

    ``weights`` [C] make it the balanced one: inverse shares of the classes, for example.
    """
    shares = soften(targets, logits.shape[1], smoothing)
    if weights is not None:
        shares = shares * weights
    loss = -(shares * F.log_softmax(_calm(logits, ignored), 1)).sum(1)
    return _kept(loss, ignored)


def focal(
    logits: Tensor, targets: Tensor, *, gamma: float = 2.0, alpha: float | None = 0.25,
    smoothing: float = 0.0, ignored: Tensor | None = None,
) -> Tensor:
    """Focal loss of a sigmoid for each class (Lin et al., arXiv 1708.02002, equation 5), summed.

    A background sample has shares of zero. ``gamma`` 0 and ``alpha`` None make it the binary cross
    entropy. For shares between 0 and 1 the factor (1 - p_t)^gamma becomes |share - p|^gamma.
    """
    shares = soften(targets, logits.shape[1], smoothing).to(logits)
    calm = _calm(logits, ignored)
    entropy = F.binary_cross_entropy_with_logits(calm, shares, reduction="none")
    weight = (shares - calm.sigmoid()).abs() ** gamma if gamma else torch.ones_like(calm)
    if alpha is not None:
        weight = weight * (alpha * shares + (1 - alpha) * (1 - shares))
    return _kept((weight * entropy).sum(1), ignored)


def hinge(
    logits: Tensor, classes: Tensor, *, margin: float = 1.0, ignored: Tensor | None = None,
) -> Tensor:
    """max(0, margin + the greatest other logit - the class's own) (Crammer and Singer, 2001)."""
    calm = _calm(logits, ignored)
    own = calm.gather(1, classes[:, None]).squeeze(1)
    others = calm.scatter(1, classes[:, None], -torch.inf)
    return _kept((margin + others.amax(1) - own).clamp(min=0), ignored)
