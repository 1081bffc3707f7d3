"""Boxes as files: JSON lines, COCO results, YOLO labels."""

from __future__ import annotations

import enum
import glob
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from falconet.isa import FalconetError
from falconet.isa.files import keep_inputs, naming, written
from falconet_app.commands.inputs import Inputs, Shot

__all__ = ["Format", "Sink", "box_sink", "distinct"]


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


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
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
            "category": d.class_name, "score": d.score,
            "bbox": [round(v, 3) for v in (d.x, d.y, d.w, d.h)],
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
        places = distinct(stems, ["classes"])
        self._places = dict(zip(map(id, inputs.items), places))
        self._taken = {p.lower() for p in places}
        for place, i in zip(places, inputs.items):
            for there in folder.glob(f"{glob.escape(place)}{'_*' if i.moving else ''}.txt"):
                raise FalconetError(
                    f"{there}: is there already, perhaps made by hand; give a new folder")

    def begin(self, labels: Sequence[str]) -> None:
        self._labels = {name: i for i, name in enumerate(labels)}
        names = self._folder / "classes.txt"
        if names.exists() and names.read_text(encoding="utf-8").split("\n")[:-1] != list(labels):
            raise FalconetError(f"{names}: names other classes; give a new folder")
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
            place, = distinct([f"{place}_{shot.frame:06}"], self._taken)
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
