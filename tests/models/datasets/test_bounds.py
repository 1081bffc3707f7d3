"""Files of data sets that nobody sane has written: bombs, wrong kinds, marks, numbers."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from falconet.isa import FalconetError
from falconet_models.datasets import Files, open_coco, open_dataset, write_coco
from falconet_models.datasets import coco as coco_module

pytestmark = pytest.mark.timeout(60)
SIZE = (16, 8)
XML = "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax>" \
      "<ymax>4</ymax></bndbox></object></annotation>"


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (1, 2, 3)).save(path)


def coco(folder: Path, text: str = "", **changes: Any) -> Path:
    picture(folder / "images" / "a.png")
    data = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}]}
    for key, value in changes.items():
        table, _, field = key.partition("_")
        data[table][0][field] = value
    path = folder / "annotations" / "instances_val.json"
    path.parent.mkdir()
    path.write_text(text or json.dumps(data))
    return path


def yolo(folder: Path, labels: bytes, names: str = "[cat]", mark: bytes = b"") -> Path:
    picture(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_bytes(labels)
    (folder / "data.yaml").write_bytes(mark + f"names: {names}\nval: images\n".encode())
    return folder


def voc(folder: Path, xml: bytes, mark: bytes = b"") -> Path:
    picture(folder / "JPEGImages" / "a.png")
    for name, data in (("ImageSets/Main/val.txt", mark + b"a\r\n"), ("Annotations/a.xml", xml),
                       ("labels.txt", mark + b"cat\r\n")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def refused(path: Path) -> str:
    """The sentence; and that it takes little to get to it."""
    tracemalloc.start()
    with pytest.raises(FalconetError) as e:
        open_coco(path) if path.suffix == ".json" else open_dataset(path, "val")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = str(e.value)
    assert said.isprintable() and len(said) < 600 and most < 128 << 20
    return said


@pytest.mark.parametrize("changes, said", [
    ({"images_id": [1]}, "images[0] has no id that is an integer"),
    ({"annotations_id": {"a": 1}}, "annotations[0] has no id that is an integer"),
    ({"annotations_image_id": [1]}, "annotation 1: there is no image [1]"),
    ({"annotations_image_id": True}, "annotation 1: there is no image True"),
    ({"annotations_category_id": {}}, "annotation 1: category {} is unknown"),
    ({"annotations_bbox": [0, 0, True, 4]}, "annotation 1: bbox [0, 0, True, 4] is not a list"),
    ({"annotations_bbox": [0, 0, float("inf"), 4]}, "bbox [0, 0, inf, 4] is not a list"),
    ({"annotations_bbox": [0, 0, 1e308, 1e308]}, "is outside the image of 16 x 8"),
    ({"annotations_bbox": "x" * 10_000}, "bbox 'xxx"),
    ({"annotations_iscrowd": "0"}, "annotation 1: iscrowd is '0'; write 0 or 1"),
    ({"images_width": "16"}, "image 1: width is '16', which is no number; write 16"),
    ({"images_height": None}, "image 1: height is None, which is no number; write 8"),
    ({"images_width": 17}, "image 1: width is 17, but "),
    ({"images_file_name": ["a.png"]}, "image 1: file_name is ['a.png']"),
    ({"images_file_name": "a\0.png"}, "is missing"), ({"images_file_name": "x" * 5000},
                                                      "is missing"),
    ({"images_file_name": "\ud800"}, "is missing"),
    ({"categories_name": ["cat"]}, "the name of class 0 is ['cat']"),
    ({"categories_name": "a\nb"}, "the name of class 0 is 'a\\nb'"),
])
def test_coco_records(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in refused(coco(tmp_path, **changes))


@pytest.mark.parametrize("text, said", [
    ('{"images":\n[{"id": ' + "9" * 5000, "json:2: a number of 5,000 digits, 999"),
    ('{"images": [{"id": 1' + "0" * 18 + "}]}", "json:1: a number of 19 digits"),
    ("[" * 100_000, "nested too deeply"), ('{"a":' * 100_000, "nested too deeply"),
    ('{"images": [{"id": 7,\n"id": 8}]}', "'id' is there twice in the object of 8"),
    ('{"images": []', "json:1: malformed JSON"), ("[1, 2]", "not a JSON object"),
])
def test_coco_texts(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(coco(tmp_path, text))


def test_coco_values_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = coco(tmp_path)
    values = sum(map(path.read_text().count, ",[{"))
    monkeypatch.setattr(coco_module, "_LIMITS", coco_module.LIMITS["coco"].__class__(
        "", digits=18, nodes=values))
    assert len(open_coco(path)) == 1
    path.write_text(path.read_text()[:-1] + ', "info": 1}')
    assert f"more than {values:,} values" in refused(path)


def test_coco_names_stay_within_the_folder_that_is_written(tmp_path: Path) -> None:
    path = coco(tmp_path / "in", images_file_name="../escaped.png")
    picture(tmp_path / "in" / "escaped.png")
    with pytest.raises(FalconetError, match="would be written outside"):
        write_coco(open_coco(path), tmp_path / "out", "val")
    assert not list(tmp_path.glob("out/**/*.png")) and not (tmp_path / "out/escaped.png").exists()


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    path = coco(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    os.mkfifo(tmp_path / "images" / "a.png")
    assert "is missing" in refused(path)


@pytest.mark.parametrize("line, said", [
    (b"0 .5 .5 .1", "a.txt:1: '0 .5 .5 .1' is not class"), (b"0 .5 .5 nan .1", "is not class"),
    (b"0 .5 .5 1_0 .1", "is not class"), ("0 .5 .5 ٠ .1".encode(), "is not class"),
    (b"\n1e300 .5 .5 .1 .1", "a.txt:2: class 1e+300 is unknown"),
    (b"-1 .5 .5 .1 .1", "class -1 is unknown"), (b"0 0 0 \0 1", "is not class"),
    (b"9" * 5000 + b" .5 .5 .1 .1", "is not class"), (b"0 .5 .5 .1 .1\n\xff", "a.txt:2: not a"),
])
def test_yolo_lines(line: bytes, said: str, tmp_path: Path) -> None:
    assert said in refused(yolo(tmp_path, line))


@pytest.mark.parametrize("text, said", [
    ("[a, a]", "the name 'a' is there twice"), ("[[a]]", "the name of class 0 is ['a']"),
    ("['']", "the name of class 0 is ''"), ("[a]\nnc: '1'", "nc is '1', but there are 1 names"),
    ("[a]\npath: 3", "path is 3, not a path"), ("{'0': a}", "not numbered from 0"),
    ("[a]\nval: images/a.png #", "data.yaml:3: the key 'val' is there twice"),
])
def test_yolo_descriptions(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(yolo(tmp_path, b"", text))


def test_a_picture_is_no_list_of_pictures(tmp_path: Path) -> None:
    yolo(tmp_path, b"")
    (tmp_path / "data.yaml").write_text("names: [cat]\nval: images/a.png\n")
    assert "a.png:1: not a text in UTF-8" in refused(tmp_path)


def test_names_are_texts(tmp_path: Path) -> None:
    names = ("yes", "no", "on", "1.10", "null", "007")
    assert open_dataset(yolo(tmp_path, b"", f"[{', '.join(names)}]"), "val").labels == names


MARK = b"\xef\xbb\xbf"


def test_byte_order_marks_are_no_part_of_the_text(tmp_path: Path) -> None:
    found = {
        "yolo": open_dataset(yolo(tmp_path / "y", MARK + b"0 .5 .5 .5 .5\r\n", mark=MARK), "val"),
        "voc": open_dataset(voc(tmp_path / "v", MARK + XML.encode(), MARK), "val"),
        "coco": open_coco(coco(tmp_path / "c", MARK.decode() + coco(tmp_path / "d").read_text())),
    }
    for each in found.values():
        assert isinstance(each, Files)
        assert each.labels == ("cat",) and len(each.load(0).boxes) == 1
        assert np.array_equal(each.load(0).classes, [0])


@pytest.mark.parametrize("xml, said", [
    ('<!DOCTYPE a [<!ENTITY x "' + "y" * 10 + '">' + "".join(
        f'<!ENTITY x{i} "&x{i - 1 if i else ""};&x{i - 1 if i else ""};">' for i in range(40))
     + "]><annotation>&x39;</annotation>", "a.xml:1: a document type (DOCTYPE) has no use"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "a.xml:1: a document type"),
    ("<a>" * 100_000, "a.xml:1: nested deeper than 16"),
    ("<a>" + "\n<b/>" * 50_000 + "</a>", "a.xml:50001: there are more than 50,000 elements"),
    ('<?xml version="1.0" encoding="x-none"?><a/>', "a.xml"),
    (XML.replace("<xmax>4", "<xmax>4_0"), "bndbox/xmax '4_0' is not a number"),
    (XML.replace("<xmax>4", "<xmax>" + "9" * 5000), "bndbox/xmax '999"),
    (XML.replace("cat", "c\n" * 1000), "class 'c\\n"),
    (XML.replace("<object>", "<size><width>" + "1" * 3000 + "</width></size><object>"), "size/wid"),
])
def test_voc(xml: str, said: str, tmp_path: Path) -> None:
    assert said in refused(voc(tmp_path, xml.encode()))


def test_much_text_in_pieces_takes_linear_time(tmp_path: Path) -> None:
    """Joined one by one, 800,000 pieces of a text copy 10^11 bytes."""
    voc(tmp_path, (XML[:12] + "\n&#65;" * 400_000 + XML[12:]).encode())
    assert len(open_dataset(tmp_path, "val")) == 1
