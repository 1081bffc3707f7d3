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
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS
from falconet_models.datasets.sample import Entry, Faults, Files, check_box, image_size
from falconet_models.texts import class_names, named, read_text

__all__ = ["annotation_file", "image_folder", "open_coco"]

ALIASES = {"val": ("val", "valid", "validation"), "train": ("train",), "test": ("test",)}
"""What other tools call a split."""
_LIMITS = LIMITS["coco"]


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
    labels = class_names((c.get("name", str(i)) for i, c in categories), f"{path}: categories")
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
            image, kind = record.get("image_id"), record.get("category_id")
            if type(image) is not int or image not in table:
                raise FalconetError(f"{where}: there is no image {shown(image)}; correct image_id")
            if type(kind) is not int or kind not in classes:
                raise FalconetError(f"{where}: category {shown(kind)} is unknown; correct it or "
                                    "add it to categories")
            if image in sizes:
                ignored = _flag(record, "iscrowd", where) | _flag(record, "ignore", where)
                box = check_box(_corners(record.get("bbox"), where), sizes[image], where)
                objects[image].append((box, classes[kind], ignored))
    entries = [Entry.of(folder / table[i]["file_name"], table[i]["file_name"], size, objects[i])
               for i, size in sizes.items()]
    return Files(labels, tuple(entries), faults.close())


def _load(path: Path) -> dict[str, Any]:
    advice = "name a COCO file of annotations"
    text = read_text(path, "coco", advice)
    nodes = sum(map(text.count, ",[{"))
    if nodes > _LIMITS.nodes:
        raise FalconetError(f"{path}: there are more than {_LIMITS.nodes:,} values; split the set")

    def whole(digits: str) -> int:
        if len(digits) > _LIMITS.digits:
            line = text.count("\n", 0, text.find(digits)) + 1
            raise FalconetError(f"{path}:{line}: a number of {len(digits):,} digits, "
                                f"{shown(digits)[1:-1]}; correct it")
        return int(digits)

    def record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            name = next(n for n in names if names.count(n) > 1)
            raise FalconetError(f"{path}: {shown(name)} is there twice in the object of "
                                f"{shown(found.get('id', names))}; remove one")
        found.pop("segmentation", None)  # most of the file, and not used
        return found

    try:
        data = json.loads(text, parse_int=whole, object_pairs_hook=record)
    except json.JSONDecodeError as e:
        raise FalconetError(f"{path}:{e.lineno}: malformed JSON ({e.msg}); correct it") from None
    except RecursionError:
        raise FalconetError(f"{path}: nested too deeply; {advice}") from None
    if not isinstance(data, dict):
        raise FalconetError(f"{path}: not a JSON object; {advice}")
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


def _flag(record: dict[str, Any], key: str, where: str) -> bool:
    value = record.get(key)
    if value is not None and not (isinstance(value, (bool, int)) and value in (0, 1)):
        raise FalconetError(f"{where}: {key} is {shown(value)}; write 0 or 1")
    return bool(value)


def _size(folder: Path, record: dict[str, Any], where: str) -> tuple[int, int]:
    name = record.get("file_name")
    if not isinstance(name, str) or not name:
        raise FalconetError(f"{where}: file_name is {shown(name)}; write the name of a picture")
    size = image_size(folder / name, where)
    for key, real in zip(("width", "height"), size):
        stated = record.get(key, real)
        if isinstance(stated, bool) or not isinstance(stated, (int, float)):
            raise FalconetError(f"{where}: {key} is {shown(stated)}, which is no number; write "
                                f"{real}")
        if stated != real:
            raise FalconetError(
                f"{where}: {key} is {shown(stated)}, but {named(folder / name)} "
                f"is of {size[0]} x {size[1]} pixels; correct it or replace the image")
    return size


def _corners(box: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(
            type(v) in (int, float) and math.isfinite(v) for v in box):
        raise FalconetError(
            f"{where}: bbox {shown(box)} is not a list of four numbers; write [x, y, width, "
            "height]")
    x, y, w, h = box
    return x, y, x + w, y + h
