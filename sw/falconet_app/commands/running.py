"""``falconet run``; what all commands that run a program share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from falconet.isa import FalconetError, Program
from falconet.isa.files import keep_inputs, written
from falconet_app.commands.console import print_json, results
from falconet_app.commands.inputs import Shot
from falconet_app.commands.machines import DeviceName, Devices
from falconet_app.commands.sources import PresetName, inputs_of, program_of

__all__ = [
    "Device", "Json", "Model", "PresetName", "Verify", "json_line", "need_kind", "origin",
    "register", "speed_lines",
]

Model = Annotated[str, typer.Option("-m", "--model", help="Zoo name, QDQ ONNX or program file.")]
Device = Annotated[DeviceName, typer.Option("-d", "--device", help="What it runs on.")]
Json = Annotated[
    bool, typer.Option("--json", help="JSON on standard output; of several pictures a line each.")
]
Verify = Annotated[
    bool, typer.Option(help="Also run the golden model and the simulator; all bytes are equal.")
]


def speed_lines(program: Program, result: Any) -> list[str]:
    """Cycles, utilisation and frame rate of a result that has cycles."""
    cycles = getattr(result, "cycles", None)
    if not cycles:
        return []
    from falconet_sim.rtl.ddr import DdrModel

    arch = program.arch
    macs = sum(int(layer["macs"]) for layer in program.header["layers"])
    share = macs / (cycles * arch.macs_per_cycle)
    detect = [f"detect engine: {result.busy['DETECT']:,} cycles of these"] * (
        result.detections is not None)
    return [
        f"{cycles:,} cycles, {share:.1%} of {arch.macs_per_cycle} MAC/cycle, "
        f"{arch.clock_mhz * 1e6 / cycles:.1f} frames/s",
        *detect,
        f"at {arch.clock_mhz:g} MHz, preset {arch.name}; {DdrModel(clock_mhz=arch.clock_mhz)}; "
        "simulated, not silicon",
    ]


def origin(shot: Shot) -> dict[str, Any]:
    """Where a picture is from and its size, as JSON."""
    height, width = shot.image.shape[:2]
    frame = {} if shot.frame is None else {
        "frame": shot.frame, "seconds": shot.frame / shot.rate if shot.rate else None}
    return {"image": shot.source.name, **frame, "width": width, "height": height}


def json_line(record: Mapping[str, Any]) -> str:
    """One of many JSON objects."""
    return json.dumps(record)


def need_kind(program: Program, kind: str, command: str) -> None:
    """Refuse a program whose outputs are not of this kind."""
    found = (program.header.get("meta", {}).get("postprocess") or {}).get("kind")
    if (found == "classification") != (kind == "classification") or found is None:
        other = {"classification": "classify", "detection": "detect"}.get(str(found), "run")
        raise FalconetError(
            f"program '{program.header['model']}': its outputs are "
            f"{f'a {found}' if found else 'not described'}, so 'falconet {command}' cannot "
            f"interpret them; use 'falconet {other}'"
        )


def run(
    program: Annotated[str, typer.Argument(help="Program file, QDQ ONNX or zoo name.")],
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A picture or an .npz file.")],
    preset: PresetName = None,
    device: Device = DeviceName.golden,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Save outputs and boxes as .npz.")
    ] = None,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Run a program and save or summarise its raw outputs.

    Example: falconet run net.flc astronaut --output raw.npz
    """
    if output is not None:
        if output.suffix.lower() != ".npz":
            raise FalconetError(f"{output}: outputs are saved as .npz; give it that suffix")
        keep_inputs([Path(program), Path(source)], [output])
    loaded = program_of(program, preset)
    inputs = inputs_of(loaded, source)
    devices = Devices(loaded, device, verify)
    result = devices.run(inputs)
    found = result.detections
    boxes = {} if found is None else {
        "detections.records": found.records, "detections.landmarks": found.landmarks,
        "detections.candidates": np.array(found.candidates),
    }
    if as_json:
        print_json({
            "model": loaded.header["model"], "preset": loaded.arch.name, "device": device.value,
            "cycles": getattr(result, "cycles", None),
            "outputs": {k: {"shape": list(v.shape), "min": int(v.min()), "max": int(v.max())}
                        for k, v in result.outputs.items()},
            "boxes": None if found is None else len(found.records),
        })
    else:
        for name, value in result.outputs.items():
            results.print(f"  {name}: int8 {list(value.shape)}, {value.min()} to {value.max()}")
        if found is not None:
            results.print(
                f"  detections: {len(found.records)} boxes of {found.candidates} candidates")
        for line in [*devices.proof, *speed_lines(loaded, result)]:
            results.print(line)
    if output is not None:
        with written(output) as beside:
            np.savez(beside, **result.outputs, **boxes)


def register(app: typer.Typer) -> None:
    app.command("run")(run)
