"""The description of a detection head: JSON in, checked values out.

The form is that of kind ``"detection"`` in ``falconet_models.metadata``. Here it is looked at by
itself; :mod:`falconet_models.ptq.head_cut` holds it against an ONNX model,
:mod:`falconet.compiler.detection.tables` against the integer network and the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from falconet.isa.errors import FalconetError, near, shown
from falconet.isa.machine.instructions import Scan, Suppression

__all__ = ["ROLES", "Head", "Level", "fault", "parse"]

ROLES = ("class", "box", "objectness", "landmark")
"""What the tensors of a level are; the first two are always there."""

_BOXES = {"ssd": ("variances",), "linear": ("variances",), "grid": (), "yolo": (),
          "yolov3": ("scale",), "distance": ("function",), "dfl": ("bins",)}
_BINS = Scan.field("bins").hi
_REQUIRED = object()
_MOST = float(1 << 16)


@dataclass(frozen=True)
class Level:
    """One level: ``stride`` (x, y), ``anchors`` (width, height), all in pixels; tensors by role."""

    field: str
    stride: tuple[float, float]
    anchors: tuple[tuple[float, float], ...]
    tensors: dict[str, str]


@dataclass(frozen=True)
class Head:
    """A detection head as its author describes it; ``maximum`` is None where nothing was said.

    ``background``: which of an anchor's logits is the background's, None if it has no channel;
    ``bins`` is 0 where a side has one channel.
    """

    labels: tuple[str, ...]
    levels: tuple[Level, ...]
    score: str
    background: int | None
    box: str
    variances: tuple[float, float]
    function: str
    scale: float
    bins: int
    offset: float
    clip: bool
    nms: str
    agnostic: bool
    maximum: int | None
    score_threshold: float
    nms_threshold: float
    sigma: float

    def channels(self, role: str) -> int:
        """Channels of an anchor in the tensor of ``role``; those of landmarks are not known here.
        """
        return {"class": len(self.labels) + (self.background is not None),
                "box": 4 * max(self.bins, 1), "objectness": 1}[role]

    def tensors(self) -> list[tuple[str, str]]:
        """Every tensor that the head reads, each after the field that names it."""
        return [(f"{level.field}.{role}", name)
                for level in self.levels for role, name in level.tensors.items()]


def fault(field: str, why: str) -> NoReturn:
    """Raise the one-sentence error of a field; ``why`` says what to do."""
    raise FalconetError(f"{field}: {why}")


class _Object:
    """A JSON object whose entries are taken one by one; what is left at the end is refused."""

    def __init__(self, value: Any, field: str) -> None:
        if not isinstance(value, dict):
            fault(field, f"{shown(value)} is not an object; write {{...}}")
        self.left, self.field, self.known = dict(value), field, list[str]()

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        self.known.append(key)
        if key not in self.left and default is _REQUIRED:
            fault(f"{self.field}.{key}", "it is missing; add it")
        return self.left.pop(key, default)

    def name(self, key: str, default: Any = _REQUIRED, choices: tuple[str, ...] = ()) -> str:
        value = self.take(key, default)
        if choices and value not in choices:
            fault(f"{self.field}.{key}", f"{shown(value)} is unknown; {near(value, choices)}choose "
                                         f"one of: {', '.join(choices)}")
        if not isinstance(value, str) or not value:
            fault(f"{self.field}.{key}", f"{shown(value)} is not a text; give a name")
        return value

    def number(self, key: str, default: Any, low: float, high: float = _MOST) -> float:
        return _number(self.take(key, default), f"{self.field}.{key}", low, high)

    def count(self, key: str, low: int, high: int) -> int:
        value = self.take(key)
        if type(value) is not int or not low <= value <= high:
            fault(f"{self.field}.{key}",
                  f"{shown(value)} is no whole number from {low} to {high}; mend it")
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key, False)
        if not isinstance(value, bool):
            fault(f"{self.field}.{key}",
                  f"{shown(value)} is neither true nor false; write one of them")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.take(key)
        if not isinstance(value, list) or not value:
            fault(f"{self.field}.{key}", "it must be a list with something in it; write [...]")
        return value

    def close(self) -> None:
        for key in self.left:
            fault(f"{self.field}.{shown(key)[1:-1]}",
                  f"no such field; {near(key, self.known)}there are {', '.join(self.known)}")


def _number(value: Any, field: str, low: float, high: float = _MOST) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        fault(field, f"{shown(value)} is no number from {low:g} to {high:g}; mend it")
    return value


def _pair(value: Any, field: str, low: float) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        fault(field, f"{shown(value)} is not a pair of numbers; write two in brackets")
    return _number(value[0], field, low), _number(value[1], field, low)


def parse(description: Any, field: str = "postprocess") -> Head | None:
    """The head that a model's ``postprocess`` describes; None if it is of another kind.

    Raises
    ------
    FalconetError
        naming the field, ``postprocess.levels[1].box`` say, and what to do about it.
    """
    if not isinstance(description, dict) or description.get("kind") != "detection":
        return None
    o = _Object(description, field)
    o.take("kind")
    labels = o.items("labels")
    for i, label in enumerate(labels):
        if not isinstance(label, str):
            fault(f"{field}.labels[{i}]",
                  f"{shown(label)} is not a text; give the name of the class")
    levels = tuple(_level(v, f"{field}.levels[{i}]") for i, v in enumerate(o.items("levels")))
    maximum = o.take("maximum", None)
    if maximum is not None and (type(maximum) is not int or maximum < 1):
        fault(f"{field}.maximum", f"{shown(maximum)} is no count of boxes; give 1 or more")
    head = Head(
        labels=tuple(labels), levels=levels, **_box(o.take("box"), f"{field}.box"),
        **_score(o, len(labels)),
        offset=o.number("offset", 0.5, -16, 16), clip=o.flag("clip"),
        nms=o.name("nms", "greedy", tuple(m.name.lower() for m in Suppression)),
        agnostic=o.flag("agnostic"), maximum=maximum,
        score_threshold=o.number("score_threshold", 0.5, 0, 1),
        nms_threshold=o.number("nms_threshold", 0.45, 0, 1),
        sigma=o.number("sigma", 0.5, 1e-6),
    )
    o.close()
    for level in levels:
        if ("landmark" in level.tensors) != ("landmark" in levels[0].tensors):
            fault(f"{level.field}.landmark", "landmarks are in some levels and not in others; name "
                                             "a tensor in all or in none")
    return head


def _box(value: Any, field: str) -> dict[str, Any]:
    """The entries of a Head that say what a box's channels are."""
    box = _Object(value, field)
    found: dict[str, Any] = {"variances": (1.0, 1.0), "function": "linear", "scale": 1.0, "bins": 0}
    kind = found["box"] = box.name("kind", choices=tuple(_BOXES))
    if "variances" in _BOXES[kind]:
        found["variances"] = _pair(box.take("variances", [1, 1]), f"{field}.variances", 0)
    if "function" in _BOXES[kind]:
        found["function"] = box.name("function", "linear", choices=("linear", "relu", "exp"))
    if "scale" in _BOXES[kind]:
        found["scale"] = box.number("scale", 1.0, 1, 16)
    if "bins" in _BOXES[kind]:
        found["bins"] = box.count("bins", 2, _BINS)
    box.close()
    return found


def _score(o: _Object, labels: int) -> dict[str, Any]:
    """The entries of a Head that say what a logit is."""
    score = o.name("score", "sigmoid", ("sigmoid", "softmax", "geometric"))
    if score != "softmax":
        return {"score": score, "background": None}
    if o.left.get("background") == "zero":
        o.take("background")
        return {"score": score, "background": None}
    if "background" not in o.left:
        o.left["background"] = 0
    if type(o.left["background"]) is str:
        fault(f"{o.field}.background", f"{shown(o.left['background'])} is unknown; give the "
                                       "channel of the background's logit, or 'zero' if there is "
                                       "none")
    return {"score": score, "background": o.count("background", 0, labels)}


def _level(value: Any, field: str) -> Level:
    o = _Object(value, field)
    stride = o.take("stride")
    y, x = _pair(stride if isinstance(stride, (list, tuple)) else [stride, stride],
                 f"{field}.stride", 1)
    anchors: tuple[tuple[float, float], ...] = ((x, y),)
    if "anchors" in o.left:
        anchors = tuple(_pair(a, f"{field}.anchors[{i}]", 1 / 16)
                        for i, a in enumerate(o.items("anchors")))
    o.known.append("anchors")
    o.left.pop("anchors", None)
    tensors = {role: o.name(role) for role in ROLES if role in o.left or role in ROLES[:2]}
    o.known += [r for r in ROLES if r not in o.known]
    o.close()
    return Level(field, (x, y), anchors, tensors)
