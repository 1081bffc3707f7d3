"""A camera of the computer that the page is served from: its newest frame, when one is wanted."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError
from falconet.runtime.photographs import opencv

__all__ = ["Camera"]

_WAITED = 0.004  # seconds: what takes as long was not in the queue already
_QUEUE = 8  # frames that a driver may hold back


class Camera:
    """Camera ``number`` of OpenCV. It is opened here, so that its absence is known at once.

    Raises
    ------
    FalconetError
        If OpenCV is missing, the camera cannot be opened, or it gives no picture.
    """

    def __init__(self, number: int) -> None:
        self.number, self._cv2 = number, opencv("to read a camera")
        self._capture: Any = self._cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise FalconetError(f"camera {number} cannot be opened; is it connected, and free?")

    def frame(self) -> NDArray[np.uint8]:
        """The newest frame, uint8 [h, w, 3], R, G, B.

        Frames queue up while nobody looks; one that had to be waited for is new.
        """
        for _ in range(_QUEUE):
            began = time.perf_counter()
            there = self._capture.grab()
            if not there or time.perf_counter() - began >= _WAITED:
                break
        there, frame = self._capture.retrieve() if there else (False, None)
        if not there or frame is None:
            raise FalconetError(f"camera {self.number} gives no picture; is it still connected?")
        rgb: NDArray[np.uint8] = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
        return rgb

    def close(self) -> None:
        """Let it go."""
        self._capture.release()
