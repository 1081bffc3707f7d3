"""``falconet compare``: the first place where two devices part; the distance to onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from falconet.isa import FalconetError, Program
from falconet.isa.files import keep_inputs, written
from falconet_app.commands.console import print_json, results, working
from falconet_app.commands.machines import LABELS, DeviceName
from falconet_app.commands.sources import (
    PresetName,
    inputs_of,
    is_program,
    program_of,
    quantised_of,
)

__all__ = ["register"]


def lock_step(program: Program, inputs: Mapping[str, Any], device: DeviceName) -> Any:
    """The first difference between ``device`` and the next simpler model, or None."""
    from falconet_sim.compare.lockstep import compare_golden, compare_rtl

    with working("golden model against the simulator"):
        difference = compare_golden(program, dict(inputs))
    if difference is not None or device is not DeviceName.rtl:
        return difference
    with working("simulator against the RTL"):
        return compare_rtl(program, dict(inputs))


def _drawn(program: Program, inputs: Mapping[str, Any], index: int, file: Path) -> Any:
    from falconet_sim.rtl.waveform import draw_instruction

    with written(file) as part, working(f"drawing instruction {index}"):
        return replace(draw_instruction(program, dict(inputs), index, part), file=file)


def against_onnxruntime(model: str, program: Program, inputs: Mapping[str, Any]) -> list[Any]:
    """Every layer against onnxruntime, given equal inputs."""
    from falconet.compiler.importer.onnx.layerwise import compare
    from falconet_sim.golden.device import run_node

    if is_program(Path(model)):
        raise FalconetError(
            f"{model}: a program file does not hold its ONNX model; give that model instead"
        )
    source = quantised_of(model)
    with working("layer by layer against onnxruntime"):
        return compare(source, run_node, dict(inputs), arch=program.arch)


def _show(layers: list[Any]) -> None:
    table = Table(box=None)
    for title in ("layer", "op", "different", "of", "rate", "largest"):
        table.add_column(title, justify="left" if title in ("layer", "op") else "right")
    for d in layers:
        table.add_row(d.node, d.op, f"{d.different:,}", f"{d.total:,}", f"{d.rate:.6%}",
                      f"{d.max_lsb} LSB")
    results.print(table)
    different, total = sum(d.different for d in layers), sum(d.total for d in layers)
    results.print(f"against onnxruntime, equal inputs: {different:,} of {total:,} bytes differ "
                  f"({different / max(1, total):.6%}), by at most "
                  f"{max((d.max_lsb for d in layers), default=0)} LSB")


def _judge(program: Program, layers: list[Any], as_json: bool) -> None:
    """Say how far the layers are from onnxruntime; refuse more than one step."""
    if as_json:
        print_json({"model": program.header["model"], "layers": [vars(d) for d in layers]})
    else:
        _show(layers)
    worst = max(layers, key=lambda d: int(d.max_lsb), default=None)
    if worst is not None and worst.max_lsb > 1:
        raise FalconetError(f"layer '{worst.node}' is {worst.max_lsb} LSB from onnxruntime, "
                            "more than 1; report it with the model")


def compare(
    model: Annotated[str, typer.Argument(help="Zoo name, QDQ ONNX or program file.")],
    image: Annotated[
        str | None, typer.Option("-i", "--image", help="A picture or an .npz (default: noise).")
    ] = None,
    preset: PresetName = None,
    device: Annotated[
        DeviceName, typer.Option("-d", "--device", help="How far to go: iss or rtl.")
    ] = DeviceName.rtl,
    reference: Annotated[
        bool, typer.Option("--reference", help="Compare the layers with onnxruntime instead.")
    ] = False,
    waveform: Annotated[Path | None, typer.Option(
        "--waveform", help="Draw the instruction that differs on the RTL, as VCD.")] = None,
    instruction: Annotated[int | None, typer.Option(
        "--instruction", help="Draw this instruction instead, whether it differs or not.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Walk two devices in lock step; name the first instruction, tile and element that differ.

    Example: falconet compare retinaface --image astronaut --device iss
    """
    if waveform is not None:
        keep_inputs([Path(model), *([Path(image)] if image else [])], [waveform])
    program = program_of(model, preset)
    if image is not None:
        inputs: Mapping[str, Any] = inputs_of(program, image)
    else:
        rng = np.random.default_rng(0)
        inputs = {t["name"]: rng.integers(-128, 128, t["shape"], np.int8)
                  for t in program.header["inputs"]}
    if reference:
        _judge(program, against_onnxruntime(model, program, inputs), as_json)
        return
    if instruction is not None:
        if waveform is None:
            raise FalconetError("--instruction says what to draw; add --waveform FILE")
        results.print(str(_drawn(program, inputs, instruction, waveform)))
        return
    difference = lock_step(program, inputs, device)
    if as_json:
        print_json({"model": program.header["model"], "preset": program.arch.name,
                    "equal": difference is None,
                    "difference": None if difference is None else asdict(difference)})
    elif difference is None:
        shown = LABELS[device if device is DeviceName.rtl else DeviceName.iss]
        results.print(f"golden model and {shown}: every tile of {program.n_instructions:,} "
                      "instructions is equal")
    if difference is not None:
        seen = ("add --waveform FILE to see it" if waveform is None else
                str(_drawn(program, inputs, difference.index, waveform)))
        raise FalconetError(f"{difference}\n  {seen}")


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)
