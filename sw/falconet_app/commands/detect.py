"""``falconet detect``: pictures in, boxes out, of the machine or of the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError
from falconet_app.commands.annotations import Annotations
from falconet_app.commands.console import Step, print_json, results
from falconet_app.commands.detecting import Detector, Nms, Seen, Wishes
from falconet_app.commands.inputs import Camera, Frames, Inputs, Paths, Shot, Tally, each
from falconet_app.commands.machines import LABELS, DeviceName
from falconet_app.commands.outputs import Format, Sink, box_sink
from falconet_app.commands.running import (
    Device,
    Json,
    Model,
    PresetName,
    Verify,
    json_line,
    need_kind,
    origin,
    speed_lines,
)
from falconet_app.commands.sources import Post, program_of

__all__ = ["register"]


def _record(shot: Shot, seen: Seen, detector: Detector, device: DeviceName) -> dict[str, Any]:
    """One picture as JSON."""
    machine, header = detector.post is Post.machine, detector.program.header
    return {
        **origin(shot), "model": header["model"], "preset": detector.program.arch.name,
        "device": device.value, "post": detector.post.value,
        "candidates": seen.result.detections.candidates if machine else None,
        "dropped": seen.dropped if machine else None, "boxes": [
            {"class": d["class_name"], **{k: d[k] for k in ("score", "x", "y", "w", "h")},
             "landmarks": d["landmarks"]} for d in map(asdict, seen.found)
        ],
    }


def _details(shot: Shot, seen: Seen, detector: Detector) -> None:
    """One picture, a box a line."""
    program, result = detector.program, seen.result
    where = "host" if detector.post is Post.host else (
        f"machine, of {result.detections.candidates:,} candidates")
    results.print(f"{len(seen.found)} found in '{shot.name}' by {program.header['model']}; boxes "
                  f"by the {where}")
    for d in seen.found:
        results.print(f"  {d.class_name} {d.score:.4f}  x {d.x:.1f}  y {d.y:.1f}  w {d.w:.1f}  "
                      f"h {d.h:.1f}")
    for line in [*detector.devices.proof, *seen.remarks, *speed_lines(program, result)]:
        results.print(line)


def _line(shot: Shot, seen: Seen) -> str:
    """One of several pictures: how many of each class, and the best score of it."""
    best: dict[str, list[float]] = {}
    for d in seen.found:
        best.setdefault(d.class_name, []).append(d.score)
    found = ", ".join(f"{len(s)} {name} ({max(s):.2f})" for name, s in best.items())
    cycles = getattr(seen.result, "cycles", None)
    return "; ".join([f"{shot.name}: {found or 'nothing'}",
                      *([f"{cycles:,} cycles"] if cycles else []), *seen.remarks])


def _sinks(inputs: Inputs, output: Path | None, boxes: Path | None, kind: Format | None
           ) -> list[Sink]:
    """Where the findings go."""
    if kind is not None and boxes is None:
        raise FalconetError("--format: is of the boxes; say where they go with --boxes")
    return [*([] if output is None else [Annotations(output, inputs)]),
            *([] if boxes is None else [box_sink(boxes, kind, inputs)])]


@contextmanager
def _begun(sinks: Sequence[Sink], labels: Sequence[str]) -> Iterator[None]:
    """What is written is whole at the end, however that comes."""
    with ExitStack() as stack:
        for sink in sinks:
            sink.begin(labels)
            stack.callback(sink.close)
        yield


def _many(inputs: Inputs, detector: Detector, device: DeviceName, sinks: Sequence[Sink],
          frames: int | None, as_json: bool) -> Tally:
    boxes = 0

    def look(shot: Shot, step: Step) -> None:
        nonlocal boxes
        seen = detector(shot.image)
        record = _record(shot, seen, detector, device)
        boxes += len(seen.found)
        step.line(json_line(record) if as_json else _line(shot, seen))
        for sink in sinks:
            sink.put(shot, seen.found, record)

    with _begun(sinks, detector.labels):
        tally = each(inputs, look, f"detect on the {LABELS[device]}", frames)
    if tally.seen and not as_json:
        results.print(f"{tally.seen:,} pictures, {boxes:,} found by "
                      f"{detector.program.header['model']}; boxes by the {detector.post.value}")
        for line in detector.devices.proof:
            results.print(line)
    return tally


def _one(shot: Shot, detector: Detector, device: DeviceName, sinks: Sequence[Sink],
         as_json: bool) -> None:
    seen = detector(shot.image)
    record = _record(shot, seen, detector, device)
    if as_json:
        print_json(record)
    else:
        _details(shot, seen, detector)
    with _begun(sinks, detector.labels):
        for sink in sinks:
            sink.put(shot, seen.found, record)


def detect(
    paths: Paths = None,
    model: Model = "retinaface",
    preset: PresetName = None,
    device: Device = DeviceName.golden,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Save pictures and videos with the "
                                                         "boxes: a folder, or for one a file.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="Save the boxes: a file .jsonl (JSON lines) or .json (COCO "
                                       "results), or a folder (YOLO labels).")
    ] = None,
    box_kind: Annotated[
        Format | None, typer.Option("--format", help="Of --boxes, if its name does not say it.")
    ] = None,
    camera: Camera = None,
    frames: Frames = None,
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
    """Find objects in pictures and videos.

    What cannot be read is named, the rest is done, and the exit status is 1.

    Example: falconet detect photos/ --output annotated/ --boxes boxes.jsonl
    """
    inputs = Inputs.of(paths, camera)
    sinks = _sinks(inputs, output, boxes, box_kind)
    shot = None if inputs.several else inputs.only()
    wishes = Wishes(threshold, iou, sigma, maximum, nms, agnostic)
    program = program_of(model, preset, post=post, changes=wishes.changes())
    need_kind(program, "detection", "detect")
    detector = Detector(program, device, wishes, verify=verify, quiet=inputs.several)
    tally = Tally()
    if shot is not None:
        _one(shot, detector, device, sinks, as_json)
    else:
        tally = _many(inputs, detector, device, sinks, frames, as_json)
    for sink in [] if as_json else sinks:
        results.print(sink.said)
    tally.close()


def register(app: typer.Typer) -> None:
    app.command("detect")(detect)
