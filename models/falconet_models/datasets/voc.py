"""Pascal VOC folders: a list of names, an XML file of objects and an image for each.

``ImageSets/Main/SPLIT.txt`` holds a name a line, ``Annotations/NAME.xml`` the objects,
``JPEGImages`` the images. Boxes count pixels from 1 and include the last one. Classes are the
twenty of VOC, or those in ``labels.txt`` beside the three, one a line.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from falconet.isa import FalconetError, near
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS
from falconet_models.datasets.sample import Entry, Faults, Files, check_box, image_size
from falconet_models.texts import class_names, decimal, lines_of, named, read_bytes

__all__ = ["LABELS", "open_voc"]

LABELS = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")

_LIMITS = LIMITS["voc"]

Object = dict[str, tuple[list[str], int]]
"""Pieces of text, and line, by path below ``object``; the empty path is the element itself."""


def open_voc(folder: str | Path, split: str, *, skip_faults: bool = False) -> Files:
    """One split of a VOC folder.

    Parameters
    ----------
    split:
        Name of a file in ``ImageSets/Main``, ``"trainval"`` say.
    skip_faults:
        Leave faulty images and boxes out instead of refusing the data set.

    Raises
    ------
    FalconetError
        Names the file and the line of what is missing, unreadable, outside or unknown.
    """
    folder = Path(folder)
    labels = _labels(folder)
    names = folder / "ImageSets" / "Main" / f"{split}.txt"
    faults, entries = Faults(skip_faults), []
    for number, line in lines_of(names, "name another split"):
        with faults.gather():
            entries.append(_entry(folder, line.split()[0], f"{names}:{number}", labels, faults))
    return Files(labels, tuple(entries), faults.close())


def _labels(folder: Path) -> tuple[str, ...]:
    path = folder / "labels.txt"
    if not path.is_file():
        return LABELS
    return class_names((name for _, name in lines_of(path, "correct it")), str(path))


def _entry(
    folder: Path, name: str, where: str, labels: tuple[str, ...], faults: Faults,
) -> Entry:
    path = folder / "Annotations" / f"{name}.xml"
    head, objects = _parse(path, where)
    images = [folder / "JPEGImages" / f"{name}{suffix}" for suffix in _SUFFIXES]
    image = next(filter(os.path.isfile, images), images[0])
    size = image_size(image, where)
    _check_size(path, head, size)
    kept = []
    for each in objects:
        with faults.gather():
            kept.append(_object(path, each, size, labels))
    return Entry.of(image, image.name, size, kept)


def _parse(path: Path, where: str) -> tuple[Object, list[Object]]:
    """The elements of an annotation but its objects; its objects."""
    if not os.path.exists(path):
        raise FalconetError(f"{where}: {named(path)} is missing; add it or name another "
                            "split")
    parser = expat.ParserCreate()
    head: Object = {}
    objects: list[Object] = []
    tags: list[str] = []
    nodes = 0

    def place() -> tuple[Object, str]:
        if tags[1:2] == ["object"]:
            return objects[-1], "/".join(tags[2:])
        return head, "/".join(tags[1:])

    def fault(why: str) -> NoReturn:
        raise FalconetError(f"{path}:{parser.CurrentLineNumber}: {why}")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal nodes
        nodes += 1
        if len(tags) == _LIMITS.depth:
            fault(f"nested deeper than {_LIMITS.depth}; make it flat")
        if nodes > _LIMITS.nodes:
            fault(f"there are more than {_LIMITS.nodes:,} elements; make it shorter")
        tags.append(tag)
        if tags[1:] == ["object"]:
            objects.append({})
        found, key = place()
        found.setdefault(key, ([], parser.CurrentLineNumber))

    def text(part: str) -> None:
        found, key = place()
        found[key][0].append(part)

    def document_type(*_: object) -> None:
        fault("a document type (DOCTYPE) has no use here; remove it")

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda tag: tags.pop()
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(read_bytes(path, "voc", "correct it"), True)
    except expat.ExpatError as e:
        raise FalconetError(
            f"{path}:{e.lineno}: malformed XML ({expat.errors.messages[e.code]}); correct it"
        ) from None
    except (ValueError, LookupError):
        raise FalconetError(f"{path}: in an encoding that is not known; save it in UTF-8"
                            ) from None
    return head, objects


def _number(path: Path, found: Object, key: str) -> float:
    if key not in found:
        raise FalconetError(f"{path}:{found[''][1]}: {key} is missing; add it")
    text, line = "".join(found[key][0]).strip(), found[key][1]
    try:
        value = decimal(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FalconetError(f"{path}:{line}: {key} {shown(text)} is not a number; correct it")
    return value


def _check_size(path: Path, head: Object, size: tuple[int, int]) -> None:
    """What the file says of the image's size has to be right; some say nothing, or 0."""
    for key, real in zip(("size/width", "size/height"), size):
        stated = _number(path, head, key) if key in head else 0
        if stated not in (0, real):
            raise FalconetError(
                f"{path}:{head[key][1]}: {key} is {stated:g}, but the image is of {size[0]} x "
                f"{size[1]} pixels; correct it or replace the image")


def _object(
    path: Path, found: Object, size: tuple[int, int], labels: tuple[str, ...],
) -> tuple[tuple[float, float, float, float], int, bool]:
    parts, line = found.get("name", ([], found[""][1]))
    name = "".join(parts).strip()
    if name not in labels:
        raise FalconetError(
            f"{path}:{line}: class {shown(name)} is unknown; {near(name, labels)}correct it, or "
            "list all classes in labels.txt, one a line")
    x1, y1, x2, y2 = (_number(path, found, f"bndbox/{c}") for c in _CORNERS)
    box = check_box((x1 - 1, y1 - 1, x2, y2), size, f"{path}:{found['bndbox'][1]}")
    difficult = "difficult" in found and _number(path, found, "difficult") != 0
    return box, labels.index(name), difficult
