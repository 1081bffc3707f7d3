"""Where photographs come from: files, folders, videos, cameras, arrays.

Pictures are decoded by Pillow and nothing else, videos and cameras by OpenCV, so that one picture
has the same pixels for every command, for calibration, for data sets and on the board.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.isa.limits import LIMITS

__all__ = [
    "MAX_PIXELS", "PICTURES", "VIDEOS", "Video", "files_in", "opencv", "opened", "photographs",
    "read_photograph", "turned",
]

Photograph = NDArray[np.uint8]
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
            ".pbm", ".pnm", ".avif", ".jp2")
"""What a folder is searched for; a file that is named is read whatever its suffix."""
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
MAX_PIXELS = LIMITS["picture"].pixels
"""Of one picture, as Pillow warns: 256 MiB of R, G, B."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
_WHOLE = ("AVIF", "JPEG2000", "WEBP")
_COLOURS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
_ORIENTATION = 0x0112  # tags of EXIF and TIFF
_BITS, _PHOTOMETRIC = 0x0102, 0x0106
_BAND = 1024  # rows
_quiet = threading.Lock()  # the filter of warnings is the process's


def read_photograph(source: str | Path | bytes | BinaryIO, name: str | None = None) -> Photograph:
    """A picture, uint8 [h, w, 3], R, G, B, C-contiguous, perhaps read-only.

    It is turned upright as its EXIF says. Of an animation or of several pages the first is read.
    Alpha is dropped and the colours below it are taken as they are stored, as OpenCV and
    torchvision do. Of 16 bits the high byte is taken, as libpng, OpenCV and (for colours) Pillow
    do. 32-bit and float pictures have no known range and are refused.

    Parameters
    ----------
    source:
        A file, its bytes, or a binary file that is open.
    name:
        What an error calls it; by default the path.
    """
    with opened(source, name) as picture:
        return _pixels(picture)


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """Bytes to read, closed at the end if it is ours: Pillow leaves open what it cannot read."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, (str, Path)):
        with open(source, "rb") as file:
            yield file
    else:
        yield source


@contextmanager
def opened(source: str | Path | bytes | BinaryIO, name: str | None = None) -> Iterator[Any]:
    """A ``PIL.Image``, its header read and its size in bounds; pixels are read when asked for.

    What Pillow finds wrong inside becomes a FalconetError of one sentence that names the picture.
    """
    if isinstance(source, (str, Path)):
        name = name or str(source)
        if os.path.isdir(source):
            raise FalconetError(f"{name}: is a folder; give a picture in it")
        if not os.path.exists(source):
            raise FalconetError(f"{name}: no such picture")
    name = name or str(getattr(source, "name", None) or "the picture")
    if find_spec("PIL") is None:
        raise FalconetError("to read pictures, Pillow is needed; run: pip install pillow")
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        # A file that lies (or a fault of a decoder) may raise anything, MemoryError too.
        with _opened(source) as file:
            with _quiet, warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
                picture = Image.open(file, formats=[f for f in _FORMATS if f in Image.OPEN])
            with picture:
                width, height = picture.size
                most = LIMITS["whole picture" if picture.format in _WHOLE else "picture"].pixels
                if width * height > most:
                    raise FalconetError(f"has more than {most:,} pixels; make it smaller")
                yield picture
    except FalconetError as e:
        raise FalconetError(f"{name}: {e}") from None
    except Image.DecompressionBombError:
        raise FalconetError(f"{name}: has more than {MAX_PIXELS:,} pixels; make it smaller"
                            ) from None
    except UnidentifiedImageError:
        raise FalconetError(f"{name}: not a picture that can be read; give a file of "
                            f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}") from None
    except Exception as e:
        reason = getattr(e, "strerror", None) or str(e) or type(e).__name__
        raise FalconetError(f"{name}: not a picture that can be read ({reason}); "
                            "copy or export it again") from None


def turned(picture: Any) -> int:
    """EXIF's orientation; 1, and all but 2 to 8, is upright."""
    from PIL import Image

    exif = picture.getexif if _exif_may_follow(picture) else lambda: Image.Image.getexif(picture)
    way: int = exif().get(_ORIENTATION, 1)
    return way


def _exif_may_follow(picture: Any) -> bool:
    """Whether Pillow must decode a PNG before it knows all of its EXIF: chunks that can hold it
    come after the pixels."""
    file = picture.fp
    if picture.format != "PNG" or file is None:  # None: it has been decoded
        return True
    at, pixels = file.tell(), False
    file.seek(8)
    while len(head := file.read(8)) == 8 and not (
            pixels and head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt")):
        pixels |= head[4:] == b"IDAT"
        file.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    file.seek(at)
    return len(head) == 8


def _pixels(picture: Any) -> Photograph:
    picture.load()
    tags = dict(getattr(picture, "tag_v2", None) or {})
    way = turned(picture)
    width, height = picture.size
    found = np.empty((width, height, 3) if way in (5, 6, 7, 8) else (height, width, 3), np.uint8)
    stored = _as_stored(found, way)
    for top in range(0, height, _BAND):  # a large picture is in memory once more, not thrice
        low = min(height, top + _BAND)
        band = picture.crop((0, top, width, low)) if height > _BAND else picture
        stored[top:low] = _rgb(band, picture.format, tags)
    return found


def _as_stored(upright: Photograph, way: int) -> Photograph:
    """A view of an upright picture with its rows and columns as a file of this orientation has
    them."""
    if way in (6, 8):  # a quarter turn
        return np.rot90(upright, 1 if way == 6 else -1)
    rows = slice(None, None, -1 if way in (3, 4, 7) else 1)
    columns = slice(None, None, -1 if way in (2, 3, 7) else 1)
    view = upright[rows, columns]
    return view.swapaxes(0, 1) if way in (5, 7) else view


def _rgb(picture: Any, kind: str | None, tags: dict[int, Any]) -> NDArray[Any]:
    """[h, w, 3] or [h, w, 1] of 8 bits."""
    if picture.mode in _COLOURS:
        if picture.mode in ("P", "PA"):
            picture = picture.convert("RGBA")
        rgb: NDArray[Any] = np.asarray(
            picture if picture.mode == "RGB" else picture.convert("RGB"))
        return rgb
    sixteen = picture.mode.startswith("I;16") or (
        picture.mode == "I" and kind in ("PNG", "PPM"))
    if not sixteen:
        raise FalconetError(f"is a picture of kind {picture.mode}, whose range is not known; "
                            "save it with 8 or 16 bits a channel")
    extra = int(tags.get(_BITS, (16,))[0]) - 8
    grey: NDArray[Any] = np.asarray(picture).astype(np.int64) >> extra
    grey = np.clip(grey, 0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # 0 is white, which Pillow minds for 8 bits only
        grey = 255 - grey
    return grey[..., None]


def files_in(folder: Path, suffixes: tuple[str, ...] = PICTURES) -> list[Path]:
    """The files of a folder with one of the suffixes, by name; hidden ones are left out.

    Raises
    ------
    FalconetError
        If there is none.
    """
    found = sorted(f for f in folder.iterdir()
                   if f.suffix.lower() in suffixes and not f.name.startswith(".") and f.is_file())
    if not found:
        raise FalconetError(f"{folder}: no pictures in this folder; folders in it are not searched")
    return found


def opencv(use: str) -> Any:
    """The module ``cv2``, which ``use`` (``"to read a camera"``) needs."""
    if find_spec("cv2") is None:
        raise FalconetError(
            f"{use}, OpenCV is needed; run: pip install opencv-python-headless")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # an error here says what failed
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    return cv2


class Video:
    """Frames of a video file or of a camera, uint8 [h, w, 3], R, G, B, one after the other.

    A context manager; what was opened here is released at its end.

    Attributes
    ----------
    rate, frames:
        Frames a second, and how many there are, as the file says; 0: unknown.
    """

    def __init__(self, source: str | Path | int | Any) -> None:
        """``source`` is a file, the number of a camera, or a ``cv2.VideoCapture``."""
        camera, is_file = isinstance(source, int), isinstance(source, (str, Path))
        self._cv2 = opencv("to read a camera" if camera else "to read videos")
        self._capture: Any = source
        self._own = camera or is_file
        self.name = f"camera {source}" if camera else str(source) if is_file else "the camera"
        if is_file and not os.path.isfile(str(source)):
            raise FalconetError(f"{source}: no such video")
        if self._own:
            self._capture = self._cv2.VideoCapture(source if camera else str(source))
            if not self._capture.isOpened():
                raise FalconetError(
                    f"camera {source} cannot be opened; is it connected, and free?" if camera
                    else f"{source}: not a video that can be read; copy or export it again")
        rate = self._get("CAP_PROP_FPS")
        self.rate = rate if 0 < rate <= 1000 else 0.0
        self.frames = max(0, int(self._get("CAP_PROP_FRAME_COUNT")))

    def _get(self, what: str) -> float:
        get = getattr(self._capture, "get", None)  # of a camera of another make
        value = float(get(getattr(self._cv2, what))) if get else 0.0
        return value if np.isfinite(value) and abs(value) < 1 << 53 else 0.0

    def __iter__(self) -> Iterator[Photograph]:
        cv2, n = self._cv2, 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            n += 1
            yield cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if frame.ndim == 2
                               else cv2.COLOR_BGR2RGB)
        if not n:
            raise FalconetError(f"{self.name}: not one frame could be read")

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._capture.release()


def photographs(source: Any) -> Iterator[tuple[str, Photograph]]:
    """Names and photographs of a source.

    Parameters
    ----------
    source:
        A folder of pictures, a picture, a video, the number of a camera, a ``cv2.VideoCapture``,
        or an iterable of arrays (uint8 [h, w, 3], R, G, B) or of paths.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in VIDEOS and not path.is_dir():
            yield from _frames(path)
            return
        for file in files_in(path) if path.is_dir() else [path]:
            yield file.name, read_photograph(file)
    elif isinstance(source, int) or hasattr(source, "grab"):
        yield from _frames(source)
    else:
        for i, item in enumerate(source):
            if isinstance(item, (str, Path)):
                yield Path(item).name, read_photograph(item)
            else:
                yield str(i), np.asarray(item)


def _frames(source: Any) -> Iterator[tuple[str, Photograph]]:
    with Video(source) as video:
        for n, frame in enumerate(video):
            yield str(n), frame
