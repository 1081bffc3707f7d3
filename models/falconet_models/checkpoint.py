"""Read the tensors of a PyTorch checkpoint without PyTorch, and without trusting it.

A checkpoint is a pickle, and a pickle may run anything. This reader knows the two containers
that ``torch.save`` writes (a zip archive; before that, a row of pickles followed by raw data) and
admits five names in them: ``OrderedDict``, the storages of the dtypes below, and the functions
that make a tensor or a parameter of a storage. Every other name is refused.
"""

from __future__ import annotations

import io
import pickle
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

__all__ = ["load_state_dict"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass
class _Storage:
    """A flat array; legacy files name it first and bring the data after the last pickle."""

    dtype: np.dtype[Any]
    size: int
    data: NDArray[Any] | None = None


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        data = self.storage.data
        if data is None or len(self.shape) != len(self.stride) or self.offset < 0:
            raise ValueError("a tensor without data")
        if any(n < 0 for n in self.shape) or any(s < 0 for s in self.stride):
            raise ValueError("a tensor with negative extents")
        if 0 in self.shape:
            return np.empty(self.shape, data.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride))
        if last >= data.size:
            raise ValueError("a tensor beyond its storage")
        strides = [s * data.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides).copy()


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor of something that is no storage")
    return _Tensor(storage, int(offset), tuple(size), tuple(stride))


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


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("an archive without data.pkl")
        folder = names[0].removesuffix("data.pkl")
        if folder + "byteorder" in archive.namelist():
            if archive.read(folder + "byteorder") != b"little":
                raise ValueError("big-endian data")
        unpickler = _Unpickler(io.BytesIO(archive.read(names[0])))
        root = unpickler.load()
        for key, storage in unpickler.storages.items():
            data = archive.read(f"{folder}data/{key}")
            storage.data = np.frombuffer(data, storage.dtype, storage.size)
    return root


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        if _Unpickler(file).load() != _LEGACY_MAGIC:
            raise ValueError("no checkpoint at all")
        _Unpickler(file).load()  # protocol version
        system = _Unpickler(file).load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("big-endian data")
        unpickler = _Unpickler(file)
        root = unpickler.load()
        for key in _Unpickler(file).load():
            storage = unpickler.storages[str(key)]
            (size,) = struct.unpack("<q", file.read(8))
            if size != storage.size:
                raise ValueError(f"storage {key} of an unexpected size")
            storage.data = np.frombuffer(file.read(size * storage.dtype.itemsize), storage.dtype)
            if storage.data.size != size:
                raise ValueError("the end of the file too early")
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
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, EOFError,
            AttributeError, UnicodeDecodeError, struct.error, zipfile.BadZipFile) as e:
        raise FalconetError(
            f"{path}: the checkpoint holds {e}; save a plain state dict with torch.save"
        ) from None
