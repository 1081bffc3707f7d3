"""What a MODEL or an IMAGE on the command line stands for, and the cache of compiled programs."""

from __future__ import annotations

import enum
import hashlib
import json
import math
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import falconet.isa
from falconet.isa import Arch, FalconetError, Program, build_folder, made, preset
from falconet.isa.errors import shown
from falconet.isa.files import written
from falconet.isa.limits import LIMITS
from falconet.runtime.photographs import read_photograph
from falconet_app.commands.console import working

__all__ = [
    "BUILD", "DEFAULT_PRESET", "NetworkInput", "Post", "Preset", "PresetName", "compiled",
    "image_of", "inputs_of", "is_program", "network_input", "preparer", "program_of",
    "quantised_of",
]

BUILD = build_folder()
"""Where things that are made go, cached ones too."""
DEFAULT_PRESET = "pynq-z2"
_MACHINE = "The machine: a preset, or a JSON file that describes it"
Preset = Annotated[str, typer.Option("-p", "--preset", help=f"{_MACHINE}.")]
PresetName = Annotated[
    str | None, typer.Option("-p", "--preset", help=f"{_MACHINE} (default: {DEFAULT_PRESET}).")
]

Int8 = NDArray[np.int8]


class Post(str, enum.Enum):
    """Where boxes are decoded and suppressed."""

    machine = "machine"
    host = "host"


def is_program(path: Path) -> bool:
    """Whether ``path`` is a file that begins as a program file does."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as f:
            return f.read(8) == b"FALCONET"
    except OSError as e:
        raise FalconetError(f"{path}: {e.strerror}; give a file that can be read") from None


def _sources_hash(*folders: Path) -> str:
    """Changes with any Python file in the folders, so that nothing cached is ever stale."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def quantised_of(model: str) -> Path:
    """The QDQ ONNX file that ``model`` names: a file, or a network of the zoo (cached)."""
    path = Path(model)
    if path.is_file():
        return path
    if path.suffix or "/" in model:
        raise FalconetError(f"{model}: no such file; give a program, a QDQ ONNX or a zoo name")
    from falconet_models.cache import cached_quantised

    with working(f"quantise {model}") as step:
        return Path(cached_quantised(model, progress=lambda stage, share:
                                     step.skip() if stage == "cached" else step.share(share)))


def compiled(
    source: Path, arch: Arch, name: str, *, cache: bool = True, post: Post = Post.machine,
    heads: Mapping[str, Any] | None = None, tried: Callable[[Any], None] | None = None,
) -> Program:
    """``source`` compiled for ``arch``; the same file and compiler give the cached program.

    ``heads`` takes the place of the model's own description of its detection head. ``tried`` is
    called with every policy of the scheduler that is tried, which a cached program cannot tell.
    """
    package = Path(falconet.isa.__file__).parents[1]
    version = _sources_hash(package / "isa", package / "compiler")
    described = json.dumps(heads, sort_keys=True)
    digest = hashlib.sha256(f"{version} {arch} {name} {post.value} {described}".encode())
    digest.update(source.read_bytes())
    path = BUILD / "programs" / f"{name}-{arch.name}-{digest.hexdigest()[:12]}.flc"
    if cache and tried is None and path.is_file():
        return Program.load(path)
    from falconet.compiler import compile_model

    with working(f"compile {name} for {arch.name}") as step:
        program = compile_model(str(source), arch, name=name, progress=step.share,
                                post=post.value, heads=None if heads is None else dict(heads),
                                tried=tried)
    made(path.parent)
    with written(path) as part:
        program.save(part)
    return program


def _changed_head(source: Path, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model's own description of its head with ``changes``; None if it stays as it is."""
    if not changes:
        return None
    from falconet.compiler.importer.onnx.model import load
    from falconet_models.metadata import get_meta

    own = get_meta(load(source)[0]).get("postprocess") or {}
    new = {**own, **changes}
    if "maximum" in changes:  # room for more boxes is enough
        new["maximum"] = max(changes["maximum"], own.get("maximum", 0))
    return new if own.get("kind") == "detection" and new != own else None


def _check_program(file: str, program: Program, preset_name: str | None, post: Post | None,
                   changes: Mapping[str, Any]) -> None:
    """Refuse a program file that was not compiled as is asked for."""
    if preset_name is not None and program.arch.hash != preset(preset_name).hash:
        raise FalconetError(
            f"{file}: made for '{program.arch.name}', not for '{preset_name}'; "
            "compile the network for that preset"
        )
    detect = program.detect
    made = Post.machine if detect else Post.host
    if post is not None and post is not made:
        raise FalconetError(
            f"{file}: its boxes are made by the {made.value}; compile the network with "
            f"--post {post.value}, or leave --post {post.value} out"
        )
    own = {"nms": detect.mode, "agnostic": detect.agnostic} if detect else {}
    for field, value in own.items():
        if field in changes and changes[field] != value:
            raise FalconetError(
                f"{file}: compiled for {field} {value}, not {changes[field]}; give the model "
                "instead of the program, or change its description of the head and compile it"
            )


def program_of(
    model: str, preset_name: str | None, *, cache: bool = True, post: Post | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Program:
    """The program that ``model`` names: a program file, a QDQ ONNX file or a zoo name.

    Parameters
    ----------
    post:
        Who makes the boxes; None: the machine, or whoever it is in a program file.
    changes:
        Fields of the head's description (``falconet_models.metadata``) that are compiled in.

    Raises
    ------
    FalconetError
        If a program file was made for another machine than the preset asked for, or otherwise than
        asked for.
    """
    path, changes = Path(model), changes or {}
    if is_program(path):
        program = Program.load(path)
        _check_program(model, program, preset_name, post, changes)
        return program
    arch = preset(preset_name or DEFAULT_PRESET)
    source = quantised_of(model)
    return compiled(source, arch, path.stem if path.is_file() else model, cache=cache,
                    post=post or Post.machine,
                    heads=None if post is Post.host else _changed_head(source, changes))


def image_of(name: str) -> NDArray[np.uint8]:
    """A picture file, or a test photograph by name (``faces_small``): uint8 [H, W, 3]."""
    path = Path(name)
    if not path.exists() and (path.suffix or "/" in name):
        raise FalconetError(f"{name}: no such picture; give a file or a name such as 'astronaut'")
    if not path.exists():
        from falconet_models.data import photograph

        known: NDArray[np.uint8] = photograph(name)
        return known
    return read_photograph(path)


@dataclass(frozen=True)
class NetworkInput:
    """The input tensor (int8 [C, H, W]) and where the photograph lies in it."""

    name: str
    tensor: Int8
    frame: Any

    def as_dict(self) -> Mapping[str, Int8]:
        return {self.name: self.tensor}


def preparer(program: Program) -> Callable[[NDArray[np.uint8]], NetworkInput]:
    """What pre-processes photographs as the program's ``meta`` says."""
    from falconet.runtime.vision import Preprocessor

    described = program.header["inputs"]
    if len(described) != 1:
        raise FalconetError(
            f"program '{program.header['model']}' has {len(described)} inputs; give them as an "
            ".npz file to 'falconet run'"
        )
    first = described[0]
    preprocessor = Preprocessor(
        program.header.get("meta", {}), float(first["scale"]), int(first["zero_point"])
    )

    def prepare(image: NDArray[np.uint8]) -> NetworkInput:
        stored, frame = preprocessor(image)
        return NetworkInput(first["name"], np.ascontiguousarray(stored.transpose(2, 0, 1)), frame)

    return prepare


def network_input(program: Program, image: NDArray[np.uint8]) -> NetworkInput:
    """One photograph pre-processed; see :func:`preparer`."""
    return preparer(program)(image)


def inputs_of(program: Program, source: str) -> dict[str, Int8]:
    """Stored input tensors from an .npz file, or a photograph; the file's other arrays are left."""
    if Path(source).suffix != ".npz":
        return dict(network_input(program, image_of(source)).as_dict())
    wanted = {t["name"]: tuple(t["shape"]) for t in program.header["inputs"]}
    most = LIMITS["npz"]
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if len(members) > most.nodes or sum(m.file_size for m in members) > most.unpacked:
                raise FalconetError(f"it unpacks to more than {most.nodes:,} arrays or "
                                    f"{most.unpacked:,} bytes; store the inputs alone")
            return {name: _array(archive, name, shape) for name, shape in wanted.items()}
    except FalconetError as e:
        raise FalconetError(f"{source}: {e}") from None
    except Exception as e:  # of a damaged archive or header anything
        reason = getattr(e, "strerror", None) or shown(str(e) or type(e).__name__)[1:-1]
        raise FalconetError(f"{source}: not a readable .npz file ({reason}); write it with "
                            "numpy.savez") from None


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> Int8:
    """One array of an .npz file, whose header is looked at before room is made for it."""
    if f"{name}.npy" not in archive.namelist():
        raise FalconetError(f"input '{name}' is missing; store it as int8 {list(shape)}")
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                else np.lib.format.read_array_header_2_0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            given, columns_first, dtype = read(file)
        if dtype != np.int8 or given != shape:
            raise FalconetError(f"input '{name}' is {dtype} {shown(list(given))}; store it as int8 "
                                f"{list(shape)}")
        count = math.prod(shape)
        data = file.read(count + 1)  # the checksum is looked at where the array ends
        if len(data) != count:
            raise FalconetError(f"input '{name}' has other than {count:,} bytes; write it with "
                                "numpy.savez")
    value = np.frombuffer(data, np.int8).reshape(shape, order="F" if columns_first else "C")
    return np.array(value, order="C")
