"""Where photographs come from: files, folders, cameras, arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError

__all__ = ["PICTURES", "photographs", "read_photograph"]

Photograph = NDArray[np.uint8]
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


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
