"""A starting point: MobileNetV2 trained on ImageNet, from the package that the zoo uses."""

from __future__ import annotations

import numpy as np
import torch

from falconet.isa import FalconetError
from falconet_models.checkpoint import load_state_dict
from falconet_models.networks.detector import Detector
from falconet_models.networks.layers import Unit
from falconet_models.networks.mobilenet import Classifier
from falconet_models.zoo.mobilenetv2 import checkpoint

__all__ = ["load_imagenet"]


def load_imagenet(network: Detector | Classifier) -> None:
    """Fill the backbone (a classifier of 1,000 classes: all) of a float MobileNetV2-1.0, in place.

    The checkpoint and the network have their layers in the same order. A detector whose ``mean``
    and ``std`` are not ImageNet's must get used to its input.

    Raises
    ------
    FalconetError
        for another network, and where the weights' package is not installed.
    """
    c = network.config
    if network.style != "float" or (c.backbone.family, c.backbone.width) != ("mobilenetv2", 1.0):
        raise FalconetError("weights from ImageNet are those of a float mobilenetv2 of width 1; "
                            "choose that, or start from nothing")
    state = {k: torch.from_numpy(np.ascontiguousarray(v))
             for k, v in load_state_dict(checkpoint()).items()}
    convs = [k.removesuffix(".weight") for k, v in state.items() if k.endswith("weight")
             and v.ndim == 4]
    units = [m for m in network.backbone.modules() if isinstance(m, Unit)]
    for unit, conv in zip(units, convs):
        stem, last = conv.rsplit(".", 1)
        norm = f"{stem}.{int(last) + 1}."
        unit.conv.load_state_dict({"weight": state[f"{conv}.weight"]})
        unit.norm.load_state_dict({k.removeprefix(norm): v for k, v in state.items()
                                   if k.startswith(norm)}, strict=False)
    if isinstance(network, Classifier) and network.config.classes == 1000:
        network.head.logits.conv.load_state_dict({
            "weight": state["classifier.1.weight"][..., None, None],
            "bias": state["classifier.1.bias"]})
