"""The PATH... of a command: pictures, folders, globs, videos, cameras, names of photographs."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.photographs import PICTURES, VIDEOS, Video, files_in, read_photograph
from falconet_app.commands.console import Step, status, working
from falconet_app.commands.sources import image_of

__all__ = ["Camera", "Frames", "Input", "Inputs", "Paths", "Shot", "Tally", "each"]

Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="PATH...", show_default=False,
                   help="Pictures, folders, globs, videos, or names such as 'astronaut'. Of "
                        "animations the first frame; folders in a folder are not searched."),
]
Camera = Annotated[
    int | None, typer.Option(min=0, help="The camera of this number, until Ctrl-C or --frames.")
]
Frames = Annotated[
    int | None, typer.Option(min=1, help="At most so many frames of each video or camera.")
]


@dataclass(frozen=True)
class Input:
    """A picture, a video or a camera; ``image`` is there if it need not be read."""

    name: str
    path: Path | None = None
    camera: int | None = None
    image: NDArray[np.uint8] | None = field(default=None, compare=False)

    @property
    def moving(self) -> bool:
        """Whether it has many frames."""
        return self.camera is not None or (
            self.path is not None and self.path.suffix.lower() in VIDEOS)

    def shots(self, frames: int | None = None) -> Iterator[Shot]:
        """Its only picture, or its frames."""
        if not self.moving:
            image = self.image if self.path is None else read_photograph(self.path)
            assert image is not None
            yield Shot(self, image)
            return
        with Video(self.path if self.camera is None else self.camera) as video:
            expected, n = min(video.frames, frames or video.frames), 0  # 0: unknown
            for n, image in enumerate(islice(video, frames), 1):
                yield Shot(self, image, n - 1, video.rate, n / max(n, expected) if expected else 0)
            if n + 1 < expected:  # the count may be an estimate, one frame off
                raise FalconetError(f"{self.name}: of {expected:,} frames {n:,} could be read; "
                                    "is the file cut short?")


@dataclass(frozen=True)
class Shot:
    """One picture to look at, uint8 [h, w, 3]; of a moving input its number, from 0, the frames a
    second (0: unknown), and the share of the input that has been read."""

    source: Input
    image: NDArray[np.uint8]
    frame: int | None = None
    rate: float = 0.0
    share: float = 1.0

    @property
    def name(self) -> str:
        return self.source.name if self.frame is None else f"{self.source.name}:{self.frame}"


@dataclass(frozen=True)
class Inputs:
    """What a command line names; ``several``: more than one picture, or a folder of one."""

    items: tuple[Input, ...]
    several: bool

    @classmethod
    def of(cls, paths: Sequence[str] | None, camera: int | None = None) -> Inputs:
        """Find them all, before any is read.

        Raises
        ------
        FalconetError
            For what is not there, and for a folder or a glob without a picture.
        """
        if camera is not None:
            if paths:
                raise typer.BadParameter("give pictures or --camera, not both")
            return cls((Input(f"camera-{camera}", camera=camera),), True)
        if not paths:
            raise typer.BadParameter("give a picture, a folder, a video or --camera")
        found: list[Input] = []
        several = len(paths) > 1
        for name in paths:
            path = Path(name)
            if path.is_dir():
                files = files_in(path, PICTURES + VIDEOS)
            elif not path.exists() and glob.has_magic(name):
                files = _matching(name)
            else:
                found.append(Input(name, path) if path.exists() else
                             Input(name, image=image_of(name)))
                continue
            several = True
            found += [Input(str(f), f) for f in files]
        return cls(tuple(found), several or found[0].moving)

    @property
    def paths(self) -> list[Path]:
        return [i.path for i in self.items if i.path is not None]

    def only(self) -> Shot:
        """The picture, if it is not several."""
        return next(self.items[0].shots())


def _matching(pattern: str) -> list[Path]:
    files = [Path(f) for f in sorted(glob.glob(pattern, recursive=True))]
    files = [f for f in files if f.suffix.lower() in PICTURES + VIDEOS and f.is_file()]
    if not files:
        raise FalconetError(f"{pattern}: no picture has such a name")
    return files


@dataclass
class Tally:
    """How many pictures were looked at, and the inputs that could not be read to their end."""

    seen: int = 0
    inputs: int = 0
    left_out: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Refuse if an input could not be read; of several, each has been named."""
        n = len(self.left_out)
        if n and self.inputs == 1:
            raise FalconetError(self.left_out[0])
        if n and not self.seen:
            raise FalconetError("not one picture could be read; see above")
        if n:
            raise FalconetError(f"{n} of {self.inputs} could not be read; they are named above, "
                                "the others are done")


def each(inputs: Inputs, see: Callable[[Shot, Step], None], what: str,
         frames: int | None = None) -> Tally:
    """Call ``see`` with every picture in turn, and with what prints a line above the bar.

    An input that cannot be read is named on standard error, and the next one is taken; any other
    failure ends it.
    """
    tally, named = Tally(), 0
    with working(what) as step:
        for source in inputs.items:
            shots = source.shots(frames)
            while (shot := _next(shots, tally)) is not None:
                see(shot, step)
                tally.seen += 1
                step.share((tally.inputs + shot.share) / len(inputs.items))
            tally.inputs += 1
            if len(inputs.items) > 1 and len(tally.left_out) > named:
                status.print(f"  {tally.left_out[-1]}", markup=False)
                named += 1
    return tally


def _next(shots: Iterator[Shot], tally: Tally) -> Shot | None:
    try:
        return next(shots, None)
    except FalconetError as e:
        tally.left_out.append(str(e))
        return None
