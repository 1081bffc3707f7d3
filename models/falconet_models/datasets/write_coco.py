"""Any data set as a COCO folder."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from falconet.isa import FalconetError
from falconet.isa.files import store
from falconet_models.datasets.sample import Dataset, Sample

__all__ = ["write_coco"]


def write_coco(
    dataset: Dataset, folder: str | Path, split: str, *, info: dict[str, Any] | None = None,
) -> Path:
    """Write a data set as ``annotations/instances_SPLIT.json`` and PNGs in ``SPLIT``.

    Categories are numbered from 1 in the order of the labels, images and annotations from 1 in the
    order of the data set; what is ignored becomes a crowd. Pixels and boxes are kept to the bit.
    On a terminal a bar shows how far it is.

    Parameters
    ----------
    info:
        What the file says of itself.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    FalconetError
        If the split is already there, or two images have one name.
    """
    folder = Path(folder)
    path = folder / "annotations" / f"instances_{split}.json"
    if path.exists() or (folder / split).exists():
        raise FalconetError(f"{folder}: there is a split '{split}' already; name another folder")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names: set[str] = set()
    console = Console(stderr=True)
    columns = (TextColumn("  {task.description:<44}", markup=False), BarColumn(24),
               MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        for i in bar.track(range(len(dataset)), description=f"write {folder / split}"):
            sample = dataset.load(i)
            name = Path(sample.name).with_suffix(".png").as_posix()
            if name.startswith("/") or ".." in name.split("/"):
                raise FalconetError(f"image '{sample.name}' would be written outside {folder}; "
                                    "rename it")
            if name in names:
                raise FalconetError(f"image '{sample.name}' is there twice; rename one of them")
            names.add(name)
            packed = io.BytesIO()
            Image.fromarray(sample.image).save(packed, "PNG", compress_level=1)
            store(folder / split / name, packed.getvalue())
            height, width = sample.image.shape[:2]
            images.append({"id": i + 1, "file_name": name, "width": width, "height": height})
            annotations += _annotations(sample, i + 1, len(annotations) + 1)
    store(path, json.dumps({
        "info": info or {}, "licenses": [],
        "images": images, "annotations": annotations,
        "categories": [{"id": n, "name": name, "supercategory": ""}
                       for n, name in enumerate(dataset.labels, 1)],
    }).encode())
    return path


def _annotations(sample: Sample, image: int, first: int) -> list[dict[str, Any]]:
    """The objects of image number ``image``, numbered from ``first``."""
    objects = zip(sample.boxes.astype(np.float64).tolist(), sample.classes.tolist(),
                  sample.ignored.tolist())
    return [
        {"id": number, "image_id": image, "category_id": c + 1,
         "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
         "iscrowd": int(ignored), "segmentation": []}
        for number, ((x1, y1, x2, y2), c, ignored) in enumerate(objects, first)]
