"""The resampling kernel on ARM processors that QEMU stands in for: its bytes, its instructions."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.kernel import FLAGS, Job
from falconet.runtime.resample import Scaling

__all__ = ["ARM64", "ARMHF", "Target", "count", "missing", "program", "run"]

HERE = Path(__file__).parent
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Target:
    """A processor: its compiler, what it is told, its emulator, and Debian's packages of both."""

    name: str
    compiler: str
    flags: tuple[str, ...]
    emulator: str
    package: str


ARMHF = Target("Cortex-A9 (armhf)", "arm-linux-gnueabihf-gcc",
               ("-mcpu=cortex-a9", "-mfpu=neon"), "qemu-arm", "gcc-arm-linux-gnueabihf")
ARM64 = Target("arm64", "aarch64-linux-gnu-gcc", (), "qemu-aarch64", "gcc-aarch64-linux-gnu")


def missing(target: Target) -> str:
    """What to install before ``target`` can be tried; empty if nothing."""
    if shutil.which(target.compiler) and shutil.which(target.emulator):
        return ""
    return (f"{target.compiler} or {target.emulator} is missing; on Debian: "
            f"apt-get install qemu-user {target.package}")


def _compile(compiler: str, *arguments: str | Path) -> None:
    done = subprocess.run([compiler, "-Wall", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise FalconetError(f"{compiler}: {done.stderr.strip()}")


@cache
def program(target: Target, folder: Path) -> Path:
    """frames.c for ``target``."""
    made = folder / f"frames-{target.emulator}"
    flags = [f for f in FLAGS if f not in ("-shared", "-fPIC")]
    _compile(target.compiler, *flags, "-static", *target.flags, HERE / "frames.c", "-o", made)
    return made


def _case(scaling: Scaling, image: Bytes, frames: int) -> bytes:
    """As frames.c reads it; structures have the same members, pointers left out."""
    s, job = scaling, scaling.job
    numbers = [frames, image.strides[0], s.x.n * s.results, image.nbytes,
               s.y.n * s.x.n * s.results, s.table.nbytes]
    for a in (job.x, job.y):
        numbers += [a.n, a.taps, a.kind, a.low, a.high]
    numbers += [getattr(job, k) for k, *_ in Job._fields_ if k not in ("x", "y", "order", "flip")]
    numbers += [*job.order, job.flip]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (
        np.array(numbers, np.int32), s.x.first, s.x.weight, s.y.first, s.y.weight, image, s.table))


def run(target: Target, executable: Path, cases: list[tuple[Scaling, Bytes]], frames: int = 1,
        plugin: Path | None = None) -> tuple[list[Bytes], str]:
    """The results of ``cases``, each made ``frames`` times, and what was said on stderr."""
    more = ["-plugin", str(plugin)] if plugin else []
    done = subprocess.run([target.emulator, *more, str(executable)], capture_output=True,
                          input=b"".join(_case(s, i, frames) for s, i in cases), timeout=600)
    if done.returncode:
        raise FalconetError(f"{target.emulator} ends with {done.returncode}: "
                            f"{done.stderr.decode(errors='replace').strip()}")
    results, at = [], 0
    for s, _ in cases:
        shape = (s.y.n, s.x.n, s.results)
        size = shape[0] * shape[1] * shape[2]
        results.append(np.frombuffer(done.stdout, np.uint8, size, at).reshape(shape))
        at += size
    return results, done.stderr.decode(errors="replace")


@cache
def counter(target: Target, folder: Path) -> Path:
    """The plugin that counts, for the emulator's version."""
    said = subprocess.run([target.emulator, "--version"], capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)", said)
    api = 1 if version and int(version[1]) < 9 else 2  # of the interface for plugins
    plugin = folder / "count.so"
    _compile("cc", "-O2", "-shared", "-fPIC", f"-DAPI={api}", HERE / "count.c", "-o", plugin)
    return plugin


def count(target: Target, scaling: Scaling, image: Bytes, folder: Path) -> int:
    """Instructions of ``target`` for one more frame: what starting takes is in none of them."""
    executable, plugin = program(target, folder), counter(target, folder)
    few, many = 2, 6
    counts = [int(run(target, executable, [(scaling, image)], n, plugin)[1].split()[-1])
              for n in (few, many)]
    return round((counts[1] - counts[0]) / (many - few))
