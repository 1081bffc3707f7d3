"""What a data set gives, and what a detector finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.photographs import opened, read_photograph, turned
from falconet_models.texts import named

__all__ = ["Dataset", "Entry", "Faults", "Files", "Found", "Sample", "check_box", "image_size"]

Floats = NDArray[np.float32]

_ROUNDING = 1.0


@dataclass(frozen=True)
class Sample:
    """One image and its ground truth.

    Parameters
    ----------
    image:
        uint8 [H, W, 3], R, G, B.
    boxes:
        float32 [N, 4], x1, y1, x2, y2 in pixels of the image: edges, so that a box of one pixel
        at the top left is 0, 0, 1, 1.
    classes:
        int64 [N], from 0, without background.
    ignored:
        bool [N]: crowds, difficult and cut-off objects, which add nothing to any loss.
    name:
        of the image: its file or number.
    """

    image: NDArray[np.uint8]
    boxes: Floats
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    name: str


@dataclass(frozen=True)
class Found:
    """What a detector found in one image.

    ``boxes`` float32 [N, 4] in pixels of the original image, ``scores`` float32 [N] in [0, 1],
    ``classes`` int64 [N].
    """

    boxes: Floats
    scores: Floats
    classes: NDArray[np.int64]


class Dataset(Protocol):
    """Images with ground truth, by number."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, by number."""

    def __len__(self) -> int: ...

    def load(self, i: int) -> Sample: ...


@dataclass(frozen=True)
class Entry:
    """The ground truth of one file; see :class:`Sample`. ``size`` is (width, height)."""

    path: Path
    name: str
    size: tuple[int, int]
    boxes: Floats
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]

    @classmethod
    def of(
        cls, path: Path, name: str, size: tuple[int, int],
        objects: list[tuple[tuple[float, float, float, float], int, bool]],
    ) -> Entry:
        """``objects``: box, class, ignored."""
        boxes, classes, ignored = zip(*objects) if objects else ((), (), ())
        return cls(path, name, size, np.array(boxes, np.float32).reshape(-1, 4),
                   np.array(classes, np.int64), np.array(ignored, bool))


@dataclass(frozen=True)
class Files:
    """A :class:`Dataset` of image files, read when asked for.

    ``faults`` are the sentences on what was left out (:class:`Faults`).
    """

    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    faults: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, i: int) -> Sample:
        """Image ``i``.

        Raises
        ------
        FalconetError
            Names the file if its pixels cannot be read.
        """
        entry = self.entries[i]
        try:
            image = np.array(read_photograph(entry.path))  # one's own, to be written to
        except FalconetError as e:
            raise _unread(e) from None
        return Sample(image, entry.boxes, entry.classes, entry.ignored, entry.name)


@dataclass
class Faults:
    """Faults of a data set, gathered so that one run names them all.

    ``skip`` leaves faulty boxes and images out instead of refusing the data set.
    """

    skip: bool = False
    found: list[str] = field(default_factory=list)

    @contextmanager
    def gather(self) -> Iterator[None]:
        """What is refused inside is kept for :meth:`close`."""
        try:
            yield
        except FalconetError as e:
            self.found.append(str(e))

    def close(self) -> tuple[str, ...]:
        """Refuse if there was a fault: in the words of the first, with the number of all."""
        if self.found and not self.skip:
            number = len(self.found)
            raise FalconetError(
                self.found[0] + (f" ({number} faults in all)" if number > 1 else ""))
        return tuple(self.found)


def _unread(error: FalconetError, where: str = "") -> FalconetError:
    """What is wrong with an image, and what to do with one of a data set."""
    what = str(error).rpartition("; ")[0]
    return FalconetError(f"{where}{what}; replace it or take it out of the data set")


def image_size(path: Path, where: str) -> tuple[int, int]:
    """(width, height) of an upright image, from its header.

    Parameters
    ----------
    where:
        Who asks for the image: file and line, or id.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise FalconetError(f"{where}: image {named(path)} is missing; add it or take "
                            "it out of the data set")
    try:
        with opened(path) as picture:
            width, height = picture.size
            sideways = turned(picture) in (5, 6, 7, 8)
    except FalconetError as e:
        raise _unread(e, f"{where}: ") from None
    return (height, width) if sideways else (width, height)


def check_box(
    box: tuple[float, float, float, float], size: tuple[int, int], where: str,
) -> tuple[float, float, float, float]:
    """``box`` (x1, y1, x2, y2) ending at the edges of an image of ``size`` (width, height).

    Up to one pixel outside is other tools' rounding and cut off.
    """
    width, height = size
    x1, y1, x2, y2 = box
    shown = ", ".join(f"{v:g}" for v in box)
    if not (x2 > x1 and y2 > y1):  # not a number neither
        raise FalconetError(f"{where}: box ({shown}) has no area; correct or remove it")
    if not (x1 >= -_ROUNDING and y1 >= -_ROUNDING
            and x2 <= width + _ROUNDING and y2 <= height + _ROUNDING):
        raise FalconetError(f"{where}: box ({shown}) is outside the image of {width} x {height} "
                            "pixels; correct or remove it")
    cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if not (cut[2] > cut[0] and cut[3] > cut[1]):
        raise FalconetError(f"{where}: box ({shown}) is outside the image of {width} x {height} "
                            "pixels; correct or remove it")
    return cut
