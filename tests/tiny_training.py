"""A detector that is trained in seconds."""

from __future__ import annotations

from typing import Any

from falconet_models.datasets import Digits
from falconet_models.train.recipe import Recipe

TRAIN, VAL = Digits("train", 48, 64), Digits("val", 8, 64)
BASE: dict[str, Any] = {
    "network": "digits", "fields": {"size": [32, 32], "neck": 16}, "epochs": 2, "batch": 16,
    "workers": 0, "threads": 1, "rate": 0.004, "ema": 0.9,
    "augment": {"mosaic": 0.3},
    "quantise": {"epochs": 1, "rate": 0.0005, "images": 16},
}


def recipe(**changes: Any) -> Recipe:
    """The small recipe with some fields changed."""
    return Recipe.from_dict({**BASE, **changes})
