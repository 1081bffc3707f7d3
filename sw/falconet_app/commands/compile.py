"""``falconet quantize`` and ``falconet compile``: files in, files out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from falconet.isa import FalconetError, output_folder, preset
from falconet.isa.files import keep_inputs, written
from falconet_app.commands.console import print_json, results, status, working
from falconet_app.commands.sources import DEFAULT_PRESET, Post, Preset, compiled, quantised_of

if TYPE_CHECKING:
    from falconet.compiler.schedule.search import Try

__all__ = ["register"]

_WORST = 8

Heads = Annotated[
    Path | None, typer.Option(help="JSON file that describes a detector's heads, in place of the "
                                   "model's own description.")
]


def quantize(
    model: Annotated[str, typer.Argument(help="A float ONNX file, or a network of the zoo.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The QDQ ONNX file.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of photographs to calibrate on.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Built-in photographs, if no folder.")] = 32,
    method: Annotated[
        str, typer.Option(help="How ranges are chosen: mse, percentile, entropy, minmax, or the "
                               "best of them on photographs that are held back.")
    ] = "best",
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from the pixels (0 to 255): one number, or one "
                                      "a channel, e.g. 123.7,116.3,103.5.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Divides the pixels after that.")] = None,
    colour: Annotated[str | None, typer.Option(help="RGB, BGR or GRAY.")] = None,
    fit: Annotated[str | None, typer.Option(help="letterbox, crop or stretch.")] = None,
    heads: Heads = None,
    detect: Annotated[bool, typer.Option(help="Whether a detector's tail is looked for.")] = True,
    keep_outliers: Annotated[bool, typer.Option(
        "--keep-outliers", help="Calibrate on photographs unlike all others too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Quantise a float network to int8, calibrated on photographs.

    Pre-processing is the model's own; the options replace parts of it. A detector ends at its
    heads: its tail is recognised, proved against the file, and cut off. The tensors that lost most
    are listed, the worst first; what is hardly what it was is warned of.

    Example: falconet quantize float.onnx --calibration photos --output int8.onnx
    """
    from falconet_models.data import calibration_images
    from falconet_models.metadata import get_meta
    from falconet_models.ptq.fidelity import Report
    from falconet_models.ptq.quantize import quantize as quantize_model
    from falconet_models.ptq.quantize import read_folder
    from falconet_models.zoo import build

    path = Path(model)
    if not path.is_file() and (path.suffix or "/" in model):
        raise FalconetError(f"{model}: no such file; give a float ONNX file or a zoo name")
    source = path if path.is_file() else build(model)
    target = output or output_folder() / f"{path.stem if path.is_file() else model}-int8.onnx"
    keep_inputs([Path(model), *([heads] if heads else [])], [target])
    photographs = calibration_images(model, images) if calibration is None else (
        read_folder(calibration)
    )
    given = {"mean": mean and mean.split(","), "std": std and std.split(","), "colour": colour,
             "fit": fit}
    told: list[str | Report] = []
    with written(target) as part, working(
            f"quantise {model} on {len(photographs)} images") as step:
        made = quantize_model(source, photographs, part, method=method,
                              preprocess={k: v for k, v in given.items() if v}, heads=heads,
                              detect=detect, keep_outliers=keep_outliers, recognised=told.append,
                              report=told.append, progress=lambda stage, share: step.share(share))
    _tell(target, get_meta(made)["preprocess"], *told, as_json=as_json)


def _tell(target: Path, used: Mapping[str, Any], *told: Any, as_json: bool) -> None:
    """What was made; of which heads, if any were recognised; and what was lost.

    The last of ``told`` is a :class:`falconet_models.ptq.fidelity.Report`.
    """
    *heads, report = told
    if as_json:
        print_json({"file": str(target), "bytes": target.stat().st_size, "preprocess": used,
                    "heads": heads, **report.to_json()})
    else:
        _show(report)
        for line in heads:
            results.print(f"heads: {line}", markup=False)
        results.print(f"{target}: {target.stat().st_size:,} bytes; input: {_preprocessing(used)}")
    for sentence in report.warnings():
        status.print(f"warning: {sentence}", markup=False)


def _show(report: Any) -> None:
    """The tensors that lost most."""
    from rich.table import Table

    table = Table(box=None)
    for name in ("worst tensors", "dB", "levels of 256", "range"):
        table.add_column(name, justify="left" if name in ("worst tensors", "range") else "right")
    for t in report.worst(_WORST):
        table.add_row(t.tensor, f"{t.snr_db:.1f}", str(t.levels), f"{t.low:.4g} to {t.high:.4g}")
    results.print(table)


def _preprocessing(used: Mapping[str, Any]) -> str:
    """What was done to the photographs, in words: a wrong one costs all accuracy, silently."""
    def numbers(values: Iterable[float]) -> str:
        each = [f"{v:g}" for v in values]
        return each[0] if len(set(each)) == 1 else f"({', '.join(each)})"

    height, width = used["size"]
    return (f"{used['fit']} to {width} x {height}, {used['colour']}, "
            f"(pixel - {numbers(used['mean'])}) / {numbers(used['std'])}")


def compile_(
    model: Annotated[str, typer.Argument(help="A QDQ ONNX file, or a network of the zoo.")],
    preset_name: Preset = DEFAULT_PRESET,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Program file.")] = None,
    post: Annotated[
        Post, typer.Option(help="Who makes boxes of a detector's heads.")
    ] = Post.machine,
    heads: Heads = None,
    explain: Annotated[bool, typer.Option(
        "--explain", help="List the ways to schedule it that were tried, and their estimates.")
    ] = False,
) -> None:
    """Compile a quantised network to a program for one machine.

    Example: falconet compile int8.onnx --preset pynq-z2 --output net.flc
    """
    arch = preset(preset_name)
    description = None
    if heads is not None:
        from falconet_models.ptq.head_cut import load_heads

        description = load_heads(heads)
    source = quantised_of(model)
    name = Path(model).stem if Path(model).is_file() else model
    target = output or output_folder() / f"{name}-{arch.name}.flc"
    keep_inputs([source, Path(preset_name), *([heads] if heads else [])], [target])
    tries: list[Try] = []
    with written(target) as part:
        program = compiled(source, arch, name, post=post, heads=description,
                           tried=tries.append if explain else None)
        program.save(part)
    if explain:
        _explain(tries)
    results.print(
        f"{target}: {program.n_instructions:,} instructions, {target.stat().st_size:,} bytes, "
        f"for {arch.name}")


def _explain(tries: list[Try]) -> None:
    """Each policy in the order of the tries: what it decides, its estimate, and which one won."""
    from rich.table import Table

    best = min((t.cycles for t in tries if t.cycles is not None), default=None)
    won = next((t for t in tries if t.cycles == best), None)
    table = Table(box=None)
    for name, justify in (("first", "left"), ("tile", "right"), ("slack", "right"),
                          ("ahead", "right"), ("through DDR", "right"), ("estimate", "right"),
                          ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for t in tries:
        p = t.policy
        table.add_row(
            p.order.value, str(p.tile), str(p.slack), str(p.ahead),
            "-" if p.spill == math.inf else f"> 1/{1 / p.spill:.0f}",
            "-" if t.cycles is None else f"{t.cycles:,}",
            "taken" if t is won else "does not fit" if t.cycles is None else "")
    results.print(table)


def register(app: typer.Typer) -> None:
    app.command("quantize")(quantize)
    app.command("compile")(compile_)
