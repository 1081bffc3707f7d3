"""Inputs in an .npz file: what numpy writes is read, all else is one sentence in little memory."""

from __future__ import annotations

import dataclasses
import io
import struct
import tracemalloc
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet.isa.limits import LIMITS
from falconet_app.commands.sources import inputs_of

pytestmark = pytest.mark.timeout(60)
SHAPE = (3, 4, 5)
PROGRAM: Any = types.SimpleNamespace(header={"inputs": [{"name": "x", "shape": list(SHAPE)}]})
X = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(text: str) -> bytes:
    data = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data


def archive(path: Path, kind: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", kind) as f:
        for name, data in members.items():
            f.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("x", [X, np.asfortranarray(X)])
def test_what_numpy_writes(write: Any, x: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path / "a.npz", x=x, other=np.zeros(3))
    found = inputs_of(PROGRAM, str(tmp_path / "a.npz"))
    assert list(found) == ["x"] and np.array_equal(found["x"], X) and found["x"].flags.c_contiguous


HUGE = header("{'descr': '|i1', 'fortran_order': False, 'shape': (100000000000, 10)}")
DEEP = header("{'descr': '|i1', 'fortran_order': False, 'shape': " + "(" * 5000 + ")" * 5000 + "}")


@pytest.mark.parametrize("members, said", [
    ({}, "input 'x' is missing; store it as int8 [3, 4, 5]"),
    ({"y": npy(X)}, "input 'x' is missing"),
    ({"x": npy(X.astype(np.int16))}, "input 'x' is int16 [3, 4, 5]; store it as int8 [3, 4, 5]"),
    ({"x": npy(X[1:])}, "input 'x' is int8 [2, 4, 5]"), ({"x": npy(X[0, 0, 0])}, "is int8 []"),
    ({"x": npy(np.array([None] * 60).reshape(SHAPE))}, "input 'x' is object [3, 4, 5]"),
    ({"x": HUGE}, "input 'x' is int8 [100000000000, 10]"), ({"x": DEEP}, "not a readable .npz"),
    ({"x": npy(X)[:-1]}, "input 'x' has other than 60 bytes"),
    ({"x": npy(X) + b"1"}, "input 'x' has other than 60 bytes"),
    ({"x": b""}, "not a readable .npz"), ({"x": npy(X)[:20]}, "not a readable .npz"),
    ({"x": header("[" * 100)}, "not a readable .npz"),
    ({str(i): b"" for i in range(1001)}, "it unpacks to more than 1,000 arrays"),
])
def test_refusals(members: dict[str, bytes], said: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, **members)
    refused(path, said)


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "npz", dataclasses.replace(LIMITS["npz"], unpacked=4 << 20))
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=npy(X), y=bytes(4 << 20))
    refused(path, "it unpacks to more than 1,000 arrays or 4,194,304 bytes")


def refused(path: Path, said: str) -> None:
    tracemalloc.start()
    with pytest.raises(FalconetError) as e:
        inputs_of(PROGRAM, str(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said in str(e.value) and str(e.value).startswith(f"{path}: ")
    assert str(e.value).isprintable() and most < 32 << 20


def test_damage(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.npz", x=npy(X)).read_bytes()
    assert good.count(X.tobytes()) == 1
    flipped = good.replace(X.tobytes(), bytes([X.tobytes()[0] ^ 1]) + X.tobytes()[1:])
    for data, said in ((good[:-30], "File is not a zip file"), (npy(X), "File is not a zip file"),
                       (b"", "File is not a zip file"), (flipped, "Bad CRC-32")):
        (tmp_path / "a.npz").write_bytes(data)
        refused(tmp_path / "a.npz", f"not a readable .npz file ({said}")
    (tmp_path / "folder.npz").mkdir()
    refused(tmp_path / "folder.npz", "Is a directory")
    refused(tmp_path / "none.npz", "No such file")
