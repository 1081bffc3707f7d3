"""From a trained float network to the same network as the machine computes it.

``quantise`` is quantisation after training (PTQ): batch norm folded, scales of the activations
observed on batches. Its result trains on as it is (QAT): the scales are parameters, and rounding
passes gradients straight through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
from torch import nn

from falconet.isa import FalconetError
from falconet_models.networks.detector import Detector
from falconet_models.networks.heads import Branches
from falconet_models.networks.layers import Style, Unit, limit
from falconet_models.networks.mobilenet import Classifier

__all__ = ["calibrate", "correct_biases", "fold", "quantise"]

Network = TypeVar("Network", Detector, Classifier)

HEADROOM = 2.0
"""Range of a classifier's logits over what calibration saw: equal, clamped ones have no order."""
LOGITS = 8.0
"""Least range of a detector's logits: beyond it a score is within 2**-11 of 0 or 1, and images
without an object must not end it at no score above 0.5."""


def _rebuilt(network: Network, style: Style) -> Network:
    """The same definition in another style, with the batch norm folded into its parameters."""
    fresh = type(network)(network.config, style)
    units = {n: m for n, m in network.named_modules() if isinstance(m, Unit)}
    with torch.no_grad():
        for name, unit in fresh.named_modules():
            if isinstance(unit, Unit):
                weight, bias = units[name].folded()
                unit.conv.weight.copy_(weight)
                assert unit.conv.bias is not None
                unit.conv.bias.copy_(bias)
    device = next(network.parameters()).device
    return fresh.to(device).eval()


def fold(network: Network) -> Network:
    """The float network with every batch norm in the convolution before it, for inference."""
    return _rebuilt(network, "folded")


def quantise(
    network: Network, batches: Iterable[torch.Tensor], *, corrected: bool = True
) -> Network:
    """The network in Brevitas layers, calibrated.

    Parameters
    ----------
    network:
        Float; it is left alone.
    batches:
        Inputs [B, 3, H, W], normalised, as they come at inference; used once or twice.
    corrected:
        Also correct the biases (:func:`correct_biases`).

    Raises
    ------
    FalconetError
        for a network that is quantised already, and without batches.
    """
    if network.style == "quantised":
        raise FalconetError("the network is quantised already; give the float one")
    found = list(batches)
    fresh = _rebuilt(network, "quantised")
    calibrate(fresh, found)
    if corrected:
        correct_biases(fresh, found)
    return fresh


def _run(network: nn.Module, batches: Iterable[torch.Tensor], *, singly: bool = False) -> None:
    count = 0
    for batch in batches:
        for part in torch.split(batch, 1 if singly else len(batch)):
            network(part)
            count += 1
    if not count:
        raise FalconetError("there are no images to calibrate on; give at least one batch")


@torch.no_grad()
def calibrate(network: Detector | Classifier, batches: Iterable[torch.Tensor]) -> None:
    """Set the scales of all activations from what ``batches`` make of them, in place.

    The mean over the images of the 99.999th percentile: an image at a time, because the percentile
    of a large batch keeps every outlier of any of its images. Logits get more room
    (``HEADROOM``, ``LOGITS``).
    """
    network.eval()
    with calibration_mode(network):
        _run(network, batches, singly=True)
    if isinstance(network, Classifier):
        limit(network.head.logits.act.after).mul_(HEADROOM)
        return
    for head in network.heads:
        assert isinstance(head, Branches)
        for unit in (head.class_logits, head.object_logits):
            if unit is not None:
                limit(unit.act.after).clamp_(min=LOGITS)


@torch.no_grad()
def correct_biases(network: Detector | Classifier, batches: Iterable[torch.Tensor]) -> None:
    """Shift every bias by the mean error that quantisation makes at its output, in place.

    Layer by layer, each seeing the inputs of the float network (Nagel et al., 2019).
    """
    network.eval()
    with bias_correction_mode(network):
        _run(network, batches)
