"""YOLO folders: ``data.yaml`` names the classes and where each split's images are.

The text file of an image has its name, in ``labels`` in place of ``images`` in its path: a line for
each object with class, centre x, centre y, width and height, the last four as parts of the image's
size. An image without such a file has no object.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from falconet.isa import FalconetError, near
from falconet.isa.errors import shown
from falconet_models.datasets.sample import Entry, Faults, Files, check_box, image_size
from falconet_models.texts import class_names, decimal, lines_of, named
from falconet_models.yaml12 import read_yaml

__all__ = ["SUFFIXES", "description_file", "open_yolo"]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def description_file(folder: Path) -> Path | None:
    """``data.yaml``, or the only YAML file in the folder."""
    found = sorted(p for p in folder.glob("*.y*ml") if p.suffix in (".yaml", ".yml"))
    named = [p for p in found if p.stem == "data"]
    return (named or found)[0] if named or len(found) == 1 else None


def open_yolo(description: str | Path, split: str, *, skip_faults: bool = False) -> Files:
    """One split of a YOLO data set.

    Parameters
    ----------
    description:
        Its ``data.yaml``. A split there is a folder of images, a text file that lists images, or a
        list of such.
    skip_faults:
        Leave faulty images and boxes out instead of refusing the data set.

    Raises
    ------
    FalconetError
        Names the file and the line of what is missing, unreadable, outside or unknown.
    """
    path = Path(description)
    data = _load(path)
    labels = _labels(data, path)
    faults, entries = Faults(skip_faults), []
    for image, where in _images(data, path, split):
        with faults.gather():
            entries.append(_entry(image, where, len(labels), faults))
    return Files(labels, tuple(entries), faults.close())


def _load(path: Path) -> dict[str, Any]:
    data = read_yaml(path, "name the data.yaml of a data set")
    if not isinstance(data, dict):
        raise FalconetError(f"{path}: not a description of a data set; write names, train and val")
    return data


def _labels(data: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = data.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise FalconetError(
                f"{path}: names are not numbered from 0 to {len(names) - 1}; renumber them")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise FalconetError(f"{path}: names is missing; list the names of the classes")
    count = data.get("nc", len(names))
    if type(count) is not int or count != len(names):
        raise FalconetError(f"{path}: nc is {shown(count)}, but there are {len(names)} names; "
                            "correct one of them")
    return class_names(names, f"{path}: names")


def _place(part: Any, data: dict[str, Any], path: Path, split: str) -> Path:
    """Where a split is: below ``path`` of the description, or below its folder."""
    if not isinstance(part, str) or not part:
        raise FalconetError(f"{path}: {split} is {shown(part)}, not a path; name a folder of "
                            "images")
    base = data.get("path") or "."
    if not isinstance(base, str):
        raise FalconetError(f"{path}: path is {shown(base)}, not a path; name the set's folder")
    root = path.parent / base
    places = [root / part, path.parent / part]
    if part.startswith("../"):  # one tool writes a path from a folder that it does not ship
        places.append(path.parent / part[3:])
    for place in places:
        if os.path.exists(place):
            return place
    raise FalconetError(f"{path}: {split} names {named(places[0])}, which is missing; "
                        "correct the path")


def _images(data: dict[str, Any], path: Path, split: str) -> list[tuple[Path, str]]:
    """The images of a split, and who asks for each: a file and line, or the folder."""
    if data.get(split) is None:
        there = [k for k in ("train", "val", "test") if data.get(k)]
        raise FalconetError(f"{path}: there is no split '{split}'; {near(split, there)}there are "
                            f"{', '.join(there) or 'none'}")
    parts = data[split] if isinstance(data[split], list) else [data[split]]
    found: list[tuple[Path, str]] = []
    for part in parts:
        place = _place(part, data, path, split)
        if place.is_dir():
            found += [(p, str(place)) for p in sorted(place.rglob("*"))
                      if p.suffix.lower() in SUFFIXES]
            continue
        for number, line in lines_of(place, "name a folder of images, or a list of them"):
            found.append((place.parent / line, f"{place}:{number}"))
    if not found:
        raise FalconetError(f"{path}: there is no image in {split}; correct the path")
    return found


def _label_file(image: Path) -> Path:
    """``images`` in the path becomes ``labels``: the last one does."""
    parts = list(image.with_suffix(".txt").parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts)


def _entry(image: Path, where: str, classes: int, faults: Faults) -> Entry:
    size = image_size(image, where)
    path = _label_file(image)
    objects = []
    lines = lines_of(path, "correct or remove it") if os.path.exists(path) else []
    for number, line in lines:
        with faults.gather():
            objects.append(_object(line, size, classes, f"{path}:{number}"))
    return Entry.of(image, image.name, size, objects)


def _object(
    line: str, size: tuple[int, int], classes: int, where: str,
) -> tuple[tuple[float, float, float, float], int, bool]:
    try:
        kind, x, y, w, h = map(decimal, line.split())
    except ValueError:
        kind = x = y = w = h = math.nan
    if not all(map(math.isfinite, (kind, x, y, w, h))) or kind != int(kind):
        raise FalconetError(f"{where}: {shown(line)} is not class, x, y, width, height; "
                            "write five numbers")
    if not 0 <= kind < classes:
        raise FalconetError(f"{where}: class {kind:.15g} is unknown, there are {classes}; "
                            "correct it or add a name")
    if max(x, y, w, h) > 2:
        raise FalconetError(f"{where}: {shown(line)} is in pixels; divide by the image's "
                            f"size, {size[0]} x {size[1]}")
    box = ((x - w / 2) * size[0], (y - h / 2) * size[1],
           (x + w / 2) * size[0], (y + h / 2) * size[1])
    return check_box(box, size, where), int(kind), False
