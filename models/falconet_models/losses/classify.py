"""Losses of classes. Logits are [N, C]; a loss is [N], 0 where a sample is ``ignored`` (bool [N]).

Targets are classes (int64 [N]) or shares of classes (float [N, C]). The class of an ignored sample
may be anything, -1 too, and its logits need not be finite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CLASS_LOSSES", "balance", "cross_entropy", "focal", "hinge", "soften"]


def balance(counts: Tensor) -> Tensor:
    """Weights [C] of classes that occur ``counts`` [C] times: their inverse, 1 on average.

    The average is over samples, so the loss keeps its size. A class without samples weighs 0.
    """
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1).double(), 0.0)
    return (weights * counts.sum() / (counts > 0).sum().clamp(min=1)).float()


def soften(targets: Tensor, count: int, smoothing: float = 0.0) -> Tensor:
    """Targets as shares [N, C]; ``smoothing`` of each is spread over all classes evenly.

    Szegedy et al., arXiv 1512.00567, section 7. Rows without any class (background) get their part
    as well.
    """
    shares = targets if targets.ndim == 2 else F.one_hot(targets, count).float()
    return shares * (1 - smoothing) + smoothing / count


def _calm(logits: Tensor, targets: Tensor, ignored: Tensor | None) -> tuple[Tensor, Tensor]:
    """Zeros for what is ignored: a factor of 0 behind the loss would leave its NaN gradients."""
    if ignored is None:
        return logits, targets
    rows = ignored[:, None] if targets.ndim == 2 else ignored
    return logits.masked_fill(ignored[:, None], 0.0), targets.masked_fill(rows, 0)


def _kept(loss: Tensor, ignored: Tensor | None) -> Tensor:
    return loss if ignored is None else loss.masked_fill(ignored, 0.0)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0,
    ignored: Tensor | None = None,
) -> Tensor:
    """-sum over classes of weight · share · ln softmax(logits).

    ``weights`` [C] make it the balanced one; see :func:`balance`.
    """
    logits, targets = _calm(logits, targets, ignored)
    shares = soften(targets, logits.shape[1], smoothing).to(logits)
    if weights is not None:
        shares = shares * weights.to(logits)
    return _kept(-(shares * F.log_softmax(logits, 1)).sum(1), ignored)


def focal(
    logits: Tensor, targets: Tensor, *, gamma: float = 2.0, alpha: float | None = 0.25,
    smoothing: float = 0.0, ignored: Tensor | None = None,
) -> Tensor:
    """Focal loss of a sigmoid for each class (Lin et al., arXiv 1708.02002, equation 5), summed.

    A background sample has shares of zero. ``gamma`` 0 makes it the balanced binary cross entropy
    (the same, equation 3), ``alpha`` None, too, the plain one. For shares between 0 and 1 the
    factor (1 - p_t)^gamma becomes |share - p|^gamma.
    """
    logits, targets = _calm(logits, targets, ignored)
    shares = soften(targets, logits.shape[1], smoothing).to(logits)
    loss = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    if gamma:  # the floor: a power below 1 has no finite slope at 0
        loss = loss * (shares - logits.sigmoid()).abs().clamp(min=1e-6) ** gamma
    if alpha is not None:
        loss = loss * (alpha * shares + (1 - alpha) * (1 - shares))
    return _kept(loss.sum(1), ignored)


def hinge(
    logits: Tensor, targets: Tensor, *, margin: float = 1.0, ignored: Tensor | None = None,
) -> Tensor:
    """max(0, margin + the greatest other logit - the class's own), of classes [N].

    Crammer and Singer, On the algorithmic implementation of multiclass kernel-based vector
    machines, 2001.
    """
    logits, targets = _calm(logits, targets, ignored)
    own = logits.gather(1, targets[:, None]).squeeze(1)
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return _kept((margin + others.amax(1) - own).clamp(min=0), ignored)


CLASS_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy, "hinge": hinge, "focal": focal,
    "balanced_binary": partial(focal, gamma=0.0), "binary": partial(focal, gamma=0.0, alpha=None),
}
"""By name. The first two hold classes against each other; the others look at each by itself, as the
machine's detectors do, and take background (no class at all) too."""
