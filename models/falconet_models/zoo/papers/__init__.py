"""Networks of the field as their papers define them, in PyTorch, at any width and input size.

The definitions are our own. :data:`NETWORKS` says of each what is published of it, which
``tests/models/zoo`` holds them to; :func:`make` gives the module, ``drawn`` its weights where no
package brings trained ones, ``to_onnx`` the file that PyTorch's exporter writes.

``python -m falconet_models.zoo.papers NAME FILE.onnx`` does all of that (``--narrow``: the small
form that the test-suite runs).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from falconet.isa import FalconetError, near

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "Published", "make", "photograph"]


@dataclass(frozen=True)
class Published:
    """A network, and what its paper or its authors' own implementation says of it.

    ``title``       as it is called
    ``file``        the module here, and in it what makes the network
    ``size``        height and width that the table is made with
    ``parameters``  all that are trained; a number that is known to fewer digits has fewer (in M)
    ``gmacs``       billions of multiply-accumulates at ``at`` (default: ``size``), if they are
                    published, and ``within`` which share of them a count lies; some count more
                    than convolutions, or print two digits
    ``source``      of the two figures
    ``made_for``    whether the module takes the size of its input, because its tail depends on it
    ``narrow``      width and input of the small form, and further options of the module
    ``photograph``  how a photograph becomes the input (:func:`photograph`)
    ``outputs``     names of the results
    """

    title: str
    file: str
    size: tuple[int, int]
    parameters: int | float
    gmacs: float | None
    source: str
    at: tuple[int, int] = (0, 0)
    within: float = 0.005
    made_for: bool = False
    narrow: dict[str, Any] = field(default_factory=dict)
    photograph: str = "crop"
    outputs: tuple[str, ...] = ("output",)

    def input_size(self, narrow: bool = False) -> tuple[int, int]:
        """Height and width of the input, of the small form if ``narrow``."""
        found: tuple[int, int] = self.narrow.get("size", self.size) if narrow else self.size
        return found


def _detector(title: str, file: str, size: int, parameters: float, gmacs: float, source: str,
              **more: Any) -> Published:
    return Published(title, file, (size, size), parameters, gmacs, source, made_for=True,
                     **{"photograph": "pixels", **more})


_TORCHVISION = "torchvision"
_SMALL: dict[str, Any] = {"width": 0.25, "size": (64, 64), "classes": 16}
_YOLO: dict[str, Any] = {"width": 0.5, "size": (64, 64), "classes": 8}

NETWORKS = {
    "squeezenet": Published(
        "SqueezeNet 1.1", "squeezenet.SqueezeNet", (224, 224), 1_235_496, 0.349, _TORCHVISION,
        narrow=_SMALL),
    "mobilenetv1": Published(
        "MobileNetV1", "mobilenets.MobileNetV1", (224, 224), 4_231_976, 0.569,
        "Howard et al., 2017; timm", narrow=_SMALL),
    "mobilenetv2": Published(
        "MobileNetV2", "mobilenets.MobileNetV2", (224, 224), 3_504_872, 0.301, _TORCHVISION,
        narrow=_SMALL),
    "mobilenetv3-small": Published(
        "MobileNetV3-S", "mobilenets.small", (224, 224), 2_542_856, 0.057, _TORCHVISION,
        within=0.01, narrow=_SMALL),
    "mobilenetv3-large": Published(
        "MobileNetV3-L", "mobilenets.large", (224, 224), 5_483_032, 0.217, _TORCHVISION,
        narrow=_SMALL),
    "mnasnet": Published(
        "MnasNet-B1", "mobilenets.MnasNet", (224, 224), 4_383_312, 0.314, _TORCHVISION,
        narrow=_SMALL),
    "shufflenetv1": Published(
        "ShuffleNetV1 1.0x, g = 3", "shufflenets.ShuffleNetV1", (224, 224), 1.9, 0.138,
        "Zhang et al., 2018, as its authors list it", within=0.01,
        narrow={**_SMALL, "width": 0.2}),
    "shufflenetv2": Published(
        "ShuffleNetV2 1.0x", "shufflenets.ShuffleNetV2", (224, 224), 2_278_604, 0.145,
        _TORCHVISION, narrow=_SMALL),
    "xception": Published(
        "Xception", "xception.Xception", (299, 299), 22_855_952, 8.4, "Chollet, 2017; timm",
        within=0.01, narrow={**_SMALL, "width": 0.06, "size": (96, 96)}),
    "resnet18": Published(
        "ResNet-18", "resnets.resnet18", (224, 224), 11_689_512, 1.814, _TORCHVISION,
        narrow=_SMALL),
    "resnet50": Published(
        "ResNet-50", "resnets.resnet50", (224, 224), 25_557_032, 4.089, _TORCHVISION,
        narrow={**_SMALL, "width": 0.125}),
    "regnetx-400mf": Published(
        "RegNetX-400MF", "resnets.RegNetX", (224, 224), 5_495_976, 0.414, _TORCHVISION,
        narrow=_SMALL),
    "efficientnet-b0": Published(
        "EfficientNet-B0", "efficientnets.EfficientNet", (224, 224), 5_288_548, 0.386,
        _TORCHVISION, narrow=_SMALL),
    "efficientdet-d0": _detector(
        "EfficientDet-D0", "efficientnets.EfficientDet", 512, 3.9, 2.5, "Tan et al., 2020",
        within=0.03, narrow={"width": 0.25, "size": (128, 128), "classes": 4},
        photograph="imagenet",
        outputs=("boxes", "scores")),
    "lraspp": Published(
        "LR-ASPP, MobileNetV3-L", "segmentation.LrAspp", (320, 320), 3_221_538, 2.086,
        _TORCHVISION, at=(520, 520), narrow=_SMALL, photograph="stretch"),
    "ssdlite": _detector(
        "SSDLite320, MobileNetV3-L", "ssdlite.SsdLite", 320, 3_440_060, 0.583, _TORCHVISION,
        narrow={**_SMALL, "classes": 5}, photograph="signed", outputs=("boxes", "scores")),
    "deeplabv3": Published(
        "DeepLabV3, MobileNetV3-L", "segmentation.DeepLab", (320, 320), 11_029_328 - 3_851,
        10.452 - 0.016, f"{_TORCHVISION}, less its auxiliary head", at=(520, 520),
        narrow={**_SMALL, "width": 0.2}, photograph="stretch"),
    "unet": Published(
        "U-Net, transposed convolution", "segmentation.unet", (128, 128), 31_037_633, None,
        "Ronneberger et al., 2015, padded and with batch norm",
        narrow={"width": 0.125, "size": (32, 32)}, photograph="pixels"),
    "unet-bilinear": Published(
        "U-Net, bilinear", "segmentation.unet_bilinear", (128, 128), 17_262_977, None,
        "as U-Net", narrow={"width": 0.125, "size": (32, 32)},
        photograph="pixels"),
    "yolov3-tiny": _detector(
        "YOLOv3-tiny", "yolo_anchors.YoloV3Tiny", 416, 8_852_366, 2.78,
        "Redmon and Farhadi, 2018; its PyTorch form", narrow={**_YOLO, "width": 0.25}),
    "yolov5n": _detector(
        "YOLOv5n", "yolo_anchors.YoloV5n", 640, 1_872_157, 2.25,
        "its authors' release 7: 1,867,405 with batch norms folded", within=0.01, narrow=_YOLO),
    "yolov8n": _detector(
        "YOLOv8n", "yolo_free.YoloV8n", 640, 3_157_200, 4.35, "its authors' summary",
        within=0.01, narrow=_YOLO),
    "yolo11n": _detector(
        "YOLO11n", "yolo_free.Yolo11n", 640, 2_624_080, 3.25, "its authors' summary",
        within=0.01, narrow=_YOLO),
    "yolox-nano": _detector(
        "YOLOX-nano", "yolox.YoloXNano", 640, 0.91, 0.54, "Ge et al., 2021", at=(416, 416),
        within=0.04, narrow=_YOLO, photograph="bytes"),
    "pose": Published(
        "Simple pose, ResNet-18", "pose.SimplePose", (256, 192), 15_376_721, None, "Xiao et al., "
        "2018", narrow={**_SMALL, "width": 0.125, "classes": 5}),
    "cbam": Published(
        "ResNet-18 with CBAM", "resnets.cbam18", (224, 224), 11.78, 1.815, "Woo et al., 2018",
        narrow=_SMALL),
    "senet": Published(
        "ResNet-18 with SE", "resnets.se18", (224, 224), 11.78, 1.814, "Woo et al., 2018",
        narrow=_SMALL),
}
"""By name. ``mobilenetv2`` and ``retinaface``, of which a package brings the weights, are in
:data:`falconet_models.zoo.MODELS` as well."""


_IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
# how it fits, order of the colours, mean and deviation a channel, what is beside it
_PHOTOGRAPHS: dict[str, tuple[str, str, list[float], list[float], int]] = {
    "crop": ("crop", "RGB", *_IMAGENET, 0),
    "stretch": ("stretch", "RGB", *_IMAGENET, 0),
    "imagenet": ("letterbox", "RGB", *_IMAGENET, 0),
    "signed": ("stretch", "RGB", [127.5] * 3, [127.5] * 3, 0),
    "pixels": ("letterbox", "RGB", [0.0] * 3, [255.0] * 3, 114),
    "bytes": ("letterbox", "BGR", [0.0] * 3, [1.0] * 3, 114),
}


def photograph(kind: str, size: tuple[int, int]) -> dict[str, Any]:
    """The metadata's ``preprocess`` (:mod:`falconet_models.metadata`) of one of the kinds."""
    fit, colour, mean, std, pad = _PHOTOGRAPHS[kind]
    more: dict[str, Any] = {}
    if fit == "crop":
        more["resize"] = round(max(size) * 8 / 7)
    elif fit == "letterbox":
        more["pad"] = [pad] * 3
    return {"fit": fit, "size": list(size), "colour": colour, "mean": mean, "std": std, **more}


def make(name: str, *, narrow: bool = False, size: tuple[int, int] = (0, 0)) -> nn.Module:
    """A network with the weights that PyTorch begins with, for inputs [1, 3, height, width].

    Raises
    ------
    FalconetError
        If there is no such network.
    """
    if name not in NETWORKS:
        raise FalconetError(f"network '{name}' is unknown; {near(name, NETWORKS)}use one of "
                            f"{', '.join(NETWORKS)}")
    network = NETWORKS[name]
    module, _, maker = network.file.partition(".")
    options: dict[str, Any] = dict(network.narrow) if narrow else {}
    inner = options.pop("size", network.size)
    if network.made_for:
        options["size"] = size if any(size) else inner
    found = getattr(importlib.import_module(f"{__name__}.{module}"), maker)(**options)
    return cast("nn.Module", found)
