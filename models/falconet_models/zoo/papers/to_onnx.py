"""A network of the papers as the ONNX file that PyTorch's exporter writes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from falconet_models.checkpoint import load_state_dict
from falconet_models.data import calibration_images, test_images
from falconet_models.float_pictures import to_tensor
from falconet_models.metadata import set_meta
from falconet_models.zoo.mobilenetv2 import checkpoint
from falconet_models.zoo.papers import NETWORKS, Published, make, photograph
from falconet_models.zoo.papers.drawn import draw

__all__ = ["OPSET", "onnx_of", "samples_of", "trained"]

OPSET = 17
_PICTURES = {False: 8, True: 24}
_TRAINED = {"mobilenetv2": checkpoint}
"""Networks of which a package brings the weights, and where they lie."""


def trained(name: str) -> bool:
    """Whether a package brings weights of the network; else they are drawn."""
    return name in _TRAINED


def _load(network: nn.Module, path: Path) -> None:
    """Weights of a checkpoint that has the network's tensors in the same order."""
    given = load_state_dict(path)
    own = network.state_dict()
    assert [tuple(v.shape) for v in own.values()] == [v.shape for v in given.values()]
    network.load_state_dict(
        {k: torch.from_numpy(np.array(v)) for k, v in zip(own, given.values())})


def _exported(network: nn.Module, size: tuple[int, int], outputs: Sequence[str]) -> onnx.ModelProto:
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter is the older one; what tracing fixes
        file = str(Path(folder, "network.onnx"))
        torch.onnx.export(
            network, (torch.zeros(1, 3, *size),), file, opset_version=OPSET, dynamo=False,
            input_names=["input"], output_names=list(outputs))
        return onnx.load(file)


def samples_of(preprocess: dict[str, Any], *, narrow: bool) -> list[NDArray[np.float32]]:
    """Inputs [1, 3, H, W] of the sample photographs on which weights are drawn.

    A narrow network sees few pixels of each, so it gets many, and those of :data:`data.TEST` too.
    """
    images = list(calibration_images("mobilenetv2", _PICTURES[narrow]).values())
    if narrow:
        images += test_images("mobilenetv2").values()
    return [to_tensor(image, preprocess) for image in images]


def onnx_of(
    name: str, *, narrow: bool = False, size: tuple[int, int] = (0, 0), seed: int = 0,
) -> onnx.ModelProto:
    """The network for inputs [1, 3, height, width], with its pre-processing in the metadata.

    Parameters
    ----------
    narrow:
        The small form, which has the structure but not the width.
    size:
        In place of the one that the table is made with.
    seed:
        Of the weights that are drawn.

    Raises
    ------
    FalconetError
        If there is no such network, or photographs or weights are not installed.
    """
    network = make(name, narrow=narrow, size=size)
    published = NETWORKS[name]
    shape = size if any(size) else published.input_size(narrow)
    preprocess = photograph(published.photograph, shape)
    if trained(name) and not narrow:
        _load(network, _TRAINED[name]())
        network.eval()
    else:
        draw(network, samples_of(preprocess, narrow=narrow), seed)
    model = _exported(network, shape, published.outputs)
    model.graph.name = name
    set_meta(model, {"model": _title(published, narrow), "preprocess": preprocess})
    return model


def _title(published: Published, narrow: bool) -> str:
    return published.title + ", narrow" * narrow
