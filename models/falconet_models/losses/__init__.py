"""Losses of detectors: of boxes and of classes. A sample's loss comes alone; the trainer sums."""

from falconet_models.losses.boxes import BOX_LOSSES, BoxLoss, box_loss
from falconet_models.losses.classify import cross_entropy, focal, hinge, soften

__all__ = [
    "BOX_LOSSES", "BoxLoss", "box_loss", "cross_entropy", "focal", "hinge", "soften",
]
