"""What a model file says about its use: ``metadata_props["falconet"]``, a JSON object.

It goes unchanged into the quantised model and from there into the program file (``meta``).

``model``        name of the network
``preprocess``   how a photograph becomes the input tensor:

    ``fit``      ``"letterbox"``: scale to fit into the input, centre, surround with ``pad``;
                 ``"crop"``: scale the shorter side to ``resize`` pixels, cut out the centre;
                 ``"stretch"``: scale each axis on its own
    ``size``     [height, width] of the input
    ``colour``   channel order: ``"RGB"``, ``"BGR"`` or ``"GRAY"``
    ``mean``, ``std``  one number a channel, in this order, in units of 0..255:
                 ``x = (pixel - mean) / std``
    ``pad``      letterbox only: one pixel value a channel, in this order
    ``resize``   crop only

``postprocess``  what the outputs mean; without it they are returned as they are:

    ``kind`` ``"classification"``: ``output`` (name), ``labels`` (list of names)
    ``kind`` ``"retinaface"``: ``levels`` (list of ``stride``, ``min_sizes`` and the names of the
    tensors ``bbox``, ``class``, ``landmark``), ``variances`` [centre, size], ``labels``,
    ``score_threshold``, ``nms_threshold``
"""

from __future__ import annotations

import json
from typing import Any

import onnx

from falconet.isa import FalconetError

__all__ = ["KEY", "get_meta", "set_meta"]

KEY = "falconet"


def get_meta(model: onnx.ModelProto) -> dict[str, Any]:
    """The model's description, empty if it has none."""
    for prop in model.metadata_props:
        if prop.key == KEY:
            try:
                meta = json.loads(prop.value)
            except ValueError:
                meta = None
            if not isinstance(meta, dict):
                raise FalconetError(
                    f"model '{model.graph.name}': metadata_props['{KEY}'] is not a JSON object; "
                    "remove it or export the model again"
                )
            return meta
    return {}


def set_meta(model: onnx.ModelProto, meta: dict[str, Any]) -> None:
    """Put ``meta`` into the model, in place of what was there."""
    for prop in model.metadata_props:
        if prop.key == KEY:
            prop.value = json.dumps(meta)
            return
    model.metadata_props.add(key=KEY, value=json.dumps(meta))
