"""Pictures and videos with the boxes drawn in, under names of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.isa.files import keep_inputs, written
from falconet.runtime.photographs import PICTURES, VIDEOS, Video, opencv
from falconet_app.commands.inputs import Input, Inputs, Shot
from falconet_app.commands.outputs import distinct
from falconet_app.commands.pictures import SAVED, annotated, draw_detections

__all__ = ["Annotations"]

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_RATE = 25.0  # frames a second of a video that says none


class Annotations:
    """Pictures and videos with the boxes drawn in.

    ``output`` is a file for one picture or one video, else a folder, in which every input has a
    name of its own.
    """

    def __init__(self, output: Path, inputs: Inputs) -> None:
        self.output, items = output, inputs.items
        suffix, one = output.suffix.lower(), items[0]
        from_folder = inputs.several and not (len(items) == 1 and one.moving)
        self.folder = output.is_dir() or not suffix or (
            from_folder and suffix not in PICTURES + VIDEOS)
        allowed: Sequence[str] = tuple(_CODECS) if one.moving else SAVED
        if output.exists() and not output.is_dir() and not suffix:
            raise FalconetError(f"{output}: has no suffix that says what to write; use "
                                f"{allowed[0]}")
        if not self.folder and from_folder:
            raise FalconetError(f"{output}: the pictures go to a folder; give a name without "
                                f"'{output.suffix}'")
        if not self.folder and suffix not in allowed:
            raise FalconetError(f"{output}: {'a video' if one.moving else 'a picture'} cannot be "
                                f"saved as {output.suffix}; use {', '.join(allowed)}")
        self._places = dict(zip(map(id, items), self._targets(items)))
        keep_inputs(inputs.paths, self._places.values())
        if any(i.moving for i in items):
            opencv("to write videos")
        self.said = f"picture{'s' * self.folder}: {output}"
        if self.folder and len(items) == 1:
            self.said = f"picture: {self.place(items[0])}"
        self._video: _VideoFile | None = None
        self._under_way: Input | None = None

    def _targets(self, items: Sequence[Input]) -> list[Path]:
        if not self.folder:
            return [self.output]
        names = []
        for i in items:
            known, other = (_CODECS, ".mp4") if i.moving else (SAVED, ".png")
            own = Path(i.name)
            names.append(own.name if own.suffix.lower() in known else
                         f"{own.stem if own.suffix.lower() in PICTURES + VIDEOS else own.name}"
                         f"{other}")
        return [self.output / name for name in distinct(names)]

    def place(self, source: Input) -> Path:
        """Where an input goes."""
        return self._places[id(source)]

    def begin(self, labels: Sequence[str]) -> None:
        pass

    def put(self, shot: Shot, found: Sequence[Any], record: Mapping[str, Any]) -> None:
        if self._under_way is not shot.source:
            self.close()
        if shot.frame is None:
            draw_detections(shot.image, found, self.place(shot.source))
            return
        if self._video is None:
            self._video = _VideoFile(self.place(shot.source), shot.image.shape, shot.rate)
            self._under_way = shot.source
        self._video.write(np.asarray(annotated(shot.image, found)))

    def close(self) -> None:
        """End the video under way."""
        video, self._video, self._under_way = self._video, None, None
        if video is not None:
            video.close()


class _VideoFile:
    """A video that is written frame by frame, and is whole at :meth:`close`."""

    def __init__(self, path: Path, shape: Sequence[int], rate: float) -> None:
        self._cv2, self._path, self._frames = opencv("to write videos"), path, 0
        self._pad = [(0, shape[0] % 2), (0, shape[1] % 2), (0, 0)]  # sides of codecs are even
        size = shape[1] + shape[1] % 2, shape[0] + shape[0] % 2
        with ExitStack() as stack:
            self._beside = stack.enter_context(written(path))
            codec = self._cv2.VideoWriter_fourcc(*_CODECS[path.suffix.lower()])
            self._writer = self._cv2.VideoWriter(str(self._beside), codec, rate or _RATE, size)
            if not self._writer.isOpened():
                raise FalconetError(f"{path}: OpenCV cannot write a video of {size[0]} x {size[1]} "
                                    f"pixels with this suffix; use {' or '.join(_CODECS)}")
            self._stack = stack.pop_all()

    def write(self, image: NDArray[np.uint8]) -> None:
        """``image`` uint8 [h, w, 3], R, G, B, of the size of the first."""
        padded = np.pad(image, self._pad, "edge") if self._pad != [(0, 0)] * 3 else image
        self._writer.write(self._cv2.cvtColor(padded, self._cv2.COLOR_RGB2BGR))
        self._frames += 1

    def close(self) -> None:
        with self._stack:
            self._writer.release()
            count = 0  # the writer says nothing of a full disk
            with suppress(FalconetError), Video(self._beside) as video:
                count = video.frames
            if count + 1 < self._frames:
                raise FalconetError(f"{self._path}: only {count:,} of {self._frames:,} frames "
                                    "could be written; is there room?")
