"""Options in the machine's integers, and detections out of segment OUTPUT, byte by byte."""

from __future__ import annotations

import dataclasses
import math
import struct
import subprocess
import sys
from typing import Any

import heads
import numpy as np
import pytest

from falconet.isa import FalconetError, preset
from falconet.isa.program.forms import Detect
from falconet.runtime.detections import (
    RECORD,
    Detections,
    Limits,
    Options,
    gaussian_weights,
    limits,
    pack_options,
    q_min,
    unpack_detections,
)


def head(mode: str = "greedy", **changes: Any) -> Detect:
    detect, _ = heads.random_head(np.random.default_rng(0), preset("tiny"), mode=mode)
    return heads.head_of(
        detect | {"limit": 20, "score": 0.3, "iou": 0.45, "sigma": 0.5} | changes)


def test_record_layout() -> None:
    data = struct.pack("<4hHBBHH", -1, -2, 3, 32767, 65535, 200, 0x73, 500, 7)
    record = np.frombuffer(data, RECORD)[0]
    assert RECORD.itemsize == len(data) == 16
    assert record.tolist() == (-1, -2, 3, 32767, 65535, 200, 0x73, 500, 7)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [("score", 1.01, "0 to 1"), ("score", -0.1, "0 to 1"), ("score", math.nan, "0 to 1"),
     ("iou", 2, "0 to 1"), ("sigma", 0, "positive"), ("sigma", math.inf, "positive"),
     ("maximum", 0, "from 1"), ("maximum", 2.5, "from 1")],
)
def test_options_refuse(field: str, value: float, rule: str) -> None:
    with pytest.raises(FalconetError, match=f"{field}={value}; give .*{rule}"):
        Options(**{field: value})


def test_limits() -> None:
    assert limits(head()) == Limits(19661, 29491, 20)
    assert limits(head(), Options(score=1, iou=1, maximum=20)) == Limits(65535, 65536, 20)
    assert limits(head(), Options(score=0, iou=0, maximum=1)) == Limits(0, 0, 1)
    with pytest.raises(FalconetError, match=r"maximum=21; the program has room for 20"):
        limits(head(), Options(maximum=21))
    weights = limits(head("soft_gaussian"), Options(sigma=0.2)).weights
    assert weights is not None and np.array_equal(weights, gaussian_weights(0.2))
    default = limits(head("soft_gaussian")).weights
    assert default is not None and np.array_equal(default, gaussian_weights(0.5))


@pytest.mark.parametrize("sigma", [1e-300, 1e-3, 0.2, 0.5, 1.0, 1e9])
def test_gaussian_weights(sigma: float) -> None:
    """Joined up and falling; within half a unit of the exponential (1.0 is 65535)."""
    table = gaussian_weights(sigma).astype(int)
    assert table.shape == (256, 2) and (table >= 0).all()
    assert np.array_equal(table[:-1, 0] - table[:-1, 1], table[1:, 0])
    exact = np.append(table[:, 0], table[-1, 0] - table[-1, 1])
    ious = np.arange(257) / 256
    assert np.abs(exact - np.minimum(65536 * np.exp(-ious**2 / sigma), 65535)).max() <= 0.5


def test_q_min() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        table = np.sort(rng.integers(0, rng.choice([3, 300, 65536]), 256)).tolist()
        score_min = int(rng.choice([0, 1, 2, 150, 40000, 65535, table[rng.integers(256)]]))
        want = [q for q in range(-128, 128) if table[q + 128] >= score_min]
        assert q_min(table, score_min) == (want[0] if want else 128)
    with pytest.raises(FalconetError, match="a score table falls; recompile"):
        q_min([*range(255), 3], 0)


@pytest.mark.parametrize("mode", ["greedy", "soft_gaussian"])
def test_pack_options(mode: str) -> None:
    detect = head(mode)
    first, second = detect.levels
    detect = dataclasses.replace(
        detect, levels=(first, dataclasses.replace(second, options=512)),
        weights=1024 if mode == "soft_gaussian" else -1)
    written = dict(pack_options(detect, Options(score=0.4, iou=0.5, maximum=7)))
    assert set(written) == {0, 512} | ({1024} if mode == "soft_gaussian" else set())
    for level in detect.levels:
        row = written[level.options]
        score_min, least, threshold, maximum = struct.unpack("<HhIH", row[:10])
        assert (score_min, threshold, maximum, row[10:]) == (26214, 32768, 7, bytes(6))
        assert least == q_min(level.score, 26214)
    if mode == "soft_gaussian":
        entries = np.frombuffer(written[1024], "<u2").reshape(256, 4)
        assert np.array_equal(entries[:, :2], gaussian_weights(0.5)) and not entries[:, 2:].any()


@pytest.mark.parametrize("points", [0, 1, 5])
def test_unpack(points: int) -> None:
    rng = np.random.default_rng(points)
    rows = math.ceil(2 * points / 8)
    detect = head(points=points, rows=rows, output=48)
    segment = rng.integers(0, 256, 48 + 16 * (1 + 20 * (1 + rows)), np.uint8)
    values = [(i - 5, -i, 300 + i, 400, 60000 - i, i, 17, i, 2) for i in range(6)]
    marks = rng.integers(-32768, 32768, (6, points, 2))
    parts = [(0, struct.pack("<II", 6, 99))]
    parts += [(16 + 16 * i, struct.pack("<4hHBBHH", *v)) for i, v in enumerate(values)]
    parts += [(16 * (21 + rows * i), struct.pack(f"<{2 * points}h", *marks[i].ravel()))
              for i in range(6)]
    for at, data in parts:
        segment[48 + at : 48 + at + len(data)] = list(data)
    got = unpack_detections(segment, detect)
    assert got.candidates == 99 and got.records.dtype == RECORD
    assert got.records.tolist() == values
    assert got.landmarks.dtype == np.int16 and np.array_equal(got.landmarks, marks)
    segment[:] = 0
    assert got.records.tolist() == values
    assert unpack_detections(segment, detect).landmarks.shape == (0, points, 2)


def test_unpack_refuses() -> None:
    segment = np.zeros(16 * 21, np.uint8)
    segment[0] = 21
    with pytest.raises(FalconetError, match="counts 21 boxes, the program has room for 20"):
        unpack_detections(segment, head())
    with pytest.raises(FalconetError, match=r"bytes 16 to 352 are not in segment OUTPUT of 336"):
        unpack_detections(segment, head(output=16))


def test_equality() -> None:
    def make(score: int = 3, mark: int = 4, seen: int = 5) -> Detections:
        return Detections(np.full(2, score).astype(RECORD), np.full((2, 1, 2), mark, np.int16),
                          seen)
    assert make() == make()
    assert make() != make(score=2) and make() != make(mark=0) and make() != make(seen=6)
    assert make() != 3


INTERRUPTED = """
import numpy as np, numpy._core._internal as numpys
from falconet.runtime.detections import RECORD, Detections

def interrupted(*_):
    raise KeyboardInterrupt

numpys._promote_fields = interrupted
one, same = (Detections(np.zeros(3, RECORD), np.zeros((3, 0, 2), np.int16), 3) for _ in range(2))
try:
    one.records == same.records
except TypeError:
    assert one == same
    print("equal")
"""


def test_ctrl_c_while_two_are_compared_is_no_type_error() -> None:
    """numpy asks Python how to compare whole records, and makes a TypeError of what that raises.

    In a process of its own: numpy keeps the function that it has asked once.
    """
    said = subprocess.run([sys.executable, "-c", INTERRUPTED], check=True, capture_output=True,
                          text=True)
    assert said.stdout == "equal\n"
