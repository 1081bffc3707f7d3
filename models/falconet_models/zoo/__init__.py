"""Networks with public weights, as float ONNX models ready to be quantised.

Each model has fixed shapes, batch norm folded, named nodes, and carries in ``metadata_props``
under ``"falconet"`` what inference needs (see :mod:`falconet_models.metadata`).
"""

from __future__ import annotations

import importlib
from typing import Any

import onnx

from falconet.isa import FalconetError

__all__ = ["MODELS", "build"]

MODELS = ("mobilenetv2", "retinaface")


def build(name: str, **options: Any) -> onnx.ModelProto:
    """The float network ``name``; ``options`` are those of its builder (``height``, ``width``).

    Raises
    ------
    FalconetError
        If there is no such network, or a package with its weights is missing.
    """
    if name not in MODELS:
        raise FalconetError(f"model '{name}' is not in the zoo; use one of {', '.join(MODELS)}")
    builder = importlib.import_module(f"falconet_models.zoo.{name}")
    try:
        model = builder.build(**options)
    except TypeError as e:
        raise FalconetError(f"model '{name}': {e}; use the options height and width") from None
    assert isinstance(model, onnx.ModelProto)
    return model
