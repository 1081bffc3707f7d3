"""Read the tensors of a PyTorch checkpoint without PyTorch, and without trusting it.

A checkpoint is a pickle, and a pickle may run anything. This reader knows the two containers
that ``torch.save`` writes (a zip archive; before that, a row of pickles followed by raw data) and
admits five names in them: ``OrderedDict``, the storages of the dtypes below, and the functions
that make a tensor or a parameter of a storage. Every other name is refused.

Memory is in proportion to the file: nothing in it is compressed, no tensor is larger than its
storage, and what a pickle says is counted (:data:`LIMITS`) before it is followed.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.isa.errors import shown
from falconet.isa.limits import LIMITS

__all__ = ["check_archive", "load_state_dict"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}
_LIMITS = LIMITS["checkpoint"]


@dataclass
class _Storage:
    """A flat array; legacy files name it first and bring the data after the last pickle."""

    dtype: np.dtype[Any]
    size: int
    data: NDArray[Any] | None = None
    member: str = ""


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def check(self) -> None:
        if len(self.shape) != len(self.stride) or not all(
                type(n) is int and n >= 0 for n in (self.offset, *self.shape, *self.stride)):
            raise ValueError("a tensor with negative extents")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride))
        if 0 not in self.shape and last >= self.storage.size:
            raise ValueError("a tensor beyond its storage")
        if math.prod(self.shape) > self.storage.size:
            raise ValueError("a tensor larger than its storage")

    def array(self) -> NDArray[Any]:
        data = self.storage.data
        if data is None:
            raise ValueError("a tensor without data")
        self.check()
        if 0 in self.shape:
            return np.empty(self.shape, data.dtype)
        strides = [s * data.itemsize for s in self.stride]
        copy: NDArray[Any] = np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, strides).copy()
        return copy


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor of something that is no storage")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


class _Unpickler(pickle.Unpickler):
    """An unpickler to which the names above are all there is."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"the name {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("a reference to something that is no storage")
        _, dtype, key, _, size = pid[:5]
        if not isinstance(dtype, np.dtype) or (len(pid) > 5 and pid[5] is not None):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return self.storages.setdefault(str(key), _Storage(dtype, int(size)))


def _load(unpickler: _Unpickler, file: BinaryIO) -> Any:
    """The next pickle of ``file``, which is not followed before it has been looked through."""
    begin, most = file.tell(), 0
    for n, (op, arg, _) in enumerate(pickletools.genops(file)):
        if n >= _LIMITS.nodes:
            raise ValueError(f"more than {_LIMITS.nodes:,} values")
        if op.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            most = max(most, int(arg or 0))
            if most > n:  # pickle makes room for as many
                raise ValueError("a pickle that wants memory for nothing")
    file.seek(begin)
    return unpickler.load()


def _check_tree(root: Any) -> None:
    """Refuse what is small in the pickle but without end when it is followed."""
    todo, n = [root], 0
    while todo:
        value = todo.pop()
        n += 1
        if n > _LIMITS.nodes:
            raise ValueError(f"more than {_LIMITS.nodes:,} values")
        if isinstance(value, Mapping):
            todo += [*value, *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo += value
        elif isinstance(value, _Tensor):
            value.check()


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise ValueError("compressed data")
    if sum(m.file_size for m in members) > size:
        raise ValueError("more data than the file is long")
    if len({m.filename for m in members}) < len(members):
        raise ValueError("two parts of one name")


def check_archive(path: str | Path) -> None:
    """Refuse a zip archive of torch.save that is damaged, or lies about its sizes.

    Raises
    ------
    ValueError, OSError
        and what zipfile and pickle raise: ``path`` is no such archive.
    """
    with zipfile.ZipFile(path) as archive:
        _read_archive(archive, os.path.getsize(path))
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"damaged data in {damaged}")


def _read_archive(archive: zipfile.ZipFile, size: int) -> Any:
    """The root, its tensors still without data; these fit what the archive has for them."""
    if size > _LIMITS.bytes:
        raise ValueError(f"more than {_LIMITS.bytes:,} bytes")
    _check_members(archive, size)
    names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("an archive without data.pkl")
    folder = names[0].removesuffix("data.pkl")
    if folder + "byteorder" in archive.namelist():
        if archive.read(folder + "byteorder") != b"little":
            raise ValueError("big-endian data")
    file = io.BytesIO(archive.read(names[0]))
    unpickler = _Unpickler(file)
    root = _load(unpickler, file)
    for key, storage in unpickler.storages.items():
        storage.member = f"{folder}data/{key}"
        if archive.getinfo(storage.member).file_size != storage.size * storage.dtype.itemsize:
            raise ValueError(f"storage {key} of an unexpected size")
    _check_tree(root)
    return root


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        root = _read_archive(archive, path.stat().st_size)
        for tensor in root.values() if isinstance(root, Mapping) else ():
            if isinstance(tensor, _Tensor) and tensor.storage.data is None:
                storage = tensor.storage
                storage.data = np.frombuffer(archive.read(storage.member), storage.dtype)
    return root


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        if _load(_Unpickler(file), file) != _LEGACY_MAGIC:
            raise ValueError("no checkpoint at all")
        _load(_Unpickler(file), file)  # protocol version
        system = _load(_Unpickler(file), file)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("big-endian data")
        unpickler = _Unpickler(file)
        root = _load(unpickler, file)
        for key in _load(_Unpickler(file), file):
            storage = unpickler.storages[str(key)]
            (size,) = struct.unpack("<q", file.read(8))
            left = path.stat().st_size - file.tell()
            if size != storage.size or not 0 <= size * storage.dtype.itemsize <= left:
                raise ValueError(f"storage {key} of an unexpected size")
            storage.data = np.frombuffer(file.read(size * storage.dtype.itemsize), storage.dtype)
    _check_tree(root)
    return root


def load_state_dict(path: str | Path) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint that holds a state dict, by name.

    Raises
    ------
    FalconetError
        If the file cannot be read, is no checkpoint, or holds anything but tensors.
    """
    path = Path(path)
    try:
        root = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        if not isinstance(root, Mapping):
            raise ValueError("no dictionary of tensors")
        if not all(isinstance(v, _Tensor) for v in root.values()):
            raise ValueError("values that are no tensors")
        return {str(name): tensor.array() for name, tensor in root.items()}
    except OSError as e:
        raise FalconetError(
            f"{path}: {e.strerror or e}; give the path of a PyTorch checkpoint"
        ) from None
    except Exception as e:  # a pickle may be wrong in any way
        raise FalconetError(f"{path}: the checkpoint holds {shown(str(e))[1:-1]}; save a plain "
                            "state dict with torch.save") from None
