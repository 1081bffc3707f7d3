"""Calibration that is no photographs: a folder of arrays as numpy stores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError

__all__ = ["read_tensors"]

Sample = NDArray[Any] | dict[str, NDArray[Any]]


def read_tensors(folder: str | Path) -> dict[str, Sample]:
    """The arrays of a folder by file name: each .npy one for the network's only input, each .npz
    one for every input, by its name. Empty if there are none of either.

    Raises
    ------
    FalconetError
        Naming the file that cannot be read, or holds no numbers.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FalconetError(f"{folder}: no such folder; give one with calibration images")
    return {path.name: _read(path) for path in sorted(folder.iterdir())
            if path.suffix.lower() in (".npy", ".npz") and not path.name.startswith(".")}


def _read(path: Path) -> Sample:
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            read = {k: found[k] for k in found.files} if path.suffix.lower() == ".npz" else found
    except Exception as e:  # numpy and zipfile raise classes of their own
        reason = " ".join(str(e).split())[:120]
        raise FalconetError(f"{path}: not a readable {path.suffix} file ({reason}); store arrays "
                            "with numpy.save or numpy.savez") from None
    for name, array in (read if isinstance(read, dict) else {"the array": read}).items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise FalconetError(f"{path}: {name} holds no numbers; store float32")
    return read
