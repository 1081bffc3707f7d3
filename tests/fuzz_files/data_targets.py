"""Files of data: data sets, recipes, pictures, checkpoints, arrays. See ``targets.py``."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import random
import shutil
import struct
import tempfile
import types
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutate import change_bytes, change_text, change_value
from PIL import Image

from falconet.isa import FalconetError
from falconet.runtime.photographs import read_photograph
from falconet_app.commands.sources import inputs_of
from falconet_models.architecture import preset
from falconet_models.checkpoint import load_state_dict
from falconet_models.datasets import open_coco, open_voc, open_yolo
from falconet_models.datasets.sample import image_size
from falconet_models.networks.detector import Detector
from falconet_models.train.checkpoints import load_detector, save_detector
from falconet_models.train.recipe import Recipe, builtin
from falconet_models.yaml12 import dump_yaml, read_yaml

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
XML = """<annotation>
  <size><width>16</width><height>12</height><depth>3</depth></size>
  <object><name>cat</name><difficult>0</difficult>
    <part><name>head</name></part>
    <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>
  <object><name>dog</name><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>16</xmax><ymax>12</ymax></bndbox>
  </object>
</annotation>
"""
DESCRIPTION = "path: .\ntrain: images\nval: [images, list.txt]\nnc: 2\nnames: {0: cat, 1: dog}\n"
COCO: dict[str, Any] = {
    "info": {}, "images": [{"id": 1, "file_name": "a.png", "width": 16, "height": 12},
                           {"id": 2, "file_name": "b.png"}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog", "supercategory": ""}],
    "annotations": [
        {"id": i, "image_id": 1 + i % 2, "category_id": 3 + 6 * (i % 2), "area": 4,
         "iscrowd": i % 2, "bbox": [i, 1.5, 4, 3], "segmentation": [[1, 2, 3, 4, 5, 6]]}
        for i in range(4)],
}
LABELS = "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.1 0.1\n"


@functools.cache
def _folder(process: int) -> Path:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # files of a disk take longer
    folder = Path(tempfile.mkdtemp(prefix="falconet-bad-files-", dir=memory))
    for name in ("coco/annotations", "coco/images", "yolo/images", "yolo/labels",
                 "voc/ImageSets/Main", "voc/Annotations", "voc/JPEGImages"):
        (folder / name).mkdir(parents=True)
    for name in ("coco/images", "yolo/images", "voc/JPEGImages"):
        for letter in "ab":
            Image.fromarray(PIXELS).save(folder / name / f"{letter}.png")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, text in (GOOD_YOLO | GOOD_VOC).items():
        (folder / name).write_text(text)
    return folder


def folder() -> Path:
    """Of this process, made at the first call; one of ``multiprocessing`` removes its own."""
    return _folder(os.getpid())


def remove_folder() -> None:
    shutil.rmtree(folder(), ignore_errors=True)


# ---------------------------------------------------------------------- data sets, recipes

def make_coco(rng: random.Random) -> bytes:
    text = json.dumps(change_value(rng, COCO, 4) if rng.randrange(5) else COCO, indent=1)
    if rng.randrange(3) == 0:
        text = change_text(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    return change_bytes(rng, data) if rng.randrange(5) == 0 else data


def take_coco(data: bytes) -> None:
    path = folder() / "coco" / "annotations" / "instances_val.json"
    path.write_bytes(data)
    open_coco(path)


GOOD_YOLO = {"yolo/data.yaml": DESCRIPTION, "yolo/labels/a.txt": LABELS,
             "yolo/list.txt": "images/a.png\n./images/b.png\n"}
GOOD_VOC = {"voc/Annotations/a.xml": XML, "voc/Annotations/b.xml": "<annotation/>",
            "voc/ImageSets/Main/val.txt": "a  1\nb -1\n", "voc/labels.txt": "cat\ndog\n"}


def _make_one(rng: random.Random, good: dict[str, str]) -> bytes:
    """One of the files, its number before it."""
    n = rng.choice((0, 0, *range(len(good))))
    data = change_text(rng, list(good.values())[n]).encode("utf-8", "surrogatepass")
    return bytes([n]) + (change_bytes(rng, data) if rng.randrange(4) == 0 else data)


@contextlib.contextmanager
def _other(good: dict[str, str], data: bytes) -> Any:
    """The good files with that of :func:`_make_one` instead of one of them."""
    name = list(good)[(data[0] if data else 0) % len(good)]
    (folder() / name).write_bytes(data[1:])
    try:
        yield
    finally:
        (folder() / name).write_text(good[name])


def make_yolo(rng: random.Random) -> bytes:
    return _make_one(rng, GOOD_YOLO)


def take_yolo(data: bytes) -> None:
    with _other(GOOD_YOLO, data):
        open_yolo(folder() / "yolo" / "data.yaml", "val")


def make_voc(rng: random.Random) -> bytes:
    return _make_one(rng, GOOD_VOC)


def take_voc(data: bytes) -> None:
    with _other(GOOD_VOC, data):
        open_voc(folder() / "voc", "val")


@functools.cache
def recipes() -> list[dict[str, Any]]:
    return [Recipe.load(name).to_dict() for name in builtin()]


def make_recipe(rng: random.Random) -> bytes:
    recipe = rng.choice(recipes())
    with contextlib.suppress(ValueError, UnicodeError):  # what YAML cannot say
        if rng.randrange(3):
            some = {k: v for k, v in recipe.items() if rng.randrange(3)} or recipe
            return dump_yaml(change_value(rng, some, 2)).encode()
    return change_text(rng, dump_yaml(recipe)).encode("utf-8", "surrogatepass")


def take_recipe(data: bytes) -> None:
    path = folder() / "recipe.yaml"
    path.write_bytes(data)
    Recipe.load(path)


@functools.cache
def documents() -> list[str]:
    """What YAML can say, in its ways of saying it."""
    return [
        DESCRIPTION, *(dump_yaml(recipe) for recipe in recipes()),
        'a: "\\x41\\u263a\\U0001F600\\n"\n\'b c\': \'it\'\'s\'\nd: |-\n  1\n   2\ne: >+\n  f\n\n',
        "- [1, -0x1f, 0o17, 1.5e-3, .inf, -.INF, .nan, ~, null, true]\n- {a: {b: [c, {d: }]}}\n-\n",
        "%YAML 1.2\n---\n? a\n: !!str 1\n? 2\n: ! x\nnames: {0: 1.10, 1: no}\n...\n",
        "a: &b [1]\nc: *b\n<<: *b\n", "# nothing\n", "---\n1\n---\n2\n",
    ]


def make_yaml(rng: random.Random) -> bytes:
    text = rng.choice(documents())
    if len(text) > 400 and rng.randrange(4):  # a part of a long one
        lines = text.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        text = "".join(lines[at : at + 8])
    data = change_text(rng, text).encode("utf-8", "surrogatepass")
    return change_bytes(rng, data) if rng.randrange(3) == 0 else data


def take_yaml(data: bytes) -> None:
    path = folder() / "document.yaml"
    path.write_bytes(data)
    read_yaml(path, "mend it")


# ---------------------------------------------------------------------- pictures

@functools.cache
def pictures() -> list[bytes]:
    rgb, made = Image.fromarray(PIXELS), []
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"

    def add(picture: Image.Image, kind: str, **options: Any) -> None:
        out = io.BytesIO()
        picture.save(out, kind, **options)
        made.append(out.getvalue())

    add(rgb, "JPEG", exif=exif), add(rgb, "JPEG", progressive=True), add(rgb.convert("L"), "JPEG")
    add(rgb.convert("CMYK"), "JPEG")
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        picture = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257) if mode == "I;16" else (
            rgb.convert(mode))
        add(picture, "PNG", exif=exif)
        add(picture, "TIFF", compression="tiff_lzw" if mode in ("RGB", "P") else "raw")
    add(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)])
    add(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)]), add(rgb, "BMP")
    add(rgb.convert("P"), "BMP"), add(rgb, "PPM"), add(rgb.convert("1"), "PPM")
    add(rgb, "WEBP"), add(rgb, "WEBP", lossless=True, exif=exif), add(rgb, "JPEG2000")
    if "AVIF" in Image.SAVE:
        add(rgb, "AVIF")
    return made


@functools.cache
def _bomb(size: int) -> bytes:
    return zlib.compress(bytes(size))


def _chunks(rng: random.Random, data: bytes) -> bytes:
    """A PNG with a chunk changed, repeated, moved or bloated; the checksums are right."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    n = rng.randrange(len(chunks))
    kind, body = chunks[n]
    way = rng.randrange(6)
    if way == 0:
        chunks[n] = kind, change_bytes(rng, body)
    elif way == 1:
        chunks.insert(rng.randrange(len(chunks)), chunks[n])
    elif way == 2:
        del chunks[n]
    elif way == 3:
        side = struct.pack(">II", *(rng.choice((1, 16, 9459, 65535, 2**31 - 1)) for _ in "wh"))
        chunks[0] = chunks[0][0], side + chunks[0][1][8:]
    elif way == 4:  # a bomb of text or pixels
        bomb = _bomb(rng.choice((1 << 20, 1 << 26)))
        kind, before = rng.choice(((b"IDAT", b""), (b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"),
                                   (b"iTXt", b"a\0\1\0\0\0")))
        chunks.insert(1 + rng.randrange(len(chunks)), (kind, before + bomb))
    else:
        chunks[n] = rng.choice((b"eXIf", b"fcTL", b"fdAT", b"acTL", b"tRNS", b"PLTE")), body
    return data[:8] + b"".join(struct.pack(">I4s", len(b), k) + b + struct.pack(
        ">I", zlib.crc32(k + b)) for k, b in chunks)


def make_picture(rng: random.Random) -> bytes:
    data = rng.choice(pictures())
    if data.startswith(b"\x89PNG") and rng.randrange(3):
        return _chunks(rng, data)
    return change_bytes(rng, data) if rng.randrange(10) else data[: rng.randrange(len(data))]


def take_picture(data: bytes) -> None:
    path = folder() / "picture"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, on what it makes do with
        with contextlib.suppress(FalconetError):
            image_size(path, "a list")
        found = read_photograph(data, "picture")
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3


# ---------------------------------------------------------------------- checkpoints, arrays

@functools.cache
def checkpoints() -> list[dict[str, bytes]]:
    """The members of a detector's checkpoint and of a plain state dict."""
    torch.manual_seed(0)
    detector = Detector(preset("digits", labels=("a",), size=(16, 16), neck=8))
    save_detector(folder() / "good.pt", detector, {"epoch": 1})
    torch.save(dict(list(detector.state_dict().items())[:6]), folder() / "plain.pt")
    found = []
    for name in ("good.pt", "plain.pt"):
        with zipfile.ZipFile(folder() / name) as archive:
            found.append({n: archive.read(n) for n in archive.namelist()})
    return found


def _archive(members: dict[str, bytes], rng: random.Random | None = None) -> bytes:
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if rng and rng.randrange(10) == 0 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def make_checkpoint(rng: random.Random) -> bytes:
    members = dict(rng.choice(checkpoints()))
    way = rng.randrange(6)
    if way == 0:
        return change_bytes(rng, _archive(members, rng))
    name = next(n for n in members if n.endswith("data.pkl"))
    if way > 2:
        name = rng.choice(list(members))
    members[name] = change_bytes(rng, members[name])
    if way == 5:
        del members[rng.choice(list(members))]
    return _archive(members, rng)


def take_checkpoint(data: bytes) -> None:
    path = folder() / "checkpoint.pt"
    path.write_bytes(data)
    problems = []
    for read in (load_state_dict, load_detector):
        try:
            read(path)
        except FalconetError as e:
            problems.append(e)
    if len(problems) == 2:
        raise problems[1]


INPUTS: Any = types.SimpleNamespace(header={"inputs": [{"name": "x", "shape": [3, 12, 16]},
                                                       {"name": "y", "shape": [4]}]})


def _arrays() -> dict[str, bytes]:
    members = {}
    x = PIXELS.transpose(2, 0, 1).view(np.int8)
    for name, array in (("x", x), ("y", np.zeros(4, np.int8))):
        out = io.BytesIO()
        np.save(out, array)
        members[f"{name}.npy"] = out.getvalue()
    return members


def make_npz(rng: random.Random) -> bytes:
    members = _arrays()
    if rng.randrange(4) == 0:
        return change_bytes(rng, _archive(members, rng))
    name = rng.choice(list(members))
    data = members[name]
    if rng.randrange(2):  # of the header, whose length stays
        text = change_bytes(rng, data[10:128], 2)
        data = data[:10] + text[:118].ljust(118) + data[128:]
    else:
        data = change_bytes(rng, data)
    members[name] = data
    return _archive(members, rng)


def take_npz(data: bytes) -> None:
    path = folder() / "inputs.npz"
    path.write_bytes(data)
    inputs_of(INPUTS, str(path))


def good() -> dict[str, list[bytes]]:
    """Unchanged files of every target."""
    return {
        "coco": [json.dumps(COCO).encode()],
        "yolo": [bytes([n]) + text.encode() for n, text in enumerate(GOOD_YOLO.values())],
        "voc": [bytes([n]) + text.encode() for n, text in enumerate(GOOD_VOC.values())],
        "yaml": [d.encode() for d in documents() if not d.startswith(("%", "a: &", "---"))],
        "recipe": [dump_yaml(r).encode() for r in recipes()],
        "picture": pictures(), "npz": [_archive(_arrays())],
        "checkpoint": [_archive(m) for m in checkpoints()],
    }


DATA_TARGETS = {
    "coco": (make_coco, take_coco), "voc": (make_voc, take_voc), "yolo": (make_yolo, take_yolo),
    "yaml": (make_yaml, take_yaml), "recipe": (make_recipe, take_recipe),
    "picture": (make_picture, take_picture), "checkpoint": (make_checkpoint, take_checkpoint),
    "npz": (make_npz, take_npz),
}
