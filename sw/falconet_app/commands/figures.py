"""``falconet bench``: every figure that is published comes from here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from falconet.isa import Engine, FalconetError, Program, preset
from falconet_app.commands.console import print_json, results
from falconet_app.commands.machines import LABELS, DeviceName, make_device, require_same, run_on
from falconet_app.commands.pages import Json, Page, put_section, revision
from falconet_app.commands.sources import (
    DEFAULT_PRESET,
    PresetName,
    compiled,
    is_program,
    network_input,
    program_of,
    quantised_of,
)

__all__ = ["ModelArgument", "PresetName", "figures", "headline", "layer_table",
           "markdown", "measure", "register"]


def _photographs(count: int, program: Program) -> dict[str, Any]:
    from falconet_models.data import SCENES, test_images

    if program.header["model"] in SCENES:
        return dict(test_images(program.header["model"]))
    kind = (program.header.get("meta", {}).get("postprocess") or {}).get("kind")
    images = test_images("retinaface" if kind == "detection" else "classification")
    return dict(list(images.items())[:count])


def measure(model: str, preset_name: str | None, images: int
            ) -> tuple[dict[str, Any], Program, Any]:
    """The figures of one network on one machine, its program, and the traced run of the RTL.

    ``compile_s`` is None for a program file.
    """
    path, compile_s = Path(model), None
    if is_program(path):
        program = program_of(model, preset_name)
    else:
        source, arch = quantised_of(model), preset(preset_name or DEFAULT_PRESET)
        began = time.perf_counter()
        program = compiled(source, arch, path.stem if path.is_file() else model, cache=False)
        compile_s = round(time.perf_counter() - began, 2)
    devices = {d: make_device(d, program) for d in DeviceName}
    first: Any = None
    different, crowds = [], {}
    for name, image in _photographs(images, program).items():
        inputs = network_input(program, image).as_dict()
        found = {d: run_on(d, device, inputs) for d, device in devices.items()}
        rtl = found[DeviceName.rtl]
        first = first or rtl
        if rtl.detections is not None:
            boxes = rtl.detections
            crowds[name] = rtl.busy["DETECT"], boxes.candidates, len(boxes.records)
        for d, result in found.items():
            try:
                require_same(found[DeviceName.golden], result, LABELS[d])
            except FalconetError as e:
                different.append(f"{name}: {e}")
    return {**figures(program, first), "equal": not different, "different": different,
            "compile_s": compile_s, "simulate_s": round(first.seconds, 2),
            "images": images, "crowds": crowds}, program, first


def figures(program: Program, run: Any) -> dict[str, Any]:
    """What follows from the program and one traced run, or an estimate of one.

    ``detect`` is None without a detection head; else ``busy``, the cycles of the detect engine,
    those of them by instruction (``SCAN`` ...), and ``alone``, the cycles that its layers cost:
    those that no other layer's arithmetic covers, transfers for it included.
    """
    from falconet.runtime.profile import layer_profiles
    from falconet_sim.rtl.ddr import DdrModel

    arch, instructions = program.arch, program.instructions()
    macs = sum(int(layer["macs"]) for layer in program.header["layers"])
    profiles = layer_profiles(program, run.trace.start, run.trace.retire, run.cycles)
    took: dict[str, int] = {}
    for ins, start, retire in zip(instructions, run.trace.start, run.trace.retire):
        if ins.engine is Engine.DETECT:
            took[ins.mnemonic] = took.get(ins.mnemonic, 0) + int(retire - start)
    boxes = getattr(run, "detections", None)
    detect = None if boxes is None else {
        "busy": run.busy["DETECT"], **took,
        "alone": sum(p.cycles for p in profiles if p.engine == "DETECT"),
        "candidates": boxes.candidates, "boxes": len(boxes.records),
    }
    return {
        "model": program.header["model"], "preset": arch.name, "clock_mhz": arch.clock_mhz,
        "ddr": str(DdrModel(clock_mhz=arch.clock_mhz)), "macs": macs,
        "mac_per_cycle": arch.macs_per_cycle,
        "cycles": run.cycles, "utilisation": round(macs / run.cycles / arch.macs_per_cycle, 4),
        "fps": round(arch.clock_mhz * 1e6 / run.cycles, 2),
        "bytes": sum(p.bytes for p in profiles), "detect": detect,
        "layers": [{**asdict(p), "utilisation": round(p.utilisation, 4)} for p in profiles],
    }


_COLUMNS = ("layer", "engine", "cycles", "share", "DDR bytes", "busy", "of peak", "bound")


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The per-layer table as text; layers that run no instruction are left out."""
    return [
        (p["name"], p["engine"], f"{p['cycles']:,}", f"{p['cycles'] / found['cycles']:.1%}",
         f"{p['bytes']:,}", f"{p['busy']:,}", f"{p['utilisation']:.0%}" if p["macs"] else "",
         p["bound"])
        for p in found["layers"] if p["bound"] != "-"
    ]


def layer_table(found: dict[str, Any]) -> Table:
    """The same for the screen."""
    table = Table(box=None)
    for i, title in enumerate(_COLUMNS):
        table.add_column(title, justify="left" if i in (0, 1, 7) else "right")
    for row in rows(found):
        table.add_row(*row)
    return table


def headline(found: dict[str, Any]) -> list[str]:
    """The figures of the whole network, with everything that they depend on."""
    devices = "golden = ISS = RTL" if found["equal"] else "the devices differ"
    made = f"compiled in {found['compile_s']} s, " if found["compile_s"] is not None else ""
    boxes = []
    if detect := found["detect"]:
        parts = " + ".join(f"{k} {v:,}" for k, v in detect.items() if k.isupper())
        boxes.append(
            f"detect engine: {detect['busy']:,} cycles ({parts}) for {detect['candidates']:,} "
            f"candidates and {detect['boxes']:,} boxes; {detect['alone']:,} of all cycles are its "
            "own, not hidden behind other layers")
        boxes += [f"on {name}: {busy:,} cycles for {seen:,} candidates and {kept:,} boxes"
                  for name, (busy, seen, kept) in list(found.get("crowds", {}).items())[1:]]
    return [
        f"{found['model']}: {found['macs'] / 1e6:.1f} M MACs, {found['cycles']:,} cycles, "
        f"{found['utilisation']:.1%} of {found['mac_per_cycle']} MAC/cycle, "
        f"{found['fps']:.1f} frames/s, {found['bytes'] / 1e6:.2f} MB of DDR traffic",
        f"preset {found['preset']} at {found['clock_mhz']:g} MHz; {found['ddr']}; "
        "simulated, not silicon",
        *boxes,
        f"{devices} on {found['images']} image(s); {made}simulated in {found['simulate_s']} s",
    ]


def markdown(found: dict[str, Any]) -> str:
    """The same as Markdown."""
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    table = [line(_COLUMNS), line(["---"] * len(_COLUMNS)), *(line(r) for r in rows(found))]
    return "\n\n".join([*headline(found), "\n".join(table)]) + "\n"


ModelArgument = Annotated[str, typer.Argument(help="Zoo name, QDQ ONNX or program file.")]
Images = Annotated[int, typer.Option(min=1, help="Photographs to compare the devices on.")]


def bench(
    model: ModelArgument,
    preset_name: PresetName = None,
    images: Images = 1,
    as_json: Json = False,
    page: Page = None,
) -> None:
    """Measure a network on the RTL: cycles, utilisation, frame rate, layer by layer.

    Example: falconet bench mobilenetv2 --preset pynq-z2
    """
    found, program, _ = measure(model, preset_name, images)
    if page is not None:
        name = f"{found['model']} {program.arch.name}"
        text = (f"## {found['model']} on {program.arch.name}\n\n"
                f"`falconet bench {model} --preset {preset_name or program.arch.name} "
                f"--images {images}` at commit {revision()}.\n\n{markdown(found)}")
        put_section(page, name, text)
    if as_json:
        print_json(found)
    else:
        results.print(layer_table(found))
        for line in headline(found):
            results.print(line)
    if found["different"]:
        raise FalconetError(found["different"][0])


def register(app: typer.Typer) -> None:
    app.command("bench")(bench)
