"""The C kernel of :mod:`falconet.runtime.resample`: never needed, but several times as fast.

It is compiled when it is first asked for, if there is a compiler, and kept in the user's cache
folder (``falconet.isa.paths``) under a name that says what it was made of.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.isa.files import written
from falconet.isa.paths import cache_folder

__all__ = ["FLAGS", "SOURCES", "Job", "build", "job", "library", "scale"]

_HERE = Path(__file__).parent
SOURCES = tuple(_HERE / name for name in ("resample.c", "resample_sse.h", "resample_neon.h"))
"""The first one is given to the compiler."""
FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC")
_COMPILERS = ("cc", "gcc", "clang")
_GENERAL, _COPY, _HALF = range(3)


class _Axis(ctypes.Structure):
    _fields_ = [*((k, ctypes.c_int32) for k in ("n", "taps", "kind", "low", "high")),
                ("first", ctypes.c_void_p), ("weight", ctypes.c_void_p)]


class Job(ctypes.Structure):
    """``job`` of resample.c."""

    _fields_ = [("x", _Axis), ("y", _Axis),
                *((k, ctypes.c_int32) for k in ("height", "width", "channels", "planes",
                                                "results")),
                ("order", ctypes.c_int32 * 3), ("flip", ctypes.c_int32)]


def job(scaling: Any) -> Job:
    """What the kernel is told of a :class:`~falconet.runtime.resample.Scaling`, which it needs."""
    axes = [
        _Axis(a.n, a.taps, _COPY if a.same else _HALF if a.halves else _GENERAL,
              a.halves.start, a.halves.stop, a.first.ctypes.data, a.weight.ctypes.data)
        for a in (scaling.x, scaling.y)
    ]
    order = (ctypes.c_int32 * 3)(*scaling.order)
    flip = -1 if scaling.flip is None else int(scaling.flip)
    return Job(*axes, *scaling.shape, scaling.planes, scaling.results, order, flip)


def scale(work: Job, image: NDArray[np.uint8], out: NDArray[np.uint8],
          table: NDArray[np.uint8], plain: bool = False) -> None:
    """Rows of ``image`` and ``out`` may be apart, their pixels not; ``plain`` is C alone."""
    if library()(work, image.ctypes.data, image.strides[0], out.ctypes.data, out.strides[0],
                 table.ctypes.data, plain):
        raise MemoryError


def _vectors() -> tuple[str, ...]:
    """Of an ARM processor of 32 bits, where a compiler does not take NEON for granted."""
    try:
        features = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return ()
    return ("-mfpu=neon",) if platform.machine().startswith("armv7") and "neon" in features else ()


def build(compiler: str, flags: tuple[str, ...], target: Path) -> None:
    """Compile the kernel to ``target``, which is whole or not there."""
    with written(target) as part:
        done = subprocess.run([compiler, *flags, str(SOURCES[0]), "-o", str(part)],
                              capture_output=True, text=True, timeout=300, errors="replace")
        if done.returncode:
            said = done.stderr.strip().partition("\n")[0]
            raise FalconetError(f"{compiler} cannot compile {SOURCES[0].name} ({said})")


def _load(path: Path) -> Any:
    run = ctypes.CDLL(str(path)).falconet_scale
    size, pointer = ctypes.c_ssize_t, ctypes.c_void_p
    run.argtypes = [ctypes.POINTER(Job), pointer, size, pointer, size, pointer, ctypes.c_int]
    run.restype = ctypes.c_int
    return run


@cache
def library() -> Any:
    """The kernel's function, compiled if it is not yet.

    Raises
    ------
    FalconetError
        If it cannot be had.
    """
    flags = (*FLAGS, *_vectors())
    try:
        made_of = hashlib.sha256(repr((flags, platform.machine(), platform.architecture()[0]))
                                 .encode())
        for source in SOURCES:
            made_of.update(source.read_bytes())
        path = cache_folder() / f"resample-{made_of.hexdigest()[:16]}.so"
        if path.exists():
            try:
                return _load(path)
            except (OSError, AttributeError):
                pass  # of a machine that shares the folder, or broken: made again
        compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
        if compiler is None:
            raise FalconetError("no C compiler is installed")
        build(compiler, flags, path)
        return _load(path)
    except (OSError, AttributeError, RuntimeError, subprocess.SubprocessError) as e:
        raise FalconetError(f"the kernel cannot be built ({e})") from None
