"""All hyper-parameters of a run: one YAML file, checked, and saved with the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from falconet.isa import FalconetError, near
from falconet.isa.errors import shown
from falconet.isa.files import store
from falconet_models.architecture import DetectorConfig, preset
from falconet_models.checked import STRICT, Finite, Part, Range, Weight, checked
from falconet_models.datasets import Dataset
from falconet_models.datasets.transforms import Augment
from falconet_models.yaml12 import dump_yaml, read_yaml

__all__ = [
    "BOX_KINDS", "Assign", "BoxTerm", "ClassTerm", "Distil", "Quantise", "Recipe", "builtin",
    "choose",
]

_FOLDER = Path(__file__).parent / "recipes"
_SMALL = 160

BOX_KINDS = (
    "iou", "iou_log", "giou", "diou", "ciou", "eiou", "focal_eiou", "siou",
    "alpha_iou", "alpha_giou", "alpha_diou", "alpha_ciou", "wiou_v1", "wiou_v2", "wiou_v3",
)
"""The names of ``falconet_models.losses.BOX_LOSSES``, without PyTorch, which that needs."""

Epochs = Annotated[int, Field(ge=0, le=1_000_000)]
Rate = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Assign:
    """Which predictions learn which object (:mod:`falconet_models.assign`); ``options`` are its."""

    kind: Literal["simota", "atss", "iou"] = "simota"
    options: dict[str, Finite] = field(default_factory=dict)
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class ClassTerm:
    """The loss of classes.

    Members
    -------
    kind:
        Of ``CLASS_LOSSES``. ``cross_entropy`` and ``hinge`` hold the classes of positives against
        each other and need a network with ``objectness``.
    quality:
        The target of a positive is its IoU instead of 1.
    balanced:
        Of ``cross_entropy``: classes weigh by the inverse of how often they occur.
    """

    kind: Literal["focal", "binary", "balanced_binary", "cross_entropy", "hinge"] = "focal"
    weight: Weight = 1.0
    smoothing: Part = 0.0
    quality: bool = False
    balanced: bool = False
    options: dict[str, Finite | None] = field(default_factory=dict)
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class BoxTerm:
    """The loss of boxes: ``kind`` of ``BOX_KINDS``, and ``options`` of its formula."""

    kind: str = "ciou"
    weight: Weight = 2.0
    options: dict[str, Finite] = field(default_factory=dict)
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Distil:
    """What a float teacher adds (:mod:`falconet_models.losses.distill`).

    Members
    -------
    teacher:
        A run's folder or a checkpoint; empty: none.
    soft, features, attention:
        Weights of its class scores, features, and attention.
    """

    teacher: str = ""
    temperature: Annotated[float, Field(gt=0, le=1000)] = 2.0
    soft: Weight = 1.0
    features: Weight = 0.0
    attention: Weight = 0.0
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Quantise:
    """Training on as the machine computes.

    Members
    -------
    epochs:
        0: only calibrated (quantisation after training).
    rate:
        Learning rate at the beginning.
    images:
        For calibration, from the training images, not augmented.
    teach:
        Weight of the float network's own class scores as soft targets; not if there is a teacher
        already (:class:`Distil`).
    """

    epochs: Epochs = 10
    rate: Rate = 1e-4
    images: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    teach: Weight = 0.0
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Recipe:
    """One run.

    Members
    -------
    network, fields:
        A preset (:data:`falconet_models.networks.detector.PRESETS`), and what is changed of its
        ``DetectorConfig``.
    start:
        ``imagenet``, or a run or checkpoint whose weights are taken where name and shape agree.
    rate, final, warmup, decay:
        Learning rate at its highest and, as a part of that, at the end of the cosine; epochs until
        it is reached; weight decay.
    clip:
        Largest norm of a gradient; 0: any.
    ema:
        Decay of the averaged weights, which are what is judged and kept.
    patience:
        Epochs without a better mAP after which a phase ends; 0: never.
    scales:
        Least and greatest size of a batch's images, of the network's input.
    workers, threads:
        Processes that prepare images; threads of PyTorch on a CPU (0: its choice).
    """

    network: str = "digits"
    fields: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    epochs: Epochs = 60
    batch: Annotated[int, Field(ge=1, le=65_536)] = 32
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: Rate = 4e-3
    final: Part = 0.02
    warmup: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    decay: Part = 0.02
    clip: Weight = 10.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    patience: Epochs = 0
    judge_every: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    scales: Range = (1.0, 1.0)
    workers: Annotated[int, Field(ge=0, le=256)] = 1
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    assign: Assign = field(default_factory=Assign)
    classes: ClassTerm = field(default_factory=ClassTerm)
    boxes: BoxTerm = field(default_factory=BoxTerm)
    objects: Weight = 1.0
    distil: Distil = field(default_factory=Distil)
    augment: Augment = field(default_factory=Augment)
    quantise: Quantise = field(default_factory=Quantise)
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.boxes.kind not in BOX_KINDS:
            raise FalconetError(f"boxes.kind: {shown(self.boxes.kind)} is unknown; "
                                f"{near(self.boxes.kind, BOX_KINDS)}choose one of: "
                                f"{', '.join(BOX_KINDS)}")

    def config(self, labels: tuple[str, ...]) -> DetectorConfig:
        """The network's, for these classes."""
        base = preset(self.network, labels=labels).to_dict()
        fields = dict(self.fields)
        if "labels" in fields:
            raise FalconetError("fields.labels: the data set names the classes; leave it out")
        backbone = fields.pop("backbone", {})
        if isinstance(backbone, dict):
            backbone = {**base["backbone"], **backbone}
        return DetectorConfig.from_dict({**base, **fields, "backbone": backbone}, "fields")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in YAML."""
        found: dict[str, Any] = TypeAdapter(Recipe).dump_python(self, mode="json")
        return found

    @classmethod
    def from_dict(cls, values: Any, where: str = "recipe") -> Recipe:
        """Inverse of :meth:`to_dict`; what is left out has its default.

        Raises
        ------
        FalconetError
            naming the field that is unknown, of the wrong kind or out of bounds, those of the
            network too.
        """
        if not isinstance(values, dict):
            raise FalconetError(f"{where}: not a list of 'name: value'; write one a line")
        recipe = checked(cls, values, where)
        try:
            recipe.config(("any",))
        except FalconetError as e:
            raise FalconetError(f"{where}: {e}") from None
        return recipe

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """From a YAML file, or a built-in one by name."""
        file = Path(path)
        if not file.exists() and str(path) in builtin():
            file = _FOLDER / f"{path}.yaml"
        meant = "" if file.exists() else near(path, builtin())
        values = read_yaml(file, f"{meant}give a YAML file, or one of the recipes "
                                 f"{', '.join(builtin())}")
        return cls.from_dict({} if values is None else values, str(path))

    def save(self, path: Path) -> None:
        """As YAML, every field."""
        store(path, dump_yaml(self.to_dict()).encode())


def builtin() -> list[str]:
    """Names of the recipes that come with Falconet."""
    return sorted(p.stem for p in _FOLDER.glob("*.yaml"))


def choose(dataset: Dataset, *, quick: bool = False) -> str:
    """The built-in recipe for images of this size: ``small`` up to 160 pixels, else ``photo``."""
    some = range(0, len(dataset), max(1, len(dataset) // 16))
    side = max(max(dataset.load(i).image.shape[:2]) for i in some)
    return ("small" if side <= _SMALL else "photo") + ("-quick" if quick else "")
