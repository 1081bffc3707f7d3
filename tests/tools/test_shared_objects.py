"""No installed package needs a library of the system that a bare machine lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1",
         "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")
SYSTEM = {
    **dict.fromkeys(GLIBC, "the C library"),
    "libgcc_s.so.1": "g++", "libstdc++.so.6": "g++", "libgomp.so.1": "g++",
    "libz.so.1": "python3",
    "libcuda.so.1": "nothing: PyTorch's CUDA build asks for the driver only when it is used",
}
"""What packages may take from the system, and which package of README's list brings it."""

UNUSED = "nvidia"
"""The folder of CUDA's own libraries, which PyTorch does not load without a GPU."""


def needed(path: Path) -> list[str] | None:
    """Names of the libraries that an ELF file asks for; None if it is no ELF file."""
    with path.open("rb") as f:
        if f.read(4) != b"\x7fELF":
            return None
        try:
            elf = ELFFile(f)
        except ELFError:
            return None
        dynamic = [s for s in elf.iter_sections() if isinstance(s, DynamicSection)]
        return [tag.needed for s in dynamic for tag in s.iter_tags("DT_NEEDED")]


def lacking(folder: Path) -> dict[str, list[str]]:
    """Libraries that are neither in ``folder`` nor in ``SYSTEM``, and the files that need them."""
    wants: dict[str, list[str]] = {}
    there = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        there.add(path.name)
        if UNUSED not in path.relative_to(folder).parts:
            for name in needed(path) or ():
                wants.setdefault(name, []).append(str(path.relative_to(folder)))
    return {n: files for n, files in wants.items() if n not in there and n not in SYSTEM}


def test_the_environment_needs_nothing_else_of_the_system() -> None:
    site = Path(sys.prefix)
    assert sum(needed(p) is not None for p in site.rglob("*.so")) > 100
    assert lacking(site) == {}


def test_a_package_that_needs_more_is_found(tmp_path: Path) -> None:
    """As opencv-python needs libGL."""
    def link(name: str, *more: str) -> None:
        source = tmp_path / "empty.c"
        source.write_text("")
        subprocess.run(["g++", "-shared", "-fPIC", "-Wl,--no-as-needed", "-o", name, str(source),
                        *more], cwd=tmp_path, check=True)

    (tmp_path / "lib").mkdir()
    link("libabsent.so.1", "-Wl,-soname,libabsent.so.1")
    link("lib/libinside.so.2", "-Wl,-soname,libinside.so.2")
    link("lib/module.so", "./libabsent.so.1", "lib/libinside.so.2")
    (tmp_path / "lib" / "notes.txt").write_text("no library")
    (tmp_path / "lib" / "broken.so").write_bytes(b"\x7fELF, but no more")
    assert lacking(tmp_path / "lib") == {"libabsent.so.1": ["module.so"]}


@pytest.mark.parametrize("name", ["opencv-python", "opencv-contrib-python"])
def test_opencv_comes_without_a_screen(name: str) -> None:
    from importlib.metadata import PackageNotFoundError, version

    with pytest.raises(PackageNotFoundError):
        version(name)
