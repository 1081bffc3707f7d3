"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["Cost", "cost"]


@dataclass(frozen=True)
class Cost:
    """``parameters`` that are trained, scales of quantisers apart; ``macs`` of one image."""

    parameters: int
    macs: int


def cost(network: nn.Module, size: tuple[int, int]) -> Cost:
    """Of the convolutions (and batch norms) of a network for an input of [height, width]."""
    macs = 0

    def count(layer: nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, nn.Conv2d)
        macs += layer.weight[0].numel() * out[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules()
             if isinstance(m, nn.Conv2d)]
    training = network.training
    try:
        device = next(network.parameters()).device
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *size, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    parameters = sum(p.numel() for m in layers for p in m.parameters(recurse=False))
    return Cost(parameters, macs)
