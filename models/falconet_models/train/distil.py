"""A student with a frozen teacher at its side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from falconet.isa import FalconetError
from falconet_models.datasets.loader import Batch
from falconet_models.losses import Features, attention_transfer, soft_targets
from falconet_models.networks.detector import Detector
from falconet_models.networks.heads import Maps
from falconet_models.networks.layers import real
from falconet_models.train.checkpoints import load_detector
from falconet_models.train.predict import normalise
from falconet_models.train.recipe import Distil

__all__ = ["Student", "Teacher"]

Seen = tuple[Maps, list[Tensor]]


def _see(detector: Detector, x: Tensor) -> Seen:
    """Maps, and the features that the heads made them of."""
    features = detector.features(x)
    maps = [head(f) for head, f in zip(detector.heads, features)]
    return maps, [real(f) for f in features]


class Student(nn.Module):
    """What is trained: the detector, and adapters to the teacher's features if they count."""

    def __init__(self, detector: Detector, teacher: Teacher | None) -> None:
        super().__init__()
        self.detector = detector
        wide = [] if teacher is None or not teacher.wishes.features else zip(
            _channels(detector), _channels(teacher.detector))
        self.adapters = nn.ModuleList(Features(a, b) for a, b in wide)

    def forward(self, x: Tensor, taught: list[Tensor]) -> tuple[Maps, list[Tensor]]:
        """Maps, and the losses [B] of the features of each level."""
        maps, features = _see(self.detector, x)
        self.looks = features
        return maps, [a(f, t) for a, f, t in zip(self.adapters, features, taught)]


class Teacher:
    """A float detector that says, shows and looks at things, without a gradient.

    Raises
    ------
    FalconetError
        if it predicts other classes, or at other places than the student.
    """

    def __init__(self, wishes: Distil, student: Detector) -> None:
        self.wishes = wishes
        self.detector, _ = load_detector(wishes.teacher)
        self.detector.requires_grad_(False)
        mine, other = self.detector.config, student.config
        for name in ("labels", "levels"):
            if getattr(mine, name) != getattr(other, name):
                raise FalconetError(
                    f"distil.teacher: {name} {list(getattr(mine, name))} are not the student's, "
                    f"{list(getattr(other, name))}; train a teacher with these")
        if any(len(mine.anchors(s)) != len(other.anchors(s)) for s in mine.levels):
            raise FalconetError("distil.teacher: it has other anchors; train one with the "
                                "student's")

    @torch.no_grad()
    def see(self, images: Tensor) -> Seen:
        """Maps and features of images [B, 3, H, W], 0 to 255."""
        self.detector.to(images.device)
        return _see(self.detector, normalise(images, self.detector.config))

    def terms(self, student: Student, maps: Maps, adapted: list[Tensor], seen: Seen,
              batch: Batch) -> dict[str, Tensor]:
        """What is added to the loss, by name; crowds and the like add nothing."""
        wishes, terms = self.wishes, {}
        if wishes.soft:
            mine = student.detector.flatten(maps).classes
            hers = self.detector.flatten(seen[0]).classes
            count = (batch.classes >= 0).sum().clamp(min=1)
            priors = student.detector.priors(maps)
            skip = torch.stack([_in_ignored(priors.centres, b[i])
                                for b, i in zip(batch.boxes, batch.ignored)])
            terms["loss_soft"] = wishes.soft / count * soft_targets(
                mine.flatten(0, 1), hers.flatten(0, 1), temperature=wishes.temperature,
                binary=True, ignored=skip.flatten()).sum()
        if wishes.features:
            terms["loss_features"] = wishes.features * torch.stack(adapted).mean()
        if wishes.attention:
            terms["loss_attention"] = wishes.attention * torch.stack(
                [attention_transfer(a, b).mean() for a, b in zip(student.looks, seen[1])]).mean()
        return terms


def _in_ignored(points: Tensor, boxes: Tensor) -> Tensor:
    """bool [N]: points [N, 2] in any of ``boxes`` [M, 4]."""
    if not len(boxes):
        return torch.zeros(len(points), dtype=torch.bool, device=points.device)
    return ((points[:, None] >= boxes[:, :2]) & (points[:, None] <= boxes[:, 2:])).all(2).any(1)


def _channels(detector: Detector) -> list[int]:
    """Of the features, by level."""
    found = []
    for head in detector.heads:
        found.append(next(m for m in head.modules() if isinstance(m, nn.Conv2d)).in_channels)
    return found
