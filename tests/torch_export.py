"""PyTorch's exporter as tests use it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import nn

__all__ = ["exported"]


def exported(network: nn.Module, *shapes: tuple[int, ...], opset: int = 17,
             names: Sequence[str] = ("x",)) -> onnx.ModelProto:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), tuple(map(torch.zeros, shapes)), file,
                          opset_version=opset, dynamo=False, input_names=list(names),
                          output_names=["y"])
    return onnx.load_from_string(file.getvalue())
