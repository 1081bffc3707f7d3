"""Networks with public weights, as float ONNX models ready to be quantised, and one of our own.

Each model has fixed shapes, batch norm folded, named nodes, and carries in ``metadata_props``
under ``"falconet"`` what inference needs (see :mod:`falconet_models.metadata`).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from falconet.isa import FalconetError, near

if TYPE_CHECKING:
    import onnx

__all__ = ["MODELS", "TRAINED", "build", "trained"]

MODELS = {
    "mobilenetv2": "what a photograph shows: 1,000 classes, 224 x 224",
    "retinaface": "faces and their landmarks, 320 x 320",
}
"""Float networks and what they find; each is built by the module of its name."""
TRAINED = {"digits": "handwritten digits, 96 x 96"}
"""Trained by ``falconet train``, in int8; each lies in a folder with how it was made."""


def trained(name: str) -> Path:
    """The QCDQ ONNX file of one of ``TRAINED``."""
    return Path(__file__).parent / name / "model.onnx"


def build(name: str, **options: Any) -> onnx.ModelProto:
    """The float network ``name``; ``options`` are those of its builder (``height``, ``width``).

    Raises
    ------
    FalconetError
        If there is no such network, or a package with its weights is missing.
    """
    if name in TRAINED:
        raise FalconetError(f"model '{name}' was trained in int8 and has no float form here; "
                            f"compile it as it is, or use one of {', '.join(MODELS)}")
    if name not in MODELS:
        folder = "a folder, and " if Path(name).is_dir() else ""
        raise FalconetError(f"model '{name}' is {folder}not in the zoo; "
                            f"{near(name, (*MODELS, *TRAINED))}use one of "
                            f"{', '.join((*MODELS, *TRAINED))}")
    builder = importlib.import_module(f"falconet_models.zoo.{name}")
    try:
        model = builder.build(**options)
    except TypeError as e:
        raise FalconetError(f"model '{name}': {e}; use the options height and width") from None
    return cast("onnx.ModelProto", model)
