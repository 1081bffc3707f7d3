"""Checkpoints written here by hand: the real writer, PyTorch, is not needed and not installed."""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from falconet.isa import FalconetError
from falconet_models.checkpoint import load_state_dict


class Tensor:
    def __init__(self, key, array, stride=None, offset=0, shape=None):
        self.key, self.array, self.offset = key, array, offset
        self.shape = array.shape if shape is None else shape
        dense = tuple(s // array.itemsize for s in array.strides)
        self.stride = dense if stride is None else stride

    def __reduce__(self):
        import torch._utils as utils

        return utils._rebuild_tensor_v2, (
            ("storage", self), self.offset, self.shape, self.stride, False, OrderedDict())


class Pickler(pickle.Pickler):
    """Writes storages as references, as torch.save does; ``extra`` is what legacy files append."""

    extra = ()

    def persistent_id(self, obj):
        if isinstance(obj, tuple) and len(obj) == 2 and obj[0] == "storage":
            import torch

            t = obj[1]
            kind = {"f4": "FloatStorage", "i8": "LongStorage"}[t.array.dtype.str[1:]]
            return ("storage", getattr(torch, kind), t.key, "cpu", t.array.size, *self.extra)
        return None


class LegacyPickler(Pickler):
    extra = (None,)


@pytest.fixture
def torch_names(monkeypatch):
    """Stand-ins for the names that a checkpoint refers to, so that pickle can write them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise AssertionError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def write_zip(path, root, tensors):
    body = io.BytesIO()
    Pickler(body, 2).dump(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", body.getvalue())
        for t in tensors:
            archive.writestr(f"model/data/{t.key}", t.array.tobytes())


def write_legacy(path, root, tensors):
    with open(path, "wb") as f:
        pickle.dump(0x1950A86A20F9469CFC6C, f, 2)
        pickle.dump(1001, f, 2)
        pickle.dump({"protocol_version": 1001, "little_endian": True}, f, 2)
        LegacyPickler(f, 2).dump(root)
        pickle.dump([t.key for t in tensors], f, 2)
        for t in tensors:
            f.write(struct.pack("<q", t.array.size) + t.array.tobytes())


def tensors():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=24).astype("<f4")
    return {
        "weight": Tensor("7", rng.normal(size=(2, 3, 4)).astype("<f4")),
        "counter": Tensor("8", np.array([5, -6], "<i8")),
        "part": Tensor("9", flat, offset=4, shape=(3, 5), stride=(1, 3)),
        "scalar": Tensor("10", np.array([2.5], "<f4"), shape=(), stride=()),
    }


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_both_containers(tmp_path, torch_names, write):
    given = tensors()
    path = tmp_path / "model.pth"
    write(path, OrderedDict(given), given.values())
    read = load_state_dict(path)
    assert list(read) == list(given)
    np.testing.assert_array_equal(read["weight"], given["weight"].array)
    np.testing.assert_array_equal(read["counter"], [5, -6])
    flat = given["part"].array
    np.testing.assert_array_equal(
        read["part"], [[flat[4 + i + 3 * j] for j in range(5)] for i in range(3)])
    assert read["scalar"] == 2.5 and read["scalar"].shape == ()


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_other_names_are_refused(tmp_path, torch_names, write):
    path = tmp_path / "evil.pth"
    write(path, {"weight": Evil()}, [])
    with pytest.raises(FalconetError, match=r"evil\.pth: the checkpoint holds the name .*system"):
        load_state_dict(path)


def test_a_view_beyond_its_storage_is_refused(tmp_path, torch_names):
    bad = Tensor("1", np.zeros(6, "<f4"), shape=(4, 3), stride=(3, 1))
    write_zip(tmp_path / "m.pth", {"w": bad}, [bad])
    with pytest.raises(FalconetError, match="beyond its storage"):
        load_state_dict(tmp_path / "m.pth")


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1]), b"\x80\x02."])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(FalconetError, match=r"other\.pth: "):
        load_state_dict(path)


def test_a_missing_file_is_named():
    with pytest.raises(FalconetError, match=r"nowhere\.pth: No such file"):
        load_state_dict("nowhere.pth")


def test_a_shortened_file_is_refused(tmp_path, torch_names):
    given = tensors()
    path = tmp_path / "short.pth"
    write_legacy(path, given, given.values())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FalconetError, match=r"short\.pth"):
        load_state_dict(path)
