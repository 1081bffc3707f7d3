"""The figures and the drawing, of a stream against a machine of known duration."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from paced import Bytes, paced, plain
from PIL import Image
from recording import STAGES, draw, record

pytestmark = pytest.mark.timeout(60)


def test_a_recording_and_its_drawing(tmp_path: Path) -> None:
    machine, board = paced(0.01)

    def source() -> Iterator[Bytes]:
        for i in range(14):
            time.sleep(0.03)
            yield plain(i)

    found = record(machine, board, source())
    assert len(found) == 14
    for n in range(14):  # in the order of a frame's way
        times = [t for s in STAGES for t in found.spans[s][n]]
        assert times == sorted(times) and times[-1] <= found.handed[n]
    found.born = [end for _, end in found.spans["read"]]
    assert all(0.01 < late < 1 for late in found.late)
    assert found.seconds("read") >= 0.03 and 0.01 <= found.seconds("machine") < 0.03
    stage, limit = found.limit
    assert stage == "read" and found.rate <= 1.2 * limit < 40
    file = tmp_path / "a" / "t.png"
    draw([("ten", found, range(3, 13), 3), ("one", found, range(5, 6), 3)], file)
    with Image.open(file) as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert {tuple(bytes.fromhex(c[1:])) for c in STAGES.values()} <= {c for _, c in colours}
