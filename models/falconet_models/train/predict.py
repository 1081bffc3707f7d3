"""From a network and images to boxes on the images, as detectors are judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from falconet_models.architecture import DetectorConfig
from falconet_models.datasets import Found
from falconet_models.datasets.loader import Batch
from falconet_models.networks.detector import Detector

__all__ = ["MOST", "SCORE", "normalise", "predict", "suppress"]

SCORE = 0.01
"""A detector is judged by all boxes from this score up."""
MOST = 100
_LOOKED_AT = 300


def normalise(images: Tensor, config: DetectorConfig) -> Tensor:
    """Pixels [B, 3, H, W], 0 to 255, as the network's input."""
    mean = torch.tensor(config.mean, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(config.std, device=images.device).view(1, 3, 1, 1)
    found: Tensor = (images.float() - mean) / std
    return found.contiguous(memory_format=torch.channels_last)


def suppress(boxes: Tensor, scores: Tensor, *, threshold: float, score: float = SCORE,
             most: int = MOST) -> Found:
    """Greedy suppression within each class.

    ``boxes`` [N, 4], ``scores`` [N, classes]; the best 300 pairs of box and class are looked at.
    """
    rows, classes = (scores > score).nonzero(as_tuple=True)
    pairs = scores[rows, classes]
    best = pairs.argsort(descending=True, stable=True)[:_LOOKED_AT]
    chosen = boxes[rows[best]].cpu().numpy()
    values, kinds = pairs[best].cpu().numpy(), classes[best].cpu().numpy()
    if not len(chosen):
        return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    corners = np.concatenate([chosen[:, :2], chosen[:, 2:] - chosen[:, :2]], 1)
    kept = np.asarray(cv2.dnn.NMSBoxesBatched(
        corners.astype(float).tolist(), values.tolist(), kinds.tolist(), score, threshold),
        np.int64)
    kept = kept[np.argsort(-values[kept], kind="stable")][:most]
    return Found(chosen[kept], values[kept], kinds[kept])


@torch.no_grad()
def predict(detector: Detector, batches: Iterable[Batch]) -> Iterator[tuple[int, Found]]:
    """Numbers of images and what is found in them, in pixels of the original images."""
    detector.eval()
    device = next(detector.parameters()).device
    threshold = detector.config.nms_threshold
    for batch in batches:
        boxes, scores = detector.decode(detector(normalise(batch.images.to(device),
                                                           detector.config)))
        for b, number in enumerate(batch.numbers.tolist()):
            found = suppress(boxes[b], scores[b], threshold=threshold)
            yield number, Found(batch.frame(b).back(found.boxes), found.scores, found.classes)
