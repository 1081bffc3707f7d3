"""One reader of pictures: every caller gets the same pixels, of every kind of file."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from falconet.isa import FalconetError
from falconet.runtime.photographs import (
    MAX_PIXELS,
    Video,
    files_in,
    opencv,
    photographs,
    read_photograph,
)
from falconet_app.commands.inputs import Inputs
from falconet_app.commands.sources import image_of
from falconet_models.datasets import open_yolo
from falconet_models.datasets.sample import image_size
from falconet_models.ptq.quantize import read_folder

pytestmark = pytest.mark.timeout(60)
RNG = np.random.default_rng(16)
COLOURS = RNG.integers(0, 256, (6, 9, 3), np.uint8).repeat(8, 0).repeat(8, 1)
GREY16 = np.concatenate([[0, 1, 255, 256, 40000, 65279, 65280, 65535],
                         RNG.integers(0, 65536, 88)]).astype(np.uint16).reshape(8, 12)

# What a viewer shows of stored pixels: EXIF 2.3, orientation.
SHOWN: dict[int, Callable[[Any], Any]] = {
    1: lambda s: s, 2: np.fliplr, 3: lambda s: np.rot90(s, 2), 4: np.flipud,
    5: lambda s: s.swapaxes(0, 1), 6: lambda s: np.rot90(s, -1),
    7: lambda s: np.rot90(s.swapaxes(0, 1), 2), 8: np.rot90,
}


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned_file(way: int, kind: str, stored: Any = COLOURS) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = way
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    return saved(Image.fromarray(stored), kind, exif=exif, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def late_exif(way: int) -> bytes:
    """A PNG whose EXIF follows the pixels, as exiftool writes it."""
    early = turned_file(way, "PNG")
    at = early.index(b"eXIf") - 4
    own = early[at : at + 12 + int.from_bytes(early[at : at + 4], "big")]
    return early.replace(own, b"")[:-12] + own + early[-12:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("way", [*SHOWN])
def test_orientation(way: int, kind: str) -> None:
    file = turned_file(way, kind)
    with Image.open(io.BytesIO(turned_file(1, kind))) as upright:
        decoded = np.asarray(upright)
    expected = SHOWN[way](decoded)
    np.testing.assert_array_equal(read_photograph(file), expected)
    if kind == "JPEG":  # another decoder, which turns too
        other = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(other.astype(int) - read_photograph(file)).mean() < 3


@pytest.mark.parametrize("way", [0, 9, 65535])
def test_orientation_that_is_none(way: int) -> None:
    np.testing.assert_array_equal(read_photograph(turned_file(way, "PNG")), COLOURS)


@pytest.mark.parametrize("way", [6, 2])
def test_orientation_behind_the_pixels(way: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(late_exif(way))
    expected = SHOWN[way](COLOURS)
    np.testing.assert_array_equal(read_photograph(path), expected)
    assert image_size(path, "a") == expected.shape[1::-1]


def alpha() -> Any:
    return np.dstack([COLOURS, RNG.integers(0, 256, COLOURS.shape[:2], np.uint8)])


def palette(**options: Any) -> bytes:
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    picture.putpalette(bytes(range(18)))
    return saved(picture, "PNG", **options)


PALETTE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def tiff(pixels: bytes, size: tuple[int, int], bits: int, photometric: int = 1) -> bytes:
    """A grey TIFF by hand: one strip, nothing compressed."""
    entries = [(256, 3, size[0]), (257, 3, size[1]), (258, 3, bits), (259, 3, 1),
               (262, 3, photometric), (273, 4, 8), (277, 3, 1), (278, 3, size[1]),
               (279, 4, len(pixels))]
    pixels += b"\0" * (len(pixels) % 2)
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return (b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
            + struct.pack("<H", len(entries)) + table + b"\0" * 4)


def packed12(values: Any) -> bytes:
    bits = "".join(f"{v:012b}" for v in values.ravel())
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def three(grey: Any) -> Any:
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, 2)


def frames() -> list[Image.Image]:
    return [Image.fromarray(np.full((4, 5, 3), v, np.uint8)) for v in (40, 90, 200)]


def kinds() -> dict[str, tuple[bytes, Any]]:
    """Files, and their pixels by another way."""
    grey = COLOURS[..., 0].copy()
    alpha_, first = alpha(), np.full((4, 5, 3), 40)
    luma = np.dstack([grey, grey[::-1]])
    cmyk = np.dstack([COLOURS, np.full(grey.shape, 51, np.uint8)])
    high = GREY16 >> 8
    twelve = GREY16 & 0xFFF
    rgb16 = cv2.imencode(".png", GREY16.reshape(8, 4, 3)[..., ::-1])[1].tobytes()
    animated: dict[str, Any] = {"save_all": True, "append_images": frames()[1:]}
    return {
        "grey": (saved(Image.fromarray(grey), "PNG"), three(grey)),
        "one bit": (saved(Image.fromarray(grey > 99), "PNG"), three((grey > 99) * 255)),
        "alpha": (saved(Image.fromarray(alpha_), "PNG"), COLOURS),
        "alpha, WebP": (saved(Image.fromarray(alpha_), "WEBP", lossless=True, exact=True), COLOURS),
        "grey alpha": (saved(Image.fromarray(luma, "LA"), "PNG"), three(grey)),
        "palette": (palette(), PALETTE),
        "palette, one clear": (palette(transparency=2), PALETTE),
        "palette, alphas": (palette(transparency=bytes([0, 9, 255, 3, 0, 1])), PALETTE),
        "CMYK": (saved(Image.fromarray(cmyk, "CMYK"), "TIFF"),
                 np.rint((255.0 - COLOURS) * (255 - 51) / 255)),
        "16 bits, PNG": (saved(Image.fromarray(GREY16), "PNG"), three(high)),
        "16 bits, turned": (turned_file(6, "PNG", GREY16), three(np.rot90(high, -1))),
        "16 bits, TIFF": (saved(Image.fromarray(GREY16), "TIFF"), three(high)),
        "16 bits, PGM": (b"P5 12 8 65535\n" + GREY16.astype(">u2").tobytes(), three(high)),
        "16 bits, 0 white": (tiff(GREY16.tobytes(), (12, 8), 16, 0), three(255 - high)),
        "12 bits": (tiff(packed12(twelve), (12, 8), 12), three(twelve >> 4)),
        "colours of 16 bits": (rgb16, (GREY16 >> 8).reshape(8, 4, 3)),
        "GIF, frame 1": (saved(frames()[0], "GIF", **animated), first),
        "APNG, frame 1": (saved(frames()[0], "PNG", **animated), first),
        "WebP, frame 1": (saved(frames()[0], "WEBP", lossless=True, **animated), first),
        "TIFF, page 1": (saved(frames()[0], "TIFF", **animated), first),
        "1 x 40": (saved(Image.fromarray(COLOURS[:1, :40]), "PNG"), COLOURS[:1, :40]),
        "40 x 1": (saved(Image.fromarray(COLOURS[:40, :1]), "PNG"), COLOURS[:40, :1]),
        "BMP": (saved(Image.fromarray(COLOURS), "BMP"), COLOURS),
        "JPEG 2000": (saved(Image.fromarray(COLOURS), "JPEG2000"), COLOURS),
    }


KINDS = kinds()


def of_data_set(path: Path) -> Any:
    """Pixels by a YOLO data set, whose size comes from the header alone."""
    root = path.parent.parent / "set"
    (root / "images").mkdir(parents=True)
    copy = root / "images" / "a.png"
    copy.write_bytes(path.read_bytes())
    (root / "data.yaml").write_text("names: [a]\nval: images\n")
    found = open_yolo(root / "data.yaml", "val")
    image = found.load(0).image
    assert found.entries[0].size == image.shape[1::-1]
    image[0, 0] = 0  # it is one's own
    return found.load(0).image


READERS: dict[str, Callable[[Path], Any]] = {
    "path": read_photograph,
    "text": lambda p: read_photograph(str(p)),
    "bytes": lambda p: read_photograph(p.read_bytes()),
    "file": lambda p: read_photograph(io.BytesIO(p.read_bytes())),
    "stream of a file": lambda p: dict(photographs(p))[p.name],
    "stream of a folder": lambda p: dict(photographs(p.parent))[p.name],
    "stream of paths": lambda p: dict(photographs([p]))[p.name],
    "run": lambda p: image_of(str(p)),
    "detect": lambda p: Inputs.of([str(p)]).only().image,
    "calibration": lambda p: read_folder(p.parent)[p.name],
    "data set": of_data_set,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_gives_the_same_pixels(kind: str, reader: str, tmp_path: Path) -> None:
    data, expected = KINDS[kind]
    path = tmp_path / "photos" / "a.png"  # the suffix says nothing
    path.parent.mkdir()
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = READERS[reader](path)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.shape[2] == 3
    atol = 1 if kind == "CMYK" else 0
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("reader", [r for r in READERS if r != "data set"])
@pytest.mark.parametrize("way", [*SHOWN])
def test_every_reader_turns(way: int, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    path.write_bytes(turned_file(way, "PNG"))
    np.testing.assert_array_equal(READERS[reader](path), SHOWN[way](COLOURS))


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = b"\0" * (1 + width // 8)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(row * min(height, 200))) + chunk(b"IEND", b""))


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * (80 << 20), zip=True)
    return saved(Image.fromarray(COLOURS), "PNG", pnginfo=info)


def large_jp2(width: int, height: int) -> bytes:
    """Whose header says so."""
    data = saved(Image.fromarray(COLOURS), "JPEG2000")
    at = data.index(b"ihdr") + 4
    return data[:at] + struct.pack(">II", height, width) + data[at + 8 :]


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", r"not a picture that can be read; give a file of JPEG, PNG"),
    "text": (lambda: b"hello, world" * 9, r"not a picture that can be read; give a file of JPEG"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                   "not a picture that can be read; give a file of JPEG"),
    "cut JPEG": (lambda: turned_file(1, "JPEG")[:-400], r"read \(image file is truncated"),
    "cut PNG": (lambda: turned_file(1, "PNG")[:-300], r"read \((image file is trunc|broken PNG)"),
    "cut WebP": (lambda: turned_file(1, "WEBP")[:-200], "not a picture that can be read"),
    "bomb": (lambda: bomb(30000, 30000), f"has more than {MAX_PIXELS:,} pixels; make it smaller"),
    "lesser bomb": (lambda: bomb(MAX_PIXELS // 8192 + 1, 8192), "has more than"),
    "large JPEG 2000": (lambda: large_jp2(8000, 5001), "has more than 40,000,000 pixels; "),
    "text bomb": (text_bomb, r"not a picture that can be read \(Decompressed data too large"),
    "32 bits": (lambda: saved(Image.fromarray(GREY16.astype(np.int32)), "TIFF"),
                "is a picture of kind I, whose range is not known; save it with 8 or 16 bits"),
    "float": (lambda: saved(Image.fromarray(GREY16.astype(np.float32)), "TIFF"), "of kind F"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_read_is_one_sentence(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, sentence = BAD[bad]
    path = tmp_path / "a.png"
    path.write_bytes(make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FalconetError, match=rf"^{path}: .*{sentence}") as refusal:
            read_photograph(path)
        with pytest.raises(FalconetError, match=f"^upload: .*{sentence}"):
            read_photograph(path.read_bytes(), "upload")
        with pytest.raises(FalconetError, match=f"{path}: "):
            read_folder(tmp_path)
    assert "\n" not in str(refusal.value)


TAKES = """
import sys, PIL.Image
from falconet.runtime.photographs import read_photograph
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
PIL.Image.init()
before = peak()
read_photograph(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.parametrize("way", [1, 6])
def test_memory(way: int, tmp_path: Path) -> None:
    """Four bytes a pixel of the picture, three of its array, and a band of each; turned or not."""
    path, side = tmp_path / "a.png", 6000
    exif = Image.Exif()
    exif[0x0112] = way
    Image.new("RGBA", (side, side), (1, 2, 3, 4)).save(path, exif=exif, compress_level=1)
    took = int(subprocess.check_output([sys.executable, "-c", TAKES, path], text=True)) << 10
    assert 7 * side * side < took < 10 * side * side


def test_places_without_a_picture(tmp_path: Path) -> None:
    with pytest.raises(FalconetError, match="is a folder; give a picture in it"):
        read_photograph(tmp_path)
    with pytest.raises(FalconetError, match=r"x\.png: no such picture"):
        read_photograph(tmp_path / "x.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden.png").write_bytes(turned_file(1, "PNG"))
    (tmp_path / "notes.txt").write_text("")
    for reader in (files_in, lambda p: list(photographs(p)), read_folder):
        with pytest.raises(FalconetError, match=f"^{tmp_path}: no pictures in this folder"):
            reader(tmp_path)


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(FalconetError, match=r"Pillow is needed; run: pip install pillow$"):
        read_photograph(b"")
    with pytest.raises(FalconetError, match=r"to read a camera, OpenCV is needed; run: pip install "
                                            r"opencv-python-headless$"):
        next(photographs(0))
    with pytest.raises(FalconetError, match="to write videos, OpenCV is needed"):
        opencv("to write videos")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of 64 x 48, each of one colour."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (64, 48))
    assert writer.isOpened()
    for i in range(7):
        writer.write(np.full((48, 64, 3), (200, 30, 30 * i), np.uint8))
    writer.release()
    return path


def test_video(clip: Path) -> None:
    with Video(clip) as video:
        assert (video.rate, video.frames) == (12.5, 7)
        found = list(video)
    assert len(found) == 7
    for i, frame in enumerate(found):
        assert frame.shape == (48, 64, 3) and frame.flags.c_contiguous
        np.testing.assert_allclose(frame.mean((0, 1)), (30 * i, 30, 200), atol=6)  # R, G, B
    named = list(photographs(clip))
    assert [name for name, _ in named] == [str(i) for i in range(7)]
    np.testing.assert_array_equal([f for _, f in named], found)
    capture = cv2.VideoCapture(str(clip))
    np.testing.assert_array_equal([f for _, f in photographs(capture)], found)
    assert capture.isOpened()  # whoever opened it closes it


def test_video_that_cannot_be_read(
    tmp_path: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    for data in (b"", b"junk" * 99, clip.read_bytes()[:900]):
        bad.write_bytes(data)
        with pytest.raises(FalconetError, match=r"bad\.mp4: not (a video|one frame)"):
            list(photographs(bad))
    with pytest.raises(FalconetError, match=r"none\.mp4: no such video"):
        Video(tmp_path / "none.mp4")
    with pytest.raises(FalconetError, match="camera 77 cannot be opened; is it connected"):
        list(photographs(77))


def test_a_camera_of_another_make() -> None:
    class Fake:
        left = 3

        def grab(self) -> None: ...

        def read(self) -> tuple[bool, Any]:
            self.left -= 1
            shape = (2, 2) if self.left else (2, 2, 3)
            return self.left >= 0, np.full(shape, max(0, self.left), np.uint8)

    found = list(photographs(Fake()))
    assert [(name, frame.shape, frame[0, 0, 0]) for name, frame in found] == [
        ("0", (2, 2, 3), 2), ("1", (2, 2, 3), 1), ("2", (2, 2, 3), 0)]


@pytest.mark.parametrize("way", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK", "I;16"])
def test_tall_pictures_are_read_in_bands(mode: str, way: int) -> None:
    """The pixels are those of the whole."""
    pixels = np.random.default_rng(0).integers(0, 256, (2500, 5, 3), np.uint8)
    picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else (
        Image.fromarray(pixels).convert(mode))
    want = np.repeat(pixels[..., :1], 3, 2) if mode == "I;16" else np.asarray(
        picture.convert("RGB"))
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = way
    if way == 6:  # stored on its side
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    picture.save(out, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
    assert np.array_equal(read_photograph(out.getvalue(), "tall"), want)
