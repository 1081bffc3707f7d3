"""Any data set by its path."""

from __future__ import annotations

from pathlib import Path

from falconet.isa import FalconetError, near
from falconet_models.datasets.coco import annotation_file, open_coco
from falconet_models.datasets.digits import Digits
from falconet_models.datasets.sample import Dataset
from falconet_models.datasets.voc import open_voc
from falconet_models.datasets.yolo import description_file, open_yolo

__all__ = ["open_dataset"]


def open_dataset(path: str | Path, split: str, *, skip_faults: bool = False) -> Dataset:
    """One split of a data set, checked, in whichever format it is.

    Parameters
    ----------
    path:
        A VOC, COCO or YOLO folder, a YOLO ``data.yaml``, or ``digits``, the built-in set, if
        nothing of that name is here.
    split:
        ``"train"``, ``"val"`` or ``"test"``, or what the data set calls it.
    skip_faults:
        Leave faulty images and boxes out instead of refusing the data set.

    Raises
    ------
    FalconetError
        Says what was looked for, or names the file and line at fault.
    """
    folder = Path(path)
    if not folder.exists():
        if str(path) == "digits":
            return Digits(split)
        raise FalconetError(
            f"{folder}: no such file or folder; {near(folder, ['digits'])}name a data set, or "
            "'digits' for the built-in one")
    if folder.is_file():
        if folder.suffix in (".yaml", ".yml"):
            return open_yolo(folder, split, skip_faults=skip_faults)
        raise FalconetError(f"{folder}: a file, but no YOLO data.yaml; name the data set's folder")
    if (folder / "ImageSets" / "Main").is_dir():
        return open_voc(folder, split, skip_faults=skip_faults)
    annotations = annotation_file(folder, split)
    if annotations is not None:
        return open_coco(annotations, skip_faults=skip_faults)
    description = description_file(folder)
    if description is not None:
        return open_yolo(description, split, skip_faults=skip_faults)
    raise FalconetError(
        f"{folder}: not a data set with a split '{split}': there is no ImageSets/Main (VOC), no "
        f"annotations/instances_{split}.json (COCO) and no data.yaml (YOLO); name its folder")
