"""``falconet estimate``: the figures of ``bench`` in a second, from the fast cycle model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import Program, preset
from falconet_app.commands.console import print_json, results, working
from falconet_app.commands.figures import PresetName, figures, layer_table
from falconet_app.commands.machines import DeviceName, make_device, run_on
from falconet_app.commands.pages import Json, Page, show
from falconet_app.commands.sources import (
    DEFAULT_PRESET,
    compiled,
    is_program,
    program_of,
    quantised_of,
)

__all__ = ["register"]

Models = Annotated[list[str], typer.Argument(
    metavar="MODEL...", help="Zoo names, QDQ ONNX or program files.")]
Candidates = Annotated[int, typer.Option(
    min=0, help="Boxes that a picture is assumed to have; each takes the detect engine's time.")]
Rtl = Annotated[bool, typer.Option("--rtl", help="Run the RTL too, and say how far off it is.")]


def _program(model: str, preset_name: str | None) -> Program:
    path = Path(model)
    if is_program(path):
        return program_of(model, preset_name)
    return compiled(quantised_of(model), preset(preset_name or DEFAULT_PRESET),
                    path.stem if path.is_file() else model)


def _on_rtl(program: Program) -> int:
    """Cycles of the RTL on an input of zeros, on which hardly a box is found."""
    import numpy as np

    inputs = {t["name"]: np.zeros(t["shape"], np.int8) for t in program.header["inputs"]}
    cycles: int = run_on(DeviceName.rtl, make_device(DeviceName.rtl, program), inputs).cycles
    return cycles


def _row(found: dict[str, Any]) -> dict[str, str]:
    row = {
        "network": found["model"], "preset": found["preset"], "cycles": f"{found['cycles']:,}",
        "of peak": f"{found['utilisation']:.1%}", "frames/s": f"{found['fps']:.1f}",
        "DDR bytes": f"{found['bytes']:,}", "s": f"{found['seconds']:.2f}",
    }
    if "rtl" in found:
        row["RTL"] = f"{found['rtl']:,}"
        row["off by"] = f"{found['cycles'] / found['rtl'] - 1:+.2%}"
    return row


def estimate(
    models: Models,
    preset_name: PresetName = None,
    candidates: Candidates = 0,
    rtl: Rtl = False,
    as_json: Json = False,
    page: Page = None,
) -> None:
    """Estimate a network's cycles, layer by layer, without simulating the machine.

    Example: falconet estimate mobilenetv2
    """
    from falconet_sim.timing.estimate import estimate as model_of

    everything = []
    for name in models:
        program = _program(name, preset_name)
        began = time.perf_counter()
        with working(f"estimate {program.header['model']}"):
            found = figures(program, model_of(program, candidates=candidates))
        found["seconds"] = round(time.perf_counter() - began, 2)
        if rtl:
            found["rtl"] = _on_rtl(program)
        everything.append(found)
    if not as_json:
        for found in everything:
            results.print(layer_table(found))
            results.print()
        results.print("an estimate, not the machine's own cycles, which 'falconet bench' measures; "
                      f"preset {everything[0]['preset']} at {everything[0]['clock_mhz']:g} MHz; "
                      f"{everything[0]['ddr']}")
    if as_json and page is None:
        print_json(everything if len(everything) > 1 else everything[0])
        return
    command = " ".join(["falconet estimate", *models, *(["--rtl"] if rtl else []),
                        f"--preset {everything[0]['preset']}"])
    show([_row(f) for f in everything], page, f"estimate {everything[0]['preset']}",
         f"Estimate, {everything[0]['preset']}", command, as_json)


def register(app: typer.Typer) -> None:
    app.command("estimate")(estimate)
