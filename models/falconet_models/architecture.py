"""What defines a network but its weights: names, numbers, and what of them goes together.

PyTorch is not imported, so that a wrong recipe is refused at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from falconet.isa import FalconetError, near
from falconet.isa.errors import shown
from falconet_models.checked import STRICT, Finite, Part, Side, checked

__all__ = [
    "ANCHORED", "FAMILIES", "PRESETS", "BackboneConfig", "DetectorConfig", "check_boxes",
    "divisible", "preset",
]

FAMILIES = ("mobilenetv1", "mobilenetv2", "mobilenetv3-small", "mobilenetv3-large")

ANCHORED = ("ssd", "yolo")
_KINDS = (*ANCHORED, "grid", "distance")
_FUNCTIONS = ("linear", "relu", "exp")

Positive = Annotated[float, Field(gt=0, le=1e4)]
Anchors = Annotated[tuple[Positive, ...], Field(min_length=1, max_length=16)]
Strides = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...],
                    Field(min_length=1, max_length=8)]


def divisible(channels: float, by: int = 8) -> int:
    """``channels`` to the nearest multiple of ``by``, not below 90 % of it (the papers' rule)."""
    found = max(by, int(channels + by / 2) // by * by)
    return found + by if found < 0.9 * channels else found


def check_boxes(kind: str, function: str) -> None:
    """Refuse what is no code of boxes (:class:`falconet_models.networks.heads.BoxCode`)."""
    for name, value, known in (("box", kind, _KINDS), ("function", function, _FUNCTIONS)):
        if value not in known:
            raise FalconetError(f"{name} {shown(value)} is unknown; {near(value, known)}choose "
                                f"one of: {', '.join(known)}")


@dataclass(frozen=True)
class BackboneConfig:
    """Which MobileNet.

    Members
    -------
    family:
        One of ``FAMILIES``.
    width:
        Multiplier of the channels.
    repeats:
        MobileNetV1's blocks of 512 channels behind the first one; the paper has 5.
    squeeze:
        MobileNetV3 with squeeze and excitation. The machine has no product of two activations, so
        only networks without compile.
    """

    family: str = "mobilenetv2"
    width: Annotated[float, Field(gt=0, le=8)] = 1.0
    repeats: Annotated[int, Field(ge=0, le=64)] = 5
    squeeze: bool = True
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise FalconetError(f"family {shown(self.family)} is unknown; "
                                f"{near(self.family, FAMILIES)}choose one of: "
                                f"{', '.join(FAMILIES)}")
        if not self.width > 0:
            raise FalconetError(f"width {self.width} is impossible; give more than 0")
        if self.repeats < 0:
            raise FalconetError(f"repeats {self.repeats} is impossible; give 0 or more")


@dataclass(frozen=True)
class DetectorConfig:
    """All that defines a detector but its weights; :meth:`to_dict` is JSON.

    Members
    -------
    labels:
        Names of the classes.
    size:
        [height, width] of the input.
    features:
        Strides at which the backbone's features are taken.
    levels:
        Strides at which boxes are predicted: of ``features``, and beyond them by further strided
        convolutions of ``extra`` channels (of ``neck`` channels if there is a neck).
    neck:
        Channels of the top-down neck (feature pyramid), which doubles strides; 0 for none.
    depth:
        Separable convolutions of a head's branch before the last.
    box:
        ``ssd`` or ``yolo`` (anchors), ``grid`` or ``distance`` (anchor-free).
    function:
        Of ``distance``.
    objectness:
        Predict whether there is an object, apart from its class.
    scales, ratios:
        Anchors of every level: ``scale * stride`` is the root of the area, ``ratio`` is height by
        width.
    offset:
        Of a cell's centre from its corner, in strides.
    mean, std:
        Of the pixels, 0 to 255, in R, G, B.
    pad:
        Pixel value around a letterboxed photograph, to be the data's too.
    """

    labels: Annotated[tuple[str, ...], Field(max_length=10_000)]
    name: str = "detector"
    size: Side = (320, 320)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    features: Strides = (16, 32)
    levels: Strides = (16, 32)
    neck: Annotated[int, Field(ge=0, le=2048)] = 0
    extra: Annotated[int, Field(ge=2, le=2048)] = 128
    depth: Annotated[int, Field(ge=0, le=16)] = 0
    box: str = "distance"
    function: str = "exp"
    variances: tuple[Positive, Positive] = (0.1, 0.2)
    objectness: bool = False
    scales: Anchors = (3.0, 4.2)
    ratios: Anchors = (1.0, 0.5, 2.0)
    offset: Part = 0.5
    mean: tuple[Finite, Finite, Finite] = (128.0, 128.0, 128.0)
    std: tuple[Positive, Positive, Positive] = (64.0, 64.0, 64.0)
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    clip: bool = True
    nms: Literal["greedy", "soft_linear", "soft_gaussian", "diou"] = "greedy"
    maximum: Annotated[int, Field(ge=1, le=65_535)] | None = None
    score_threshold: Part = 0.5
    nms_threshold: Part = 0.45
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        check_boxes(self.box, self.function)
        last = max(self.features, default=0)
        beyond = [s for s in self.levels if s > last]
        if set(self.levels) - set(beyond) - set(self.features) or not self.levels:
            raise FalconetError(f"levels {list(self.levels)}: those up to {last} must be among "
                                f"features {list(self.features)}; mend one of them")
        if beyond != [last << i for i in range(1, len(beyond) + 1)]:
            raise FalconetError(f"levels {beyond} beyond the backbone must double {last}; "
                                "leave none out")
        if list(self.levels) != sorted(set(self.levels)):
            raise FalconetError(f"levels {list(self.levels)}: give them in rising order")
        if self.neck and self.levels[0] > self.features[0]:
            raise FalconetError(f"features {list(self.features)}: nothing is predicted at "
                                f"{self.features[0]}; leave it out")
        largest = max(last, *self.levels)
        if any(s % largest or s < largest for s in self.size):
            raise FalconetError(f"size {list(self.size)}: use multiples of {largest}, the largest "
                                "stride")
        if not self.labels:
            raise FalconetError("labels: there are none; name the classes")

    def anchors(self, stride: int) -> list[tuple[float, float]]:
        """[width, height] of a level's anchors in pixels; of the stride's size without anchors."""
        if self.box not in ANCHORED:
            return [(float(stride), float(stride))]
        return [(scale * stride / ratio**0.5, scale * stride * ratio**0.5)
                for scale in self.scales for ratio in self.ratios]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and texts."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "") -> DetectorConfig:
        """Inverse of :meth:`to_dict`; refused are unknown fields and values out of bounds."""
        return checked(cls, values, where)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


_DIGITS = tuple("0123456789")

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "labels": _DIGITS, "size": (96, 96),
        "backbone": BackboneConfig("mobilenetv1", 0.25, repeats=0),
        "features": (8, 16), "levels": (8,), "neck": 48,
    },
    "ssdlite-mobilenetv2": {
        "box": "ssd", "features": (16, 32), "levels": (16, 32, 64),
    },
    "retinanet-mobilenetv2": {
        "box": "ssd", "backbone": BackboneConfig("mobilenetv2", 0.5), "features": (8, 16, 32),
        "levels": (8, 16, 32), "neck": 64, "depth": 1, "scales": (3.0, 3.8, 4.8),
    },
    "grid-mobilenetv1": {
        "backbone": BackboneConfig("mobilenetv1", 0.5), "features": (8, 16, 32),
        "levels": (8, 16, 32), "neck": 64, "box": "grid", "objectness": True, "offset": 0.0,
    },
    "grid-mobilenetv2": {
        "backbone": BackboneConfig("mobilenetv2", 0.5), "features": (8, 16, 32),
        "levels": (8, 16, 32), "neck": 64,
    },
    "grid-mobilenetv3": {
        "backbone": BackboneConfig("mobilenetv3-small", 1.0, squeeze=False),
        "features": (8, 16, 32), "levels": (8, 16, 32), "neck": 64,
    },
}
"""Fields of :class:`DetectorConfig` by name of the preset."""


def preset(name: str, **changes: Any) -> DetectorConfig:
    """The preset ``name`` with some fields changed; all but ``digits`` need ``labels``."""
    if name not in PRESETS:
        raise FalconetError(f"network {shown(name)} is unknown; {near(name, PRESETS)}choose one "
                            f"of: {', '.join(PRESETS)}")
    fields = {"name": name, **PRESETS[name], **changes}
    if "labels" not in fields:
        raise FalconetError(f"network '{name}': labels are missing; name the classes")
    return DetectorConfig(**fields)
