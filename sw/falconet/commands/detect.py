"""``falconet detect``: a picture in, boxes out, of the machine or of the host."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.commands.console import print_json, results
from falconet.commands.machines import DeviceName
from falconet.commands.running import (
    Device,
    ImageName,
    Json,
    Model,
    PresetName,
    Verify,
    need_kind,
    real_outputs,
    run_checked,
    speed_lines,
)
from falconet.commands.sources import NetworkInput, Post, image_of, network_input, program_of
from falconet.isa import FalconetError, Program

__all__ = ["Nms", "Wishes", "register", "suppress_on_host"]


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


def suppress_on_host(found: Any, detect: Mapping[str, Any], wishes: Wishes) -> Any:
    """Detections that the machine let through at IoU 1, suppressed by a mode it does not have."""
    from falconet.runtime.detections import Detections, Options, limits
    from falconet.runtime.suppression import suppress

    assert wishes.nms is not None
    bounds = limits(detect, Options(wishes.threshold, wishes.iou, maximum=wishes.maximum))
    agnostic = detect["agnostic"] if wishes.agnostic is None else wishes.agnostic
    kept = suppress(found.records, bounds, mode=wishes.nms.value, agnostic=agnostic)
    origin = ["anchor", "x", "y", "label"]  # of no two records the same
    place = {key: i for i, key in enumerate(found.records[origin].tolist())}
    marks = found.landmarks[[place[key] for key in kept[origin].tolist()]]
    return Detections(kept, marks, found.candidates)


def _machine_boxes(program: Program, device: DeviceName, entry: NetworkInput, wishes: Wishes,
                   verify: bool) -> tuple[Any, list[Any], list[str]]:
    """The result, the detections on the photograph, and what is to be said about them."""
    from falconet.runtime.detections import Options
    from falconet.runtime.vision import detections_of

    detect = program.header["detect"]
    options = Options(wishes.threshold, wishes.iou, wishes.sigma, wishes.maximum)
    if wishes.on_host:
        options = Options(wishes.threshold, iou=1.0)
    result, lines = run_checked(program, device, entry.as_dict(), verify, options)
    found = result.detections
    room = min(program.arch.candidates, detect["limit"]) if wishes.on_host else (
        program.arch.candidates)
    if found.candidates > room:
        lines.append(f"{found.candidates:,} candidates, of which the {room:,} best were looked at; "
                     "a higher --threshold gives fewer")
    if wishes.on_host:
        found = suppress_on_host(found, detect, wishes)
    return result, detections_of(program.header["meta"], found, entry.frame), lines


def _host_boxes(program: Program, device: DeviceName, entry: NetworkInput, wishes: Wishes,
                verify: bool) -> tuple[Any, list[Any], list[str]]:
    """The same, boxes decoded and suppressed on the host in float."""
    from falconet.runtime.detections import Options
    from falconet.runtime.vision import postprocess

    if wishes.nms in _HOST_MODES:
        raise FalconetError(f"--nms {wishes.nms.value} works on the machine's boxes; "
                            "leave --post host out, or compile the program without it")
    Options(wishes.threshold, wishes.iou, wishes.sigma, wishes.maximum)  # refuses the impossible
    result, lines = run_checked(program, device, entry.as_dict(), verify)
    meta = program.header["meta"]
    post = meta["postprocess"] | wishes.changes()
    if wishes.sigma is not None:
        post["sigma"] = wishes.sigma
    found = postprocess({**meta, "postprocess": post}, real_outputs(program, result.outputs),
                        entry.frame, score_threshold=wishes.threshold, nms_threshold=wishes.iou,
                        maximum=wishes.maximum)
    return result, found, lines


def detect(
    image: ImageName,
    model: Model = "retinaface",
    preset: PresetName = None,
    device: Device = DeviceName.golden,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Save the picture with the boxes.")
    ] = None,
    post: Annotated[
        Post | None, typer.Option(help="Who makes boxes of the heads (default: the machine).")
    ] = None,
    nms: Annotated[
        Nms | None, typer.Option(help="How boxes suppress others (default: the model's); softer "
                                      "and adaptive: on the host, of the machine's boxes.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score (default: the model's).")
    ] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap that suppresses, 1: none.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(help="Width of soft_gaussian.")] = None,
    maximum: Annotated[int | None, typer.Option(min=1, help="Most boxes.")] = None,
    agnostic: Annotated[
        bool | None, typer.Option("--agnostic/--per-class", help="Across classes, or within each.")
    ] = None,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Find objects in a picture.

    Example: falconet detect astronaut --output boxes.png
    """
    photograph = image_of(image)
    wishes = Wishes(threshold, iou, sigma, maximum, nms, agnostic)
    program = program_of(model, preset, post=post, changes=wishes.changes())
    need_kind(program, "detection", "detect")
    entry = network_input(program, photograph)
    machine = "detect" in program.header
    make = _machine_boxes if machine else _host_boxes
    result, found, lines = make(program, device, entry, wishes, verify)
    if output is not None:
        from falconet.commands.pictures import draw_detections

        draw_detections(photograph, found, output)
    if as_json:
        print_json({
            "image": image, "model": program.header["model"], "preset": program.arch.name,
            "device": device.value, "post": (Post.machine if machine else Post.host).value,
            "candidates": result.detections.candidates if machine else None, "boxes": [
                {"class": d["class_name"], **{k: d[k] for k in ("score", "x", "y", "w", "h")},
                 "landmarks": d["landmarks"]} for d in map(asdict, found)
            ],
        })
        return
    where = f"machine, of {result.detections.candidates:,} candidates" if machine else "host"
    results.print(f"{len(found)} found in '{image}' by {program.header['model']}; boxes by the "
                  f"{where}")
    for d in map(asdict, found):
        results.print(f"  {d['class_name']} {d['score']:.4f}  x {d['x']:.1f}  y {d['y']:.1f}  "
                      f"w {d['w']:.1f}  h {d['h']:.1f}")
    for line in [*lines, *speed_lines(program, result)]:
        results.print(line)
    if output is not None:
        results.print(f"picture: {output}")


def register(app: typer.Typer) -> None:
    app.command("detect")(detect)
