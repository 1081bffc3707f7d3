"""Losses of detectors: of boxes, classes and numbers, and a teacher's.

A sample's loss comes alone, and is 0 where the sample is ignored; the trainer sums.
"""

from falconet_models.losses.classify import (
    CLASS_LOSSES,
    balance,
    cross_entropy,
    focal,
    hinge,
    soften,
)
from falconet_models.losses.distill import Features, attention_transfer, soft_targets
from falconet_models.losses.iou import BOX_LOSSES, BoxLoss, box_loss
from falconet_models.losses.regress import l1, smooth_l1

__all__ = [
    "BOX_LOSSES", "CLASS_LOSSES", "BoxLoss", "Features", "attention_transfer", "balance",
    "box_loss", "cross_entropy", "focal", "hinge", "l1", "smooth_l1", "soft_targets", "soften",
]
