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
    ``kind`` ``"detection"``: what a file of heads (``--heads``) holds too:

    ``labels``       list of class names
    ``levels``       list of ``stride`` (pixels, or [y, x]), ``anchors`` (list of [width, height] in
                     pixels; absent: one of the stride's size), and the names of the tensors
                     ``class`` [A * classes, H, W], ``box`` [A * 4, H, W], and, if there are,
                     ``objectness`` [A, H, W], ``landmark`` [A * 2 * points, H, W]; all of them
                     logits and offsets as a convolution makes them
    ``score``        ``"sigmoid"`` (the default): of the class, times that of the objectness
                     ``"geometric"``: the root of that product (FCOS with its centerness)
                     ``"softmax"``: ``class`` is [A * (classes + 1), H, W], of which channel
                     ``background`` of an anchor (default 0) is no class; when the model is
                     quantised its logit is taken away from the others, which leaves
                     [A * classes, H, W] and ``"background": "zero"``, of one class a sigmoid
    ``box``          what the four channels ``r`` of an anchor are, ``stride`` and ``anchor`` in
                     pixels, ``cell`` the centre of the cell (see ``offset``):

        ``{"kind": "ssd", "variances": [v0, v1]}``  centre = cell + v0 * r * anchor, size = anchor *
        exp(v1 * r) (variances default to 1, 1)
        ``{"kind": "linear", "variances": [v0, v1]}``  the same, but size = anchor * v1 * r
        (BlazeFace)
        ``{"kind": "grid"}``  centre = cell + r * stride, size = stride * exp(r) (YOLOX)
        ``{"kind": "yolo"}``  centre = cell + (2 * sigmoid(r) - 0.5) * stride, size = anchor * (2 *
        sigmoid(r))**2 (YOLOv5)
        ``{"kind": "yolov3", "scale": s}``  centre = cell + (s * sigmoid(r) - (s - 1) / 2) * stride,
        size = anchor * exp(r); s defaults to 1 (YOLOv4: its scale_x_y)
        ``{"kind": "distance", "function": "linear" | "relu" | "exp"}``  to the left, top, right and
        bottom edge, in strides (FCOS); none is below 0; the function defaults to linear
        ``{"kind": "dfl", "bins": b}``  the same of [A * 4 * b, H, W], channel (a * 4 + side) * b +
        i: a distance is the sum of i times the softmax over the bins of its side (YOLOv8, GFL)

        Landmarks of ssd and linear: cell + v0 * r * anchor; of the others: cell + r * stride.

    ``offset``       of ``cell`` from the corner of the cell, in strides (default 0.5, whatever the
                     box; YOLOX and YOLOs up to v7 count from the corner: 0)
    ``clip``         boxes end at the edges of the input (default false)
    ``nms``          ``"greedy"`` (default), ``"soft_linear"``, ``"soft_gaussian"``, ``"diou"``
    ``agnostic``     classes suppress each other (default false)
    ``maximum``      boxes that there is room for (default 100)
    ``score_threshold``, ``nms_threshold``, ``sigma``  defaults 0.5, 0.45, 0.5
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
