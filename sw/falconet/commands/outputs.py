"""What ``falconet detect`` writes: annotated pictures and videos, and boxes in three formats."""

from __future__ import annotations

import enum
import glob
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from falconet.commands.files import keep_inputs, naming, written
from falconet.commands.inputs import Input, Inputs, Shot
from falconet.commands.pictures import SAVED, annotated, draw_detections
from falconet.isa import FalconetError
from falconet.runtime.photographs import PICTURES, VIDEOS, Video, opencv

__all__ = ["Annotations", "Format", "Sink", "box_sink"]

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_RATE = 25.0  # frames a second of a video that says none


class Format(str, enum.Enum):
    """Files of boxes."""

    jsonl = "jsonl"
    coco = "coco"
    yolo = "yolo"


class Sink(Protocol):
    """Takes what was found in each picture; what is wrong with its place is refused when it is
    made. ``said``: the line about it."""

    said: str

    def begin(self, labels: Sequence[str]) -> None:
        """``labels`` are the names of all classes."""

    def put(self, shot: Shot, found: Sequence[Any], record: Mapping[str, Any]) -> None: ...

    def close(self) -> None:
        """All that was put is whole under its final name."""


def _distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names, those that came before numbered: ``a.png``, ``a-2.png``; case is no difference."""
    seen, found = set(taken), []
    for name in names:
        stem, suffix, new, n = Path(name).stem, Path(name).suffix, name, 1
        while new.lower() in seen:
            n += 1
            new = f"{stem}-{n}{suffix}"
        seen.add(new.lower())
        found.append(new)
    return found


class Annotations:
    """Pictures and videos with the boxes drawn in.

    ``output`` is a file for one picture or one video, else a folder, in which every input has a
    name of its own.
    """

    def __init__(self, output: Path, inputs: Inputs) -> None:
        self.output, items = output, inputs.items
        suffix, one = output.suffix.lower(), items[0]
        from_folder = inputs.several and not (len(items) == 1 and one.moving)
        self.folder = output.is_dir() or not suffix or (
            from_folder and suffix not in PICTURES + VIDEOS)
        allowed: Sequence[str] = tuple(_CODECS) if one.moving else SAVED
        if output.exists() and not output.is_dir() and not suffix:
            raise FalconetError(f"{output}: has no suffix that says what to write; use "
                                f"{allowed[0]}")
        if not self.folder and from_folder:
            raise FalconetError(f"{output}: the pictures go to a folder; give a name without "
                                f"'{output.suffix}'")
        if not self.folder and suffix not in allowed:
            raise FalconetError(f"{output}: {'a video' if one.moving else 'a picture'} cannot be "
                                f"saved as {output.suffix}; use {', '.join(allowed)}")
        self._places = dict(zip(map(id, items), self._targets(items)))
        keep_inputs(inputs.paths, self._places.values())
        if any(i.moving for i in items):
            opencv("to write videos")
        self.said = f"picture{'s' * self.folder}: {output}"
        if self.folder and len(items) == 1:
            self.said = f"picture: {self.place(items[0])}"
        self._video: _VideoFile | None = None
        self._under_way: Input | None = None

    def _targets(self, items: Sequence[Input]) -> list[Path]:
        if not self.folder:
            return [self.output]
        names = []
        for i in items:
            known, other = (_CODECS, ".mp4") if i.moving else (SAVED, ".png")
            own = Path(i.name)
            names.append(own.name if own.suffix.lower() in known else
                         f"{own.stem if own.suffix.lower() in PICTURES + VIDEOS else own.name}"
                         f"{other}")
        return [self.output / name for name in _distinct(names)]

    def place(self, source: Input) -> Path:
        """Where an input goes."""
        return self._places[id(source)]

    def begin(self, labels: Sequence[str]) -> None:
        pass

    def put(self, shot: Shot, found: Sequence[Any], record: Mapping[str, Any]) -> None:
        if self._under_way is not shot.source:
            self.close()
        if shot.frame is None:
            draw_detections(shot.image, found, self.place(shot.source))
            return
        if self._video is None:
            self._video = _VideoFile(self.place(shot.source), shot.image.shape, shot.rate)
            self._under_way = shot.source
        self._video.write(np.asarray(annotated(shot.image, found)))

    def close(self) -> None:
        """End the video under way."""
        video, self._video, self._under_way = self._video, None, None
        if video is not None:
            video.close()


class _VideoFile:
    """A video that is written frame by frame, and is whole at :meth:`close`."""

    def __init__(self, path: Path, shape: Sequence[int], rate: float) -> None:
        self._cv2, self._path, self._frames = opencv("to write videos"), path, 0
        self._pad = [(0, shape[0] % 2), (0, shape[1] % 2), (0, 0)]  # sides of codecs are even
        size = shape[1] + shape[1] % 2, shape[0] + shape[0] % 2
        with ExitStack() as stack:
            self._beside = stack.enter_context(written(path))
            with naming(path):
                self._beside.touch()
            codec = self._cv2.VideoWriter_fourcc(*_CODECS[path.suffix.lower()])
            self._writer = self._cv2.VideoWriter(str(self._beside), codec, rate or _RATE, size)
            if not self._writer.isOpened():
                raise FalconetError(f"{path}: OpenCV cannot write a video of {size[0]} x {size[1]} "
                                    f"pixels with this suffix; use {' or '.join(_CODECS)}")
            self._stack = stack.pop_all()

    def write(self, image: NDArray[np.uint8]) -> None:
        """``image`` uint8 [h, w, 3], R, G, B, of the size of the first."""
        padded = np.pad(image, self._pad, "edge") if self._pad != [(0, 0)] * 3 else image
        self._writer.write(self._cv2.cvtColor(padded, self._cv2.COLOR_RGB2BGR))
        self._frames += 1

    def close(self) -> None:
        with self._stack:
            self._writer.release()
            count = 0  # the writer says nothing of a full disk
            with suppress(FalconetError), Video(self._beside) as video:
                count = video.frames
            if count + 1 < self._frames:
                raise FalconetError(f"{self._path}: only {count:,} of {self._frames:,} frames "
                                    "could be written; is there room?")


class _Lines:
    """One JSON object a picture, a line each."""

    def __init__(self, path: Path, inputs: Inputs) -> None:
        self._path, self.said = path, f"boxes: {path}"

    def begin(self, labels: Sequence[str]) -> None:
        with ExitStack() as stack:
            beside = stack.enter_context(written(self._path))
            self._file = stack.enter_context(beside.open("w", encoding="utf-8"))
            self._stack = stack.pop_all()

    def put(self, shot: Shot, found: Sequence[Any], record: Mapping[str, Any]) -> None:
        with naming(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._stack.close()


class _Coco:
    """COCO's list of results, ``image_id`` the number that is a file's name, if all are numbers and
    no two the same; else pictures and frames are counted from 1. Classes are counted from 1."""

    def __init__(self, path: Path, inputs: Inputs) -> None:
        self._path, self.said = path, f"boxes: {path} (COCO)"
        self._found: list[dict[str, Any]] = []
        self._count = 0
        stems = [Path(i.name).stem for i in inputs.items]
        numbers = [int(s) for s in stems if s.isascii() and s.isdigit()]
        self._by_name = len(set(numbers)) == len(stems) and not any(
            i.moving for i in inputs.items)

    def begin(self, labels: Sequence[str]) -> None:
        self._labels = {name: i for i, name in enumerate(labels, 1)}

    def put(self, shot: Shot, found: Sequence[Any], record: Mapping[str, Any]) -> None:
        self._count += 1
        number = int(Path(shot.source.name).stem) if self._by_name else self._count
        self._found += [{
            "image_id": number, "file_name": shot.name, "category_id": self._labels[d.class_name],
            "category": d.class_name, "bbox": [d.x, d.y, d.w, d.h], "score": d.score,
        } for d in found]

    def close(self) -> None:
        with written(self._path) as beside, beside.open("w", encoding="utf-8") as f:
            json.dump(self._found, f)


class _Yolo:
    """A text file a picture: class, centre x, y, width, height as shares of the picture, as labels
    are; boxes end at its edges. ``classes.txt`` has the names."""

    def __init__(self, folder: Path, inputs: Inputs) -> None:
        self._folder, self.said = folder, f"boxes: {folder} (YOLO)"
        stems = [Path(i.name).name if i.path is None else i.path.stem for i in inputs.items]
        places = _distinct(stems, ["classes"])
        self._places = dict(zip(map(id, inputs.items), places))
        self._taken = {p.lower() for p in places}
        for place, i in zip(places, inputs.items):
            for there in folder.glob(f"{glob.escape(place)}{'_*' if i.moving else ''}.txt"):
                raise FalconetError(
                    f"{there}: is there already, perhaps made by hand; give a new folder")

    def begin(self, labels: Sequence[str]) -> None:
        self._labels = {name: i for i, name in enumerate(labels)}
        self._write("classes", labels)

    def _write(self, stem: str, lines: Iterable[str]) -> None:
        with written(self._folder / f"{stem}.txt") as beside:
            beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def put(self, shot: Shot, found: Sequence[Any], record: Mapping[str, Any]) -> None:
        high, wide = shot.image.shape[:2]
        lines = []
        for d in found:
            x1, x2 = (min(max(v / wide, 0.0), 1.0) for v in (d.x, d.x + d.w))
            y1, y2 = (min(max(v / high, 0.0), 1.0) for v in (d.y, d.y + d.h))
            if x2 > x1 and y2 > y1:
                lines.append(f"{self._labels[d.class_name]} {(x1 + x2) / 2:.6f} "
                             f"{(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}")
        place = self._places[id(shot.source)]
        if shot.frame is not None:
            place, = _distinct([f"{place}_{shot.frame:06}"], self._taken)
            self._taken.add(place.lower())
        self._write(place, lines)

    def close(self) -> None:
        pass


def box_sink(path: Path, made: Format | None, inputs: Inputs) -> Sink:
    """Where boxes go, ``made`` as is asked for or as the suffix says.

    Raises
    ------
    FalconetError
        If the suffix says nothing, it is a folder where a file is needed or the reverse, or one of
        the inputs.
    """
    by_suffix = {".jsonl": Format.jsonl, ".json": Format.coco, "": Format.yolo}
    made = made or (Format.yolo if path.is_dir() else by_suffix.get(path.suffix.lower()))
    if made is None:
        raise FalconetError(f"{path}: .jsonl are JSON lines, .json is COCO, a folder is YOLO; use "
                            "one of these or --format")
    if path.exists() and path.is_dir() != (made is Format.yolo):
        raise FalconetError(
            f"{path}: YOLO has a file for each picture; give a folder" if made is Format.yolo
            else f"{path}: is a folder; give the name of a file in it")
    keep_inputs(inputs.paths, [path])
    sinks: dict[Format, Callable[[Path, Inputs], Sink]] = {
        Format.jsonl: _Lines, Format.coco: _Coco, Format.yolo: _Yolo}
    return sinks[made](path, inputs)
