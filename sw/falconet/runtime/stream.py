"""Many photographs: while the machine works on one, the next is prepared and the former is read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.detections import Options
from falconet.runtime.driver import Driver, Seen, Slot
from falconet.runtime.preprocess import Frame

__all__ = ["Shown", "photographs", "read_photograph", "stream"]

Photograph = NDArray[np.uint8]
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


@dataclass
class Shown:
    """One photograph of a stream, and what the machine saw in it.

    ``seconds`` has, on the processor's clock, ``prepare`` (photograph to memory), ``machine``
    (START until the end was noticed) and ``read`` (memory to objects). In a stream they overlap.
    """

    name: str
    photograph: Photograph
    seen: Seen
    seconds: dict[str, float]


def read_photograph(path: str | Path) -> Photograph:
    """A picture file, uint8 [h, w, 3], R, G, B; read by OpenCV if it is there, else by Pillow."""
    path = Path(path)
    if not path.is_file():
        raise FalconetError(f"{path}: no such picture")
    try:
        import cv2
    except ImportError:
        return _read_with_pillow(path)
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FalconetError(f"{path}: not a picture that OpenCV can read")
    return np.ascontiguousarray(picture[..., ::-1])


def _read_with_pillow(path: Path) -> Photograph:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise FalconetError(
            "to read pictures, OpenCV or Pillow is needed; run: pip install pillow") from None
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as e:
        raise FalconetError(f"{path}: not a picture that can be read ({e})") from None


def photographs(source: Any) -> Iterator[tuple[str, Photograph]]:
    """Names and photographs of a source.

    Parameters
    ----------
    source:
        A folder of pictures, a picture, the number of a camera, a ``cv2.VideoCapture``, or an
        iterable of arrays (uint8 [h, w, 3], R, G, B) or of paths.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        files = [path]
        if path.is_dir():
            files = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURES)
            if not files:
                raise FalconetError(f"{path}: no pictures in this folder")
        for file in files:
            yield file.name, read_photograph(file)
    elif isinstance(source, int) or hasattr(source, "grab"):
        yield from _camera(source)
    else:
        for i, item in enumerate(source):
            if isinstance(item, (str, Path)):
                yield Path(item).name, read_photograph(item)
            else:
                yield str(i), np.asarray(item)


def _camera(source: Any) -> Iterator[tuple[str, Photograph]]:
    """Frames until there are no more; a camera that was opened here is released."""
    capture = source
    if isinstance(source, int):
        try:
            import cv2
        except ImportError:
            raise FalconetError(
                "to read a camera, OpenCV is needed; run: pip install opencv-python-headless"
            ) from None
        capture = cv2.VideoCapture(source)
        if not capture.isOpened():
            raise FalconetError(f"camera {source} cannot be opened; is it connected, and free?")
    try:
        n = 0
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield str(n), np.ascontiguousarray(frame[..., ::-1])
            n += 1
    finally:
        if capture is not source:
            capture.release()


@dataclass
class _Under:
    """A photograph on its way through the machine."""

    name: str
    photograph: Photograph
    slot: Slot
    frame: Frame
    prepare: float


def stream(
    machine: Driver, source: Iterable[Any] | str | Path | int, options: Options | None = None,
) -> Iterator[Shown]:
    """What the machine sees in each photograph of ``source`` (:func:`photographs`), in order.

    Two slots take turns: while the machine works on one photograph, the next is read, scaled and
    written to memory, and the objects of the former are read. Closing the generator early waits
    for the machine, which can then be used as before; so does an error of the source.
    """
    running: _Under | None = None
    turn = 0
    try:
        for name, photograph in photographs(source):
            slot, began = machine.slot(turn), time.perf_counter()
            frame = machine.stage_photograph(slot, photograph, options)
            next_ = _Under(name, photograph, slot, frame, time.perf_counter() - began)
            done, running = running, None
            if done is not None:
                machine.wait()
            machine.start(slot)
            running, turn = next_, 1 - turn
            if done is not None:
                yield _shown(machine, done)
        if running is not None:
            done, running = running, None
            machine.wait()
            yield _shown(machine, done)
    finally:
        if running is not None:
            machine.wait()


def _shown(machine: Driver, done: _Under) -> Shown:
    began = time.perf_counter()
    seen = machine.seen(done.slot, done.frame)
    seconds = {"prepare": done.prepare, "machine": done.slot.seconds,
               "read": time.perf_counter() - began}
    return Shown(done.name, done.photograph, seen, seconds)
