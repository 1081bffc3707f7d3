"""COCO data sets: one JSON file of a split's images, categories and annotations.

Classes are numbered from 0 in the order of the categories' ids. Crowds (``iscrowd``) and what is to
be ignored (``ignore``) become :attr:`Sample.ignored`.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from falconet.isa import FalconetError
from falconet_models.datasets.sample import Entry, Faults, Files, check_box, image_size

__all__ = ["annotation_file", "image_folder", "open_coco"]

ALIASES = {"val": ("val", "valid", "validation"), "train": ("train",), "test": ("test",)}
"""What other tools call a split."""


def annotation_file(folder: Path, split: str) -> Path | None:
    """The JSON file of a split: ``annotations/instances_SPLIT2017.json`` and its relatives."""
    names = "|".join(map(re.escape, ALIASES.get(split, (split,))))
    ours = re.compile(rf"(instances_)?({names})(\d{{4}})?\.json")
    for path in sorted(folder.glob("annotations/*.json")):
        if ours.fullmatch(path.name):
            return path
    for name in ALIASES.get(split, (split,)):
        path = folder / name / "_annotations.coco.json"
        if path.is_file():
            return path
    return None


def image_folder(annotations: Path) -> Path:
    """Where the images of a JSON file are: beside it, or in the folder that it is named after."""
    if annotations.name == "_annotations.coco.json":
        return annotations.parent
    root, split = annotations.parent, annotations.stem.removeprefix("instances_")
    if root.name == "annotations":
        root = root.parent
    for folder in (root / split, root / "images" / split, root / "images"):
        if folder.is_dir():
            return folder
    return root


def open_coco(
    annotations: str | Path, images: str | Path | None = None, *, skip_faults: bool = False,
) -> Files:
    """A COCO file.

    Parameters
    ----------
    images:
        Folder of the images; found beside the file if not given (:func:`image_folder`).
    skip_faults:
        Leave faulty images and boxes out instead of refusing the data set.

    Raises
    ------
    FalconetError
        Names the file and the id of the image or annotation that is missing, unreadable, outside or
        unknown.
    """
    path = Path(annotations)
    folder = Path(images) if images is not None else image_folder(path)
    data = _load(path)
    categories = sorted(_table(data, "categories", path).items())
    labels = tuple(str(c.get("name", i)) for i, c in categories)
    classes = {i: n for n, (i, _) in enumerate(categories)}
    table = _table(data, "images", path)
    faults = Faults(skip_faults)
    sizes: dict[int, tuple[int, int]] = {}
    for i, record in table.items():
        with faults.gather():
            sizes[i] = _size(folder, record, f"{path}: image {i}")
    objects: dict[int, list[Any]] = {i: [] for i in sizes}
    for i, record in _table(data, "annotations", path).items():
        with faults.gather():
            where = f"{path}: annotation {i}"
            image = record.get("image_id")
            if image not in table:
                raise FalconetError(f"{where}: there is no image {image!r}; correct image_id")
            if record.get("category_id") not in classes:
                raise FalconetError(f"{where}: category {record.get('category_id')!r} is unknown; "
                                    "correct it or add it to categories")
            if image in sizes:
                ignored = bool(record.get("iscrowd") or record.get("ignore"))
                box = check_box(_corners(record.get("bbox"), where), sizes[image], where)
                objects[image].append((box, classes[record["category_id"]], ignored))
    entries = [Entry.of(folder / table[i]["file_name"], table[i]["file_name"], size, objects[i])
               for i, size in sizes.items()]
    return Files(labels, tuple(entries), faults.close())


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FalconetError(f"{path}: no such file; name a COCO file of annotations") from None
    except json.JSONDecodeError as e:
        raise FalconetError(f"{path}:{e.lineno}: malformed JSON ({e.msg}); correct it") from None
    except UnicodeDecodeError:
        raise FalconetError(f"{path}: not a text in UTF-8; save it as such") from None
    if not isinstance(data, dict):
        raise FalconetError(f"{path}: not a JSON object; name a COCO file of annotations")
    return data


def _table(data: dict[str, Any], key: str, path: Path) -> dict[int, dict[str, Any]]:
    """The records of a list by their ids."""
    records = data.get(key)
    if not isinstance(records, list):
        raise FalconetError(f"{path}: the list '{key}' is missing; name a COCO file of annotations")
    table: dict[int, dict[str, Any]] = {}
    for n, record in enumerate(records):
        i = record.get("id") if isinstance(record, dict) else None
        if type(i) is not int:
            raise FalconetError(f"{path}: {key}[{n}] has no id that is an integer; add one")
        if i in table:
            raise FalconetError(f"{path}: {key}[{n}]: the id {i} is there twice; renumber one")
        table[i] = record
    return table


def _size(folder: Path, record: dict[str, Any], where: str) -> tuple[int, int]:
    name = record.get("file_name")
    if not isinstance(name, str) or not name:
        raise FalconetError(f"{where}: file_name is missing; add it")
    size = image_size(folder / name, where)
    stated = record.get("width", size[0]), record.get("height", size[1])
    if stated != size:
        raise FalconetError(
            f"{where}: width and height are {stated[0]} x {stated[1]}, but {folder / name} is of "
            f"{size[0]} x {size[1]} pixels; correct them or replace the image")
    return size


def _corners(box: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(
            isinstance(v, (int, float)) and math.isfinite(v) for v in box):
        raise FalconetError(
            f"{where}: bbox {box!r} is not a list of four numbers; write [x, y, width, height]")
    x, y, w, h = box
    return x, y, x + w, y + h
