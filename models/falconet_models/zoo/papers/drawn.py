"""Weights for a network that nobody has trained: drawn, and such that nothing dies on the way.

Every layer's weights are drawn as He et al. (2015) do and then scaled until its output on the
sample photographs has the standard deviation 1; batch norms get the statistics of the same
photographs, with the variance of a channel not below a tenth of the mean of all: a channel that
hardly moves on few photographs would explode on another one. Their gain is 3, where SiLU and
h-swish are nearly straight: within their bend every layer would raise the contrast, and a hundred
of them would make numbers without end of a photograph that has a little more of it. So activations
keep their variance, gates do not saturate, and the quantiser meets distributions as a trained
network has them. The biases of a detector's heads are moved until a share of the anchors passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from falconet_models.zoo.papers.units import Scores

__all__ = ["draw"]

_SPREAD = {"each": 1.0, "fifth": 1.0, "first": 4.0}  # of logits; a softmax needs wider ones
_SHARE, _MOST = 0.05, 20
_LEAST = 0.1
_GAIN = 3.0

Layer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


def draw(network: nn.Module, samples: Sequence[NDArray[np.float32]], seed: int = 0) -> None:
    """Fill ``network`` in place, by the same bytes in every run; ``samples`` are [1, 3, H, W].

    What is not trained at all (``requires_grad`` is false) stays as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    layers = [m for m in network.modules()
              if isinstance(m, Layer) and m.weight.requires_grad]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.constant_(norm.weight, _GAIN)
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    hooks = [*(layer.register_forward_hook(_Scaling()) for layer in layers),
             *(norm.register_forward_pre_hook(_measure) for norm in norms)]
    try:
        with torch.no_grad():
            network(torch.from_numpy(np.concatenate(list(samples))))
    finally:
        for hook in hooks:
            hook.remove()


def _measure(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
    """The statistics that a batch norm is about to use."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance.clamp(min=_LEAST * float(variance.mean())))


class _Scaling:
    """Scales a layer the first time that it runs; it may run again at other places."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, layer: nn.Module, _: Any, y: torch.Tensor) -> torch.Tensor | None:
        assert isinstance(layer, Layer)
        if self.done:
            return None
        self.done = True
        spread = _SPREAD[layer.decides] if isinstance(layer, Scores) else 1.0
        factor = spread / max(float(y.std()), 1e-6)
        layer.weight.mul_(factor)
        y = y * factor
        if isinstance(layer, Scores):
            assert layer.bias is not None
            layer.settle(y, _SHARE, _MOST)
            y = y + layer.bias[:, None, None]
        return y
