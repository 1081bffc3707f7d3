"""VOC, COCO and YOLO folders: what is read, and one sentence for each fault."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from falconet.isa import FalconetError
from falconet_models.datasets import (
    Dataset,
    Digits,
    Files,
    Sample,
    open_coco,
    open_dataset,
    open_voc,
    open_yolo,
    write_coco,
)

LABELS = ("cat", "dog", "tree")


@dataclass
class Few:
    """Five images of 64 x 32 or 32 x 64, none to three boxes each, some ignored."""

    ignoring: bool = True
    labels: tuple[str, ...] = LABELS

    def __len__(self) -> int:
        return 5

    def load(self, i: int) -> Sample:
        rng = np.random.default_rng(i)
        height, width = (32, 64) if i % 2 else (64, 32)
        n = i % 4
        corner = rng.integers(0, (width - 1, height - 1), (n, 2))
        far = rng.integers(corner + 1, (width + 1, height + 1))
        return Sample(
            rng.integers(0, 256, (height, width, 3), np.uint8),
            np.concatenate([corner, far], 1).astype(np.float32),
            rng.integers(0, 3, n), rng.random(n) < 0.4 * self.ignoring, f"{i:03d}.png")


def write_voc(dataset: Dataset, folder: Path, split: str) -> None:
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(dataset.labels) + "\n")
    names = []
    for i in range(len(dataset)):
        s = dataset.load(i)
        names.append(Path(s.name).stem)
        Image.fromarray(s.image).save(folder / "JPEGImages" / f"{names[-1]}.png")
        height, width = s.image.shape[:2]
        lines = ["<annotation>", f"  <filename>{s.name}</filename>", "  <size>",
                 f"    <width>{width}</width>", f"    <height>{height}</height>",
                 "    <depth>3</depth>", "  </size>"]
        for (x1, y1, x2, y2), c, ignored in zip(s.boxes.astype(int), s.classes, s.ignored):
            lines += ["  <object>", f"    <name>{dataset.labels[c]}</name>",
                      f"    <difficult>{int(ignored)}</difficult>",
                      "    <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>",
                      "    <bndbox>",
                      f"      <xmin>{x1 + 1}</xmin>", f"      <ymin>{y1 + 1}</ymin>",
                      f"      <xmax>{x2}</xmax>", f"      <ymax>{y2}</ymax>", "    </bndbox>",
                      "  </object>"]
        (folder / "Annotations" / f"{names[-1]}.xml").write_text("\n".join([*lines,
                                                                          "</annotation>"]))
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n\n")


def write_yolo(dataset: Dataset, folder: Path, split: str) -> None:
    for name in ("images", "labels"):
        (folder / name / split).mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text(
        f"{split}: images/{split}\nnc: {len(dataset.labels)}\nnames:\n"
        + "".join(f"  - {label}\n" for label in dataset.labels))
    for i in range(len(dataset)):
        s = dataset.load(i)
        Image.fromarray(s.image).save(folder / "images" / split / s.name)
        height, width = s.image.shape[:2]
        lines = [f"{c} {(x1 + x2) / 2 / width:.9f} {(y1 + y2) / 2 / height:.9f} "
                 f"{(x2 - x1) / width:.9f} {(y2 - y1) / height:.9f}\n"
                 for (x1, y1, x2, y2), c in zip(s.boxes, s.classes)]
        if lines:
            (folder / "labels" / split / s.name).with_suffix(".txt").write_text("".join(lines))


WRITERS: dict[str, Callable[[Dataset, Path, str], object]] = {
    "voc": write_voc, "coco": write_coco, "yolo": write_yolo}


def same(a: Dataset, b: Dataset) -> None:
    assert a.labels == b.labels and len(a) == len(b)
    for i in range(len(a)):
        x, y = a.load(i), b.load(i)
        assert x.name == y.name
        assert x.image.dtype == np.uint8 and np.array_equal(x.image, y.image)
        assert x.boxes.dtype == y.boxes.dtype == np.float32 and x.boxes.shape == y.boxes.shape
        assert np.allclose(x.boxes, y.boxes, rtol=0, atol=1e-5)
        assert x.classes.dtype == np.int64 and np.array_equal(x.classes, y.classes)
        assert x.ignored.dtype == bool and np.array_equal(x.ignored, y.ignored)


@pytest.mark.parametrize("source", ["few", "digits"])
@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_written_is_read(kind: str, source: str, tmp_path: Path) -> None:
    dataset = Few(ignoring=kind != "yolo") if source == "few" else Digits("val", 6)
    WRITERS[kind](dataset, tmp_path, "val")
    same(open_dataset(tmp_path, "val"), dataset)


@pytest.mark.parametrize("order", [("voc", "coco", "yolo"), ("yolo", "voc", "coco")])
def test_round_trips_between_formats(order: tuple[str, ...], tmp_path: Path) -> None:
    dataset: Dataset = Few(ignoring=False)
    for kind in order:
        WRITERS[kind](dataset, tmp_path / kind, "train")
        dataset = open_dataset(tmp_path / kind, "train")
    same(dataset, Few(ignoring=False))


def test_a_coco_file_is_as_its_format_says(tmp_path: Path) -> None:
    path = write_coco(Few(), tmp_path, "val", info={"description": "few"})
    data = json.loads(path.read_text())
    assert data["info"] == {"description": "few"}
    assert [(c["id"], c["name"]) for c in data["categories"]] == [(1, "cat"), (2, "dog"),
                                                                  (3, "tree")]
    boxes = iter(data["annotations"])
    number = 0
    for i, image in enumerate(data["images"]):
        s = Few().load(i)
        with Image.open(tmp_path / "val" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == s.image.shape[1::-1]
        for (x1, y1, x2, y2), c, ignored in zip(s.boxes.tolist(), s.classes, s.ignored):
            found, number = next(boxes), number + 1
            assert found["id"] == number and found["image_id"] == image["id"] == i + 1
            assert found["bbox"] == [x1, y1, x2 - x1, y2 - y1]
            assert found["area"] == (x2 - x1) * (y2 - y1)
            assert found["category_id"] == c + 1 and found["iscrowd"] == ignored
    assert next(boxes, None) is None and number > 5
    with pytest.raises(FalconetError, match="there is a split 'val' already; name another folder"):
        write_coco(Few(), tmp_path, "val")


def test_two_images_of_one_name_are_not_written_over_each_other(tmp_path: Path) -> None:
    class Twice(Few):
        def load(self, i: int) -> Sample:
            return Few().load(i // 2)

    with pytest.raises(FalconetError, match=r"image '000\.png' is there twice; rename one"):
        write_coco(Twice(), tmp_path, "val")


@pytest.mark.parametrize(("json_file", "images", "split"), [
    ("annotations/instances_val2017.json", "val2017", "val"),
    ("annotations/instances_val2017.json", "images/val2017", "val"),
    ("annotations/validation.json", "images", "val"),
    ("annotations/train.json", "train", "train"),
    ("valid/_annotations.coco.json", "valid", "val"),
    ("train/_annotations.coco.json", "train", "train"),
    ("annotations/instances_minival.json", "minival", "minival"),
])
def test_layouts_of_coco(json_file: str, images: str, split: str, tmp_path: Path) -> None:
    path = write_coco(Few(), tmp_path / "made", "x")
    root = tmp_path / "root"
    (root / json_file).parent.mkdir(parents=True)
    (root / images).parent.mkdir(parents=True, exist_ok=True)
    if (root / images).exists():
        (root / images).rmdir()
    (tmp_path / "made" / "x").rename(root / images)
    path.rename(root / json_file)
    same(open_dataset(root, split), Few())
    if json_file.startswith("annotations"):
        (root / images).rename(tmp_path / "elsewhere")
        same(open_coco(root / json_file, tmp_path / "elsewhere"), Few())


def test_categories_count_by_their_ids(tmp_path: Path) -> None:
    path = write_coco(Few(), tmp_path, "val")
    data = json.loads(path.read_text())
    ids = {1: 90, 2: 7, 3: 18}
    data["categories"] = [{**c, "id": ids[c["id"]]} for c in data["categories"]]
    for a in data["annotations"]:
        a["category_id"] = ids[a["category_id"]]
    path.write_text(json.dumps(data))
    found = open_dataset(tmp_path, "val")
    assert found.labels == ("dog", "tree", "cat")
    for i in range(len(Few())):
        assert ([found.labels[c] for c in found.load(i).classes]
                == [LABELS[c] for c in Few().load(i).classes])


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_crowds_are_ignored(key: str, tmp_path: Path) -> None:
    write_coco(Few(ignoring=False), tmp_path, "val")
    record("annotations", 0, **{key: 1})(tmp_path)
    found = open_dataset(tmp_path, "val")
    assert [found.load(i).ignored.tolist() for i in range(5)] == [
        [], [True], [False] * 2, [False] * 3, []]


def test_labels_are_beside_the_last_images(tmp_path: Path) -> None:
    write_yolo(Few(ignoring=False), tmp_path / "images" / "few", "val")
    same(open_dataset(tmp_path / "images" / "few", "val"), Few(ignoring=False))


@pytest.mark.parametrize("text", [
    "path: .\nval: images/val\nnames: [cat, dog, tree]\n",
    "val: ../images/val\nnames: {0: cat, 1: dog, 2: tree}\n",
    "path: somewhere/else\nval: images/val\nnames: [cat, dog, tree]\n",
    "val: [images/val]\nnames: [cat, dog, tree]\n",
    "val: list.txt\nnames: [cat, dog, tree]\n",
])
@pytest.mark.parametrize("name", ["data.yaml", "few.yml"])
def test_layouts_of_yolo(text: str, name: str, tmp_path: Path) -> None:
    write_yolo(Few(ignoring=False), tmp_path, "val")
    (tmp_path / "list.txt").write_text("".join(f"./images/val/{i:03d}.png\n" for i in range(5)))
    (tmp_path / "data.yaml").unlink()
    (tmp_path / name).write_text(text)
    same(open_dataset(tmp_path, "val"), Few(ignoring=False))
    same(open_dataset(tmp_path / name, "val"), Few(ignoring=False))


def test_vocs_own_classes_need_no_list(tmp_path: Path) -> None:
    write_voc(Few(labels=("cat", "dog", "sheep")), tmp_path, "trainval")
    (tmp_path / "labels.txt").unlink()
    found = open_voc(tmp_path, "trainval")
    assert len(found.labels) == 20 and sorted(found.labels) == list(found.labels)
    kinds = {found.labels[c] for i in range(5) for c in found.load(i).classes}
    assert kinds <= {"cat", "dog", "sheep"} and len(kinds) > 1


@pytest.mark.parametrize("kind", WRITERS)
def test_images_are_upright(kind: str, tmp_path: Path) -> None:
    """A camera held upright writes rows of columns and says so in EXIF."""
    WRITERS[kind](Few(ignoring=False), tmp_path, "val")
    path = next(p for p in tmp_path.rglob("001.*") if p.suffix == ".png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    turned = np.rot90(Few().load(1).image)
    Image.fromarray(turned).save(path, exif=exif)
    found = open_dataset(tmp_path, "val").load(1)
    assert np.array_equal(found.image, Few().load(1).image)
    assert np.allclose(found.boxes, Few().load(1).boxes, atol=1e-5)


def test_grey_and_transparent_images_have_three_channels(tmp_path: Path) -> None:
    write_yolo(Few(), tmp_path, "val")
    grey = Few().load(1).image[..., 0]
    for i, image in ((1, Image.fromarray(grey)), (3, Image.fromarray(grey).convert("RGBA"))):
        image.save(tmp_path / "images" / "val" / f"{i:03d}.png")
    for i in (1, 3):
        image3 = open_dataset(tmp_path, "val").load(i).image
        assert all(np.array_equal(image3[..., c], grey) for c in range(3))


def edit(path: str, old: str, new: str, regex: bool = False) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        changed = re.sub(old, new, text, count=1) if regex else text.replace(old, new, 1)
        assert changed != text
        (folder / path).write_text(changed)
    return change


def lose(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def spoil(path: str, data: bytes = b"no image \xff") -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_bytes(data) and None


def record(table: str, n: int, **changes: object) -> Callable[[Path], None]:
    """Fields of a record of the COCO file; None takes one out."""
    def change(folder: Path) -> None:
        path = folder / "annotations" / "instances_val.json"
        data = json.loads(path.read_text())
        for key, value in changes.items():
            data[table][n][key] = value
            if value is None:
                del data[table][n][key]
        path.write_text(json.dumps(data))
    return change


def drop(table: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "annotations" / "instances_val.json"
        data = json.loads(path.read_text())
        del data[table]
        path.write_text(json.dumps(data))
    return change


XML, TXT = "Annotations/001.xml", "labels/val/001.txt"
LIST, MAIN = "annotations/instances_val.json", "ImageSets/Main/val.txt"
REFUSALS = [
    ("voc", lose("JPEGImages/001.png"),
     "val.txt:2: image */001.jpg is missing; add it or take it out"),
    ("voc", spoil("JPEGImages/001.png"), "val.txt:2: */001.png: not a picture that can be read;"),
    ("voc", lose(XML), "val.txt:2: */001.xml is missing; add it"),
    ("voc", lose(MAIN), "Main/val.txt: no such file; name another split"),
    ("voc", edit(XML, "<xmax>", "<xmax>9"), "001.xml:12: box (*) is outside the image of 64 x 32"),
    ("voc", edit(XML, r" {6}<xmin>\d+", "<xmin>-1", True),
     "001.xml:12: box (-2, *) is outside the image of 64 x 32"),
    ("voc", edit(XML, r"<ymax>\d+", "<ymax>0", True), "001.xml:12: box (*) has no area; correct"),
    ("voc", edit(XML, r"<ymax>\d+", "<ymax>x", True),
     "001.xml:16: bndbox/ymax 'x' is not a number; correct it"),
    ("voc", edit(XML, r"<xmax>\d+", "<xmax>nan", True),
     "001.xml:15: bndbox/xmax 'nan' is not a number; correct it"),
    ("voc", edit(XML, r"<ymin>.*\n", "\n", True), "001.xml:8: bndbox/ymin is missing; add it"),
    ("voc", edit(XML, r"(?s)    <bndbox>.*?</bndbox>\n  </ob", "  </ob", True),
     "001.xml:8: bndbox/xmin is missing; add it"),
    ("voc", edit(XML, r"<name>\w+<", "<name>cow<", True),
     "001.xml:9: class 'cow' is unknown; correct it, or list all classes in labels.txt"),
    ("voc", edit(XML, "    <name>", "    <nome>"), "001.xml:9: malformed XML (mismatched tag)"),
    ("voc", edit(XML, "<width>64", "<width>65"),
     "001.xml:4: size/width is 65, but the image is of 64 x 32 pixels; correct it or"),
    ("voc", spoil("labels.txt", b"cat\ncat\n"), "labels.txt: the name 'cat' is there twice"),
    ("voc", spoil("labels.txt", b"\xff"), "labels.txt:*not a text in UTF-8"),
    ("coco", lose("val/001.png"), "instances_val.json: image 2: image */001.png is missing; add"),
    ("coco", spoil("val/001.png"), "instances_val.json: image 2: */001.png: not a picture that"),
    ("coco", record("images", 1, width=65),
     "instances_val.json: image 2: width is 65, but */001.png is of 64 x 32"),
    ("coco", record("images", 1, file_name=None),
     "json: image 2: file_name is None; write the name of a picture"),
    ("coco", record("images", 1, id=1), "json: images[1]: the id 1 is there twice; renumber one"),
    ("coco", record("images", 1, id="b"), "json: images[1] has no id that is an integer; add one"),
    ("coco", record("annotations", 2, bbox=[60, 1, 8, 4]),
     "json: annotation 3: box (60, 1, 68, 5) is outside the image of 32 x 64 pixels; correct"),
    ("coco", record("annotations", 2, bbox=[32.5, 1, 0.5, 4]),
     "json: annotation 3: box (32.5, 1, 33, 5) is outside the image"),
    ("coco", record("annotations", 2, bbox=[3, 1, 0, 4]),
     "json: annotation 3: box (3, 1, 3, 5) has no area; correct or remove it"),
    ("coco", record("annotations", 2, bbox=[3, 1, 4]),
     "json: annotation 3: bbox [3, 1, 4] is not a list of four numbers; write [x, y, width"),
    ("coco", record("annotations", 2, bbox=[3, 1, 4, float("nan")]),
     "json: annotation 3: bbox [3, 1, 4, nan] is not a list of four numbers"),
    ("coco", record("annotations", 2, bbox=None),
     "json: annotation 3: bbox None is not a list of four numbers"),
    ("coco", record("annotations", 2, category_id=4),
     "json: annotation 3: category 4 is unknown; correct it or add it to categories"),
    ("coco", record("annotations", 2, image_id=9),
     "json: annotation 3: there is no image 9; correct image_id"),
    ("coco", record("annotations", 2, id=2), "json: annotations[2]: the id 2 is there twice"),
    ("coco", drop("categories"), "json: the list 'categories' is missing; name a COCO file"),
    ("coco", edit(LIST, '"images": [', '\n"images": [,'), "val.json:2: malformed JSON (*); co"),
    ("coco", spoil(LIST, b"[]"), "instances_val.json: not a JSON object; name a COCO file"),
    ("coco", spoil(LIST, b"\xff"), "instances_val.json:*not a text in UTF-8"),
    ("yolo", spoil("images/val/001.png"), "images/val: */001.png: not a picture that can be read;"),
    ("yolo", edit(TXT, " ", " 0."), "001.txt:1: '*' is not class, x, y, width, height; write five"),
    ("yolo", edit(TXT, "\n", " 0.5\n"), "001.txt:1: '*' is not class, x, y, width, height"),
    ("yolo", spoil(TXT, b"0 0.5 0.5 0.1 0.1\n\n0.5 0.5 0.5 0.1 0.1\n"),
     "001.txt:3: '0.5 0.5 0.5 0.1 0.1' is not class, x, y, width, height"),
    ("yolo", spoil(TXT, b"0 0.5 0.5 0.1 0.1\n3 0.5 0.5 0.1 0.1\n"),
     "001.txt:2: class 3 is unknown, there are 3; correct it or add a name"),
    ("yolo", spoil(TXT, b"-1 0.5 0.5 0.1 0.1\n"), "001.txt:1: class -1 is unknown, there are 3"),
    ("yolo", spoil(TXT, b"1 0.95 0.5 0.2 0.1\n"),
     "001.txt:1: box (54.4, 14.4, 67.2, 17.6) is outside the image of 64 x 32 pixels; correct"),
    ("yolo", spoil(TXT, b"1 0.5 0.5 0 0.1\n"), "001.txt:1: box (32, 14.4, 32, 17.6) has no area"),
    ("yolo", spoil(TXT, b"1 0.5 0.5 nan 0.1\n"), "001.txt:1: '1 0.5 0.5 nan 0.1' is not class"),
    ("yolo", spoil(TXT, b"1 20 16 8 8\n"),
     "001.txt:1: '1 20 16 8 8' is in pixels; divide by the image's size, 64 x 32"),
    ("yolo", spoil(TXT, b"\xff"), "001.txt:*not a text in UTF-8"),
    ("yolo", edit("data.yaml", "nc: 3", "nc: 4"), "data.yaml: nc is 4, but there are 3 names"),
    ("yolo", edit("data.yaml", "nc: 3", "nc: 3:"), "data.yaml:2: malformed YAML (*); correct it"),
    ("yolo", edit("data.yaml", "val:", "test:"),
     "data.yaml: there is no split 'val'; there are test"),
    ("yolo", edit("data.yaml", "images/val", "nowhere"),
     "data.yaml: val names */nowhere, which is missing; correct the path"),
    ("yolo", edit("data.yaml", "images/val", "labels"), "data.yaml: there is no image in val"),
    ("yolo", edit("data.yaml", "images/val", "7"), "data.yaml: val is 7, not a path; name a"),
    ("yolo", edit("data.yaml", "names:", "nimes:"), "data.yaml: names is missing; list the names"),
    ("yolo", spoil("data.yaml", b"val: images/val\nnames: {1: a, 2: b}\n"),
     "data.yaml: names are not numbered from 0 to 1; renumber them"),
    ("yolo", spoil("data.yaml", b"- a\n"), "data.yaml: not a description of a data set"),
    ("yolo", spoil("data.yaml", b"\xff"), "data.yaml:*not a text in UTF-8"),
]


@pytest.mark.parametrize(("kind", "fault", "words"), REFUSALS, ids=lambda v: v[:40] if isinstance(
    v, str) else "")
def test_every_fault_has_its_sentence(
    kind: str, fault: Callable[[Path], None], words: str, tmp_path: Path,
) -> None:
    WRITERS[kind](Few(), tmp_path, "val")
    open_dataset(tmp_path, "val")
    fault(tmp_path)
    with pytest.raises(FalconetError, match=re.escape(words).replace(r"\*", ".*")) as refusal:
        open_dataset(tmp_path, "val")
    assert "\n" not in str(refusal.value) and "in all" not in str(refusal.value)


def test_a_listed_image_that_is_missing_has_its_line(tmp_path: Path) -> None:
    write_yolo(Few(), tmp_path, "val")
    (tmp_path / "list.txt").write_text("images/val/000.png\n\nimages/val/009.png\n")
    edit("data.yaml", "images/val", "list.txt")(tmp_path)
    with pytest.raises(FalconetError, match=r"list\.txt:3: image .*009\.png is missing; add it or"):
        open_dataset(tmp_path, "val")


def test_damaged_pixels_are_refused_when_they_are_read(tmp_path: Path) -> None:
    write_yolo(Few(), tmp_path, "val")
    path = tmp_path / "images" / "val" / "001.png"
    path.write_bytes(path.read_bytes()[:-200])
    found = open_dataset(tmp_path, "val")
    found.load(0)
    with pytest.raises(FalconetError, match=r"001\.png: not a picture .*\(.*\); replace it or"):
        found.load(1)


@pytest.mark.parametrize(("x1", "x2", "inside"), [
    (-1, 8, (0, 8)), (60, 65, (60, 64)), (-0.5, 64.5, (0, 64)), (0, 64, (0, 64)),
])
def test_rounding_of_other_tools_is_cut_off(
    x1: float, x2: float, inside: tuple[float, float], tmp_path: Path,
) -> None:
    write_coco(Few(), tmp_path, "val")
    record("annotations", 0, image_id=2, bbox=[x1, 4, x2 - x1, 8])(tmp_path)
    assert open_dataset(tmp_path, "val").load(1).boxes[0].tolist() == [inside[0], 4, inside[1], 12]


def test_faults_are_counted_and_can_be_skipped(tmp_path: Path) -> None:
    write_coco(Few(), tmp_path, "val")
    record("annotations", 0, bbox=[0, 0, 0, 0])(tmp_path)
    lose("val/004.png")(tmp_path)
    lose("val/003.png")(tmp_path)
    with pytest.raises(FalconetError, match=r"image 4: .* is missing; .*set \(3 faults in all\)$"):
        open_dataset(tmp_path, "val")
    found = open_dataset(tmp_path, "val", skip_faults=True)
    assert isinstance(found, Files) and len(found) == 3
    assert [f.split(": ")[1] for f in found.faults] == ["image 4", "image 5", "annotation 1"]
    assert [len(found.load(i).boxes) for i in range(3)] == [0, 0, 2]
    assert np.array_equal(found.load(2).image, Few().load(2).image)


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_other_formats_skip_too(kind: str, tmp_path: Path) -> None:
    WRITERS[kind](Few(), tmp_path, "val")
    path, text = (XML, "<name>cow<") if kind == "voc" else (TXT, "7 ")
    edit(path, r"<name>\w+<" if kind == "voc" else r"\d ", text, True)(tmp_path)
    spoil(f"{'JPEGImages' if kind == 'voc' else 'images/val'}/002.png")(tmp_path)
    opener = open_voc if kind == "voc" else lambda f, s, **o: open_yolo(f / "data.yaml", s, **o)
    found = opener(tmp_path, "val", skip_faults=True)
    assert len(found) == 4 and len(found.faults) == 2 and len(found.load(1).boxes) == 0
    assert len(found.load(2).boxes) == 3


def test_what_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FalconetError, match=re.escape(
            f"{tmp_path}: not a data set with a split 'val': there is no ImageSets/Main (VOC), no "
            "annotations/instances_val.json (COCO) and no data.yaml (YOLO); name its folder")):
        open_dataset(tmp_path, "val")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(FalconetError, match=r"a\.json: a file, but no YOLO data.yaml; name the da"):
        open_dataset(tmp_path / "a.json", "val")
    with pytest.raises(FalconetError, match="b: no such file or folder; name a data set, or 'digi"):
        open_dataset(tmp_path / "b", "val")
    with pytest.raises(FalconetError, match=r"c\.json: no such file; name a COCO file"):
        open_coco(tmp_path / "c.json")
    with pytest.raises(FalconetError, match=r"d\.yaml: no such file; name the data.yaml"):
        open_yolo(tmp_path / "d.yaml", "val")
    monkeypatch.chdir(tmp_path)
    built_in = open_dataset("digits", "test")
    assert isinstance(built_in, Digits) and built_in.split == "test"
    write_yolo(Few(ignoring=False), tmp_path / "digits", "val")
    same(open_dataset("digits", "val"), Few(ignoring=False))
