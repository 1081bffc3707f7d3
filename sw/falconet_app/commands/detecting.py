"""A detector on a device: photographs in, boxes out, of the machine or of the host."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.isa import FalconetError, Program
from falconet.isa.program.forms import Detect
from falconet_app.commands.machines import DeviceName, Devices
from falconet_app.commands.sources import NetworkInput, Post, preparer

__all__ = ["Detector", "Nms", "Seen", "Wishes", "suppress_on_host"]


class Nms(str, enum.Enum):
    """Suppression modes; the machine has the first four."""

    greedy = "greedy"
    soft_linear = "soft_linear"
    soft_gaussian = "soft_gaussian"
    diou = "diou"
    softer = "softer"
    adaptive = "adaptive"


_HOST_MODES = (Nms.softer, Nms.adaptive)


@dataclass(frozen=True)
class Wishes:
    """What the command line says about boxes; None: as the model says."""

    threshold: float | None = None
    iou: float | None = None
    sigma: float | None = None
    maximum: int | None = None
    nms: Nms | None = None
    agnostic: bool | None = None

    @property
    def on_host(self) -> bool:
        """Whether the host suppresses what the machine finds."""
        return self.nms in _HOST_MODES

    def changes(self) -> dict[str, Any]:
        """Fields of the head's description that are not run-time options."""
        wanted = {"nms": self.nms and self.nms.value, "agnostic": self.agnostic,
                  "maximum": self.maximum}
        if self.on_host:
            wanted |= {"nms": Nms.greedy.value, "agnostic": None}
        return {k: v for k, v in wanted.items() if v is not None}


def suppress_on_host(found: Any, detect: Detect, wishes: Wishes) -> Any:
    """Detections that the machine let through at IoU 1, suppressed by a mode it does not have."""
    from falconet.runtime.detections import Detections, Options, limits
    from falconet.runtime.suppression import suppress

    assert wishes.nms is not None
    bounds = limits(detect, Options(wishes.threshold, wishes.iou, maximum=wishes.maximum))
    agnostic = detect.agnostic if wishes.agnostic is None else wishes.agnostic
    kept = suppress(found.records, bounds, mode=wishes.nms.value, agnostic=agnostic)
    origin = ["anchor", "x", "y", "label"]  # of no two records the same
    place = {key: i for i, key in enumerate(found.records[origin].tolist())}
    marks = found.landmarks[[place[key] for key in kept[origin].tolist()]]
    return Detections(kept, marks, found.candidates)


@dataclass(frozen=True)
class Seen:
    """What was found in a photograph (``Detection``, best first), the device's result, and what is
    to be said about it."""

    found: list[Any]
    result: Any
    remarks: list[str]
    dropped: int


class Detector:
    """A program on a device, opened once, its boxes as ``wishes`` say.

    With ``verify`` each photograph also runs on the golden model and the simulator; ``quiet``
    where a bar is shown already.
    """

    def __init__(self, program: Program, device: DeviceName, wishes: Wishes, *,
                 verify: bool = False, quiet: bool = False) -> None:
        from falconet.runtime.detections import Options

        self.program, self.wishes = program, wishes
        self.post = Post.machine if program.detect else Post.host
        self.labels: list[str] = program.header["meta"]["postprocess"]["labels"]
        self._options = Options(wishes.threshold, wishes.iou, wishes.sigma, wishes.maximum)
        if wishes.on_host:
            if self.post is Post.host:
                assert wishes.nms is not None
                raise FalconetError(f"--nms {wishes.nms.value} works on the machine's boxes; "
                                    "leave --post host out, or compile the program without it")
            self._options = Options(wishes.threshold, iou=1.0)
        self._prepare = preparer(program)
        self.devices = Devices(program, device, verify, quiet=quiet)

    def __call__(self, photograph: NDArray[np.uint8]) -> Seen:
        entry = self._prepare(photograph)
        look = self._machine_boxes if self.post is Post.machine else self._host_boxes
        return look(entry)

    def _machine_boxes(self, entry: NetworkInput) -> Seen:
        """The machine's own boxes; the host suppresses them in a mode that it does not have."""
        from falconet.runtime.vision import detections_of

        detect, wishes = self.program.detect, self.wishes
        assert detect is not None
        result = self.devices.run(entry.as_dict(), self._options)
        found, remarks = result.detections, []
        room = self.program.arch.candidates
        if wishes.on_host:
            room = min(room, detect.limit)
        dropped = found.dropped(room)
        if dropped:
            remarks.append(f"{found.candidates:,} candidates, of which the {room:,} best were "
                           "looked at; a higher --threshold gives fewer")
        if wishes.on_host:
            found = suppress_on_host(found, detect, wishes)
        meta = self.program.header["meta"]
        return Seen(detections_of(meta, found, entry.frame), result, remarks, dropped)

    def _host_boxes(self, entry: NetworkInput) -> Seen:
        """The same, boxes decoded and suppressed on the host in float."""
        from falconet.runtime.vision import postprocess, real_outputs

        wishes, meta = self.wishes, self.program.header["meta"]
        result = self.devices.run(entry.as_dict())
        post = meta["postprocess"] | wishes.changes()
        if wishes.sigma is not None:
            post["sigma"] = wishes.sigma
        found = postprocess({**meta, "postprocess": post},
                            real_outputs(self.program, result.outputs), entry.frame,
                            score_threshold=wishes.threshold, nms_threshold=wishes.iou,
                            maximum=wishes.maximum)
        return Seen(list(found), result, [], 0)
