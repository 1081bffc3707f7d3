"""Distillation: a student learns what a teacher says, sees and looks at.

The teacher never gets a gradient. It may be any network: a larger float one, an average of the
student's own past weights (self-distillation), or a fellow student (online); several teachers are
averaged by :func:`soft_targets`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from falconet.isa import FalconetError

__all__ = ["Features", "attention_transfer", "soft_targets"]


def soft_targets(
    student: Tensor, teachers: Tensor | Sequence[Tensor], *, temperature: float = 4.0,
    binary: bool = False, ignored: Tensor | None = None,
) -> Tensor:
    """T² · KL(teacher || student), [N], of logits [N, C] divided by the ``temperature`` T.

    Hinton et al., arXiv 1503.02531, section 2; T² keeps the gradient's size. The divergence instead
    of the cross entropy takes the teacher's own entropy off: same gradient, 0 where they agree.

    Parameters
    ----------
    teachers:
        Logits [N, C] of one, or a sequence of them, whose probabilities are averaged.
    binary:
        Each class is a sigmoid by itself (detectors) instead of one softmax; summed over classes.
    ignored:
        bool [N]; such samples have loss 0.

    Raises
    ------
    FalconetError
        if shapes differ or there is no teacher.
    """
    given = [teachers] if isinstance(teachers, Tensor) else list(teachers)
    shapes = [list(t.shape) for t in given]
    if not given or any(s != list(student.shape) for s in shapes) or student.ndim != 2:
        raise FalconetError(f"logits {list(student.shape)} of the student and {shapes} of its "
                            "teachers do not go together; give [N, C] of each")
    if ignored is not None:
        student, *given = [t.masked_fill(ignored[:, None], 0.0) for t in (student, *given)]
    s = student / temperature
    logits = torch.stack([t.detach() for t in given]).to(s) / temperature
    if binary:
        p = logits.sigmoid().mean(0)
        loss = F.binary_cross_entropy_with_logits(s, p, reduction="none")
        loss = (loss + torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).sum(1)
    else:
        p = logits.softmax(2).mean(0)
        loss = F.kl_div(F.log_softmax(s, 1), p, reduction="none").sum(1)
    return temperature**2 * loss


def _alike(student: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's map [B, C, H, W] at the student's height and width, without a gradient."""
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise FalconetError(f"features {list(student.shape)} and {list(teacher.shape)} do not go "
                            "together; give [B, C, H, W] of the same images")
    teacher = teacher.detach().to(student)
    height, width = student.shape[2:]
    return F.adaptive_avg_pool2d(teacher, (height, width))


class Features(nn.Module):
    """Half the mean squared difference of intermediate features, [B], behind an adapter.

    Romero et al., FitNets, arXiv 1412.6550, equation 3. The adapter is a 1 x 1 convolution from the
    student's channels to the teacher's; its weights are to be trained with the student's and are
    no part of it. A teacher's map of another size is pooled to the student's.

    Parameters
    ----------
    student, teacher:
        Channels.
    """

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.adapter = nn.Conv2d(student, teacher, 1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Losses [B] of maps [B, C, H, W]."""
        difference = self.adapter(student) - _alike(student, teacher)
        loss: Tensor = (difference**2).flatten(1).mean(1) / 2
        return loss


def attention_transfer(student: Tensor, teacher: Tensor, *, power: float = 2.0) -> Tensor:
    """Squared distance between where two networks look, [B], 0 to 2, of features [B, C, H, W].

    Zagoruyko and Komodakis, arXiv 1612.03928, equation 2: attention is the mean over channels of
    |features|^power, of length 1 over all places. Squared, as its authors' code has it, for a slope
    at 0. Channels may differ; the attention of another size is pooled to the student's.
    """
    looks, taught = [(f.abs() ** power).mean(1, keepdim=True) for f in (student, teacher)]
    taught = _alike(looks, taught)
    difference = F.normalize(looks.flatten(1)) - F.normalize(taught.flatten(1))
    return (difference**2).sum(1)
