"""``falconet classify``: what pictures show."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError, Program
from falconet.isa.files import keep_inputs, naming, written
from falconet_app.commands.console import Step, print_json, results
from falconet_app.commands.inputs import Camera, Frames, Inputs, Paths, Shot, each
from falconet_app.commands.machines import LABELS, DeviceName, Devices
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
from falconet_app.commands.sources import preparer, program_of

__all__ = ["register"]

Record = Mapping[str, Any]
_COLUMNS = ("image", "frame", "rank", "class", "score", "index")


@contextmanager
def _class_file(path: Path | None) -> Iterator[Callable[[Record], None]]:
    """Takes what was found in each picture; whole at the end, however that comes."""
    with ExitStack() as stack:
        if path is None:
            yield lambda record: None
            return
        beside = stack.enter_context(written(path))
        file = stack.enter_context(beside.open("w", encoding="utf-8", newline=""))
        table = csv.DictWriter(file, _COLUMNS) if path.suffix.lower() == ".csv" else None
        if table:
            table.writeheader()

        def put(record: Record) -> None:
            with naming(path):
                if table is None:
                    file.write(json_line(record) + "\n")
                else:
                    origin = {"image": record["image"], "frame": record.get("frame")}
                    table.writerows({**origin, "rank": rank, **found}
                                    for rank, found in enumerate(record["classes"], 1))
                file.flush()

        try:
            yield put
        finally:
            stack.close()


class _Classifier:
    """A program on a device, opened once."""

    def __init__(self, program: Program, device: DeviceName, top: int, verify: bool,
                 quiet: bool) -> None:
        self._program, self._device, self._top = program, device, top
        self._prepare = preparer(program)
        self.devices = Devices(program, device, verify, quiet=quiet)

    def __call__(self, shot: Shot) -> tuple[dict[str, Any], Any]:
        """The classes as JSON, and the device's result."""
        from falconet.runtime.vision import postprocess, real_outputs

        header, entry = self._program.header, self._prepare(shot.image)
        result = self.devices.run(entry.as_dict())
        found = postprocess(header["meta"], real_outputs(self._program, result.outputs),
                            entry.frame, top=self._top)
        return {
            **origin(shot), "model": header["model"], "preset": self._program.arch.name,
            "device": self._device.value,
            "classes": [{"class": c["class_name"], "score": c["score"], "index": c["index"]}
                        for c in map(asdict, found)],
        }, result


def classify(
    paths: Paths = None,
    model: Model = "mobilenetv2",
    preset: PresetName = None,
    device: Device = DeviceName.golden,
    top: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Save the classes: .csv or .jsonl (JSON "
                                                         "lines).")
    ] = None,
    camera: Camera = None,
    frames: Frames = None,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Say what pictures show.

    What cannot be read is named, the rest is done, and the exit status is 1.

    Example: falconet classify photos/ --top 3 --output classes.csv
    """
    inputs = Inputs.of(paths, camera)
    if output is not None:
        if output.suffix.lower() not in (".csv", ".jsonl"):
            raise FalconetError(f"{output}: classes are saved as .csv or .jsonl; give it one of "
                                "these suffixes")
        keep_inputs(inputs.paths, [output])
    single = None if inputs.several else inputs.only()
    program = program_of(model, preset)
    need_kind(program, "classification", "classify")
    classifier = _Classifier(program, device, top, verify, quiet=inputs.several)

    def line(shot: Shot, step: Step) -> None:
        record, result = classifier(shot)
        shown = ", ".join(f"{c['class']} {c['score']:.1%}" for c in record["classes"])
        cycles = getattr(result, "cycles", None)
        shown += f"; {cycles:,} cycles" if cycles else ""
        step.line(json_line(record) if as_json else f"{shot.name}: {shown}")
        put(record)

    if single is None:
        with _class_file(output) as put:
            tally = each(inputs, line, f"classify on the {LABELS[device]}", frames)
        if tally.seen and not as_json:
            results.print(f"{tally.seen:,} pictures, by {program.header['model']}")
    else:
        record, result = classifier(single)
        if as_json:
            print_json(record)
        else:
            for c in record["classes"]:
                results.print(f"  {c['score']:7.2%}  {c['class']}")
        with _class_file(output) as put:
            put(record)
    for said in [] if as_json else [
            *classifier.devices.proof, *([] if single is None else speed_lines(program, result)),
            *([] if output is None else [f"classes: {output}"])]:
        results.print(said)
    if single is None:
        tally.close()


def register(app: typer.Typer) -> None:
    app.command("classify")(classify)
