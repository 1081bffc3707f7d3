"""The loss of a detector: assignment, then a term each for classes, boxes and objects."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from falconet.isa import FalconetError
from falconet_models import assign
from falconet_models.assign import Assignment
from falconet_models.datasets.loader import Batch
from falconet_models.losses import CLASS_LOSSES, balance, box_loss, focal
from falconet_models.networks.detector import Detector
from falconet_models.networks.heads import Maps, Priors, Raw
from falconet_models.train.recipe import Recipe

__all__ = ["Criterion"]

_OF_POSITIVES = ("cross_entropy", "hinge")


def shared(value: Tensor) -> Tensor:
    """The mean of ``value`` over all processes that train together."""
    if dist.is_initialized():
        value = value.clone()
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


class Criterion(nn.Module):
    """Terms by name, each the mean over the positives of a batch, and weighted.

    Parameters
    ----------
    counts:
        int64 [classes], objects of each class in the training data.
    batches:
        In an epoch; Wise-IoU's running mean goes by it.
    """

    def __init__(self, recipe: Recipe, objectness: bool, counts: Tensor, batches: int) -> None:
        super().__init__()
        self.recipe = recipe
        boxes = recipe.boxes
        options = dict(boxes.options)
        if boxes.kind.startswith("wiou"):
            options = {"batches": max(1, batches), "epochs": max(1, recipe.epochs), **options}
        try:
            self.box = box_loss(boxes.kind, **options).eval()
            self.box(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 0, 1, 1]]))
            self.box.train()
        except TypeError as e:
            raise FalconetError(f"boxes.options: {e}; mend it") from None
        if recipe.classes.kind in _OF_POSITIVES and not objectness:
            raise FalconetError(
                f"classes.kind: '{recipe.classes.kind}' holds classes against each other and knows "
                "no background; use focal or binary, or a network with objectness")
        self.objectness = objectness
        self.weights = balance(counts) if recipe.classes.balanced else None

    def forward(self, detector: Detector, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """``loss_class``, ``loss_box`` and ``loss_object`` of a batch."""
        raw, priors = detector.flatten(maps), detector.priors(maps)
        boxes = detector.code.decode(raw.boxes, priors)
        found = self.assign(priors, boxes.detach(), raw, batch)
        positive = torch.stack([a.positive for a in found])
        ignored = torch.stack([a.ignored for a in found])
        total = shared(positive.sum().float()).clamp(min=1)
        terms = {"loss_class": self.recipe.classes.weight / total
                 * self._classes(raw, batch, found, positive, ignored)}
        truth = torch.cat([b[a.index[a.positive]] for a, b in zip(found, batch.boxes)])
        loss = self.box(boxes[positive], truth)
        terms["loss_box"] = self.recipe.boxes.weight / total * loss.sum()
        if raw.objectness is not None:
            target = torch.stack([a.iou for a in found]) if self.recipe.classes.quality \
                else positive.float()
            loss = focal(raw.objectness.reshape(-1, 1), (target * positive).reshape(-1, 1),
                         ignored=ignored.reshape(-1), gamma=0.0, alpha=None)
            terms["loss_object"] = self.recipe.objects / total * loss.sum()
        for buffer in self.box.buffers():  # Wise-IoU's mean is that of all processes
            buffer.copy_(shared(buffer))
        return terms

    def _classes(self, raw: Raw, batch: Batch, found: list[Assignment], positive: Tensor,
                 ignored: Tensor) -> Tensor:
        term = self.recipe.classes
        loss, count = CLASS_LOSSES[term.kind], raw.classes.shape[2]
        options = dict(term.options)
        if term.kind in _OF_POSITIVES:
            of = torch.cat([c[a.index[a.positive]] for a, c in zip(found, batch.classes)])
            if term.kind == "cross_entropy":
                return loss(raw.classes[positive], of, weights=self.weights,
                            smoothing=term.smoothing, **options).sum()
            return loss(raw.classes[positive], of, **options).sum()
        shares = torch.stack([a.shares(c, count, quality=term.quality and not self.objectness)
                              for a, c in zip(found, batch.classes)])
        if self.objectness:  # background is the objectness's business
            ignored = ~positive
        return loss(raw.classes.flatten(0, 1), shares.flatten(0, 1), smoothing=term.smoothing,
                    ignored=ignored.flatten(), **options).sum()

    @torch.no_grad()
    def assign(self, priors: Priors, boxes: Tensor, raw: Raw, batch: Batch) -> list[Assignment]:
        """What every prediction of every image learns."""
        kind, options = self.recipe.assign.kind, dict(self.recipe.assign.options)
        scores, found = raw.scores().detach(), []
        if kind == "simota" and raw.objectness is not None:
            scores = scores.sqrt()
        anchors = priors.boxes()
        for b in range(len(boxes)):
            real = batch.classes[b] >= 0
            truth, classes = batch.boxes[b][real], batch.classes[b][real]
            ignored = batch.ignored[b][real]
            try:
                if kind == "simota":
                    made = assign.simota(priors.centres, priors.strides, boxes[b], scores[b],
                                         truth, classes, ignored, **_whole(options))
                elif kind == "atss":
                    made = assign.atss(anchors, priors.counts, truth, ignored, **_whole(options))
                else:
                    made = assign.by_iou(anchors, truth, ignored, **_whole(options))
            except TypeError as e:
                raise FalconetError(f"assign.options: {e}; mend it") from None
            found.append(made)
        return found


def _whole(options: dict[str, float]) -> dict[str, Any]:
    """Counts are whole numbers."""
    return {k: int(v) if k in ("top", "nearest") else v for k, v in options.items()}
