"""``falconet run`` and ``falconet classify``; what all commands that run a program share."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from falconet.commands.console import print_json, results
from falconet.commands.machines import (
    LABELS,
    DeviceName,
    agreement,
    make_device,
    require_same,
    run_on,
)
from falconet.commands.sources import image_of, inputs_of, network_input, program_of
from falconet.isa import FalconetError, Program

__all__ = [
    "Device", "ImageName", "Json", "Model", "PresetName", "Verify", "need_kind", "real_outputs",
    "register", "run_checked", "speed_lines",
]

Model = Annotated[str, typer.Option("-m", "--model", help="Zoo name, QDQ ONNX or program file.")]
PresetName = Annotated[
    str | None, typer.Option("-p", "--preset", help="The machine (default: pynq-z2).")
]
Device = Annotated[DeviceName, typer.Option("-d", "--device", help="What it runs on.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Verify = Annotated[
    bool, typer.Option(help="Also run the golden model and the simulator; all bytes are equal.")
]
ImageName = Annotated[str, typer.Argument(help="A picture, or a name such as 'astronaut'.")]


def real_outputs(program: Program, outputs: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The outputs with their scales applied."""
    from falconet.runtime.vision import dequantize

    return {
        t["name"]: dequantize(outputs[t["name"]], float(t["scale"]), int(t["zero_point"]))
        for t in program.header["outputs"]
    }


def speed_lines(program: Program, result: Any) -> list[str]:
    """Cycles, utilisation and frame rate of a result that has cycles."""
    cycles = getattr(result, "cycles", None)
    if not cycles:
        return []
    from falconet_sim.ddr import DdrModel

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


def run_checked(program: Program, device: DeviceName, inputs: Any, verify: bool,
                options: Any = None) -> tuple[Any, list[str]]:
    """The result of ``device``, and the sentence that says which devices agree."""
    wanted = {device, DeviceName.golden, DeviceName.iss} if verify else {device}
    found = {
        d: run_on(d, make_device(d, program), inputs, options) for d in DeviceName if d in wanted
    }
    if verify:
        for d, result in found.items():
            require_same(found[DeviceName.golden], result, LABELS[d])
    return found[device], [agreement(found)] if verify else []


def need_kind(program: Program, kind: str, command: str) -> None:
    """Refuse a program whose outputs are not of this kind."""
    found = (program.header.get("meta", {}).get("postprocess") or {}).get("kind")
    if (found == "classification") != (kind == "classification") or found is None:
        raise FalconetError(
            f"program '{program.header['model']}': its outputs are "
            f"{f'a {found}' if found else 'not described'}, so 'falconet {command}' cannot "
            "interpret them; use 'falconet run'"
        )


def classify(
    image: ImageName,
    model: Model = "mobilenetv2",
    preset: PresetName = None,
    device: Device = DeviceName.golden,
    top: Annotated[int, typer.Option(min=1, help="How many classes.")] = 5,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Say what a picture shows.

    Example: falconet classify cat --model mobilenetv2 --top 3
    """
    from falconet.runtime.vision import postprocess

    photograph = image_of(image)
    program = program_of(model, preset)
    need_kind(program, "classification", "classify")
    entry = network_input(program, photograph)
    result, proof = run_checked(program, device, entry.as_dict(), verify)
    found = postprocess(program.header["meta"], real_outputs(program, result.outputs),
                        entry.frame, top=top)
    classes = [asdict(c) for c in found]
    if as_json:
        print_json({
            "image": image, "model": program.header["model"], "preset": program.arch.name,
            "device": device.value,
            "classes": [{"class": c["class_name"], "score": c["score"], "index": c["index"]}
                        for c in classes],
        })
        return
    for c in classes:
        results.print(f"  {c['score']:7.2%}  {c['class_name']}")
    for line in [*proof, *speed_lines(program, result)]:
        results.print(line)


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

    Example: falconet run retinaface astronaut --device iss --verify
    """
    loaded = program_of(program, preset)
    result, proof = run_checked(loaded, device, inputs_of(loaded, source), verify)
    found = result.detections
    boxes = {} if found is None else {
        "detections.records": found.records, "detections.landmarks": found.landmarks,
        "detections.candidates": np.array(found.candidates),
    }
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        np.savez(output, **result.outputs, **boxes)
    if as_json:
        print_json({
            "model": loaded.header["model"], "preset": loaded.arch.name, "device": device.value,
            "cycles": getattr(result, "cycles", None),
            "outputs": {k: {"shape": list(v.shape), "min": int(v.min()), "max": int(v.max())}
                        for k, v in result.outputs.items()},
            "boxes": None if found is None else len(found.records),
        })
        return
    for name, value in result.outputs.items():
        results.print(f"  {name}: int8 {list(value.shape)}, {value.min()} to {value.max()}")
    if found is not None:
        results.print(f"  detections: {len(found.records)} boxes of {found.candidates} candidates")
    for line in [*proof, *speed_lines(loaded, result)]:
        results.print(line)


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("classify")(classify)
