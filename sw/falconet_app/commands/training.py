"""``falconet train`` and ``falconet export``: from images to a network to run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError
from falconet.isa.files import check_place, keep_inputs, written
from falconet_app.commands.console import results, status, working

__all__ = ["ONNX", "SPLIT", "register", "write_network"]

ONNX = "model.onnx"
SPLIT = "test"
"""What a network is judged on, unless it is said."""


def train(
    dataset: Annotated[str, typer.Argument(
        help="VOC, COCO or YOLO folder, a YOLO data.yaml, or 'digits', which needs no download.")],
    out: Annotated[Path, typer.Option("-o", "--out", file_okay=False, help="Folder of the run.")],
    quick: Annotated[bool, typer.Option("--quick", help="Minutes instead of most of an hour.")]
    = False,
    config: Annotated[str | None, typer.Option(help="A recipe: YAML file or built-in name.")]
    = None,
    val: Annotated[str, typer.Option(help="Split that judges every epoch.")] = "val",
    teacher: Annotated[str | None, typer.Option(help="Distil from this run or checkpoint.")]
    = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run that is in --out.")]
    = False,
) -> None:
    """Train a detector: in float, then as the machine computes, then export it.

    The same command goes on with a run that was stopped. Several GPUs or machines: torchrun
    --nproc-per-node N -m falconet train ...

    Example: falconet train digits --quick --out runs/digits
    """
    from falconet_models.datasets import open_dataset
    from falconet_models.train.recipe import Recipe, choose

    if config and quick:
        raise FalconetError("--quick and --config both choose a recipe; leave one of them out")
    learned, judged = open_dataset(dataset, "train"), open_dataset(dataset, val)
    if learned.labels != judged.labels:
        raise FalconetError(f"{dataset}: the splits train and {val} have other classes; make them "
                            "the same")
    name = config or choose(learned, quick=quick)
    recipe = _changed(Recipe.load(name), teacher, seed)
    check_place(out / ONNX)
    # PyTorch takes seconds to import: after what is refused at once.
    from falconet_models.train.loop import Trainer, together

    with together() as (rank, world):
        if fresh and rank == 0 and out.exists():
            _delete(out)
        if rank == 0:
            status.print(f"  recipe {name}: {len(learned):,} images to train, {len(judged):,} to "
                         f"judge, {len(learned.labels)} classes", markup=False)
        made = Trainer(recipe, learned, judged, out, rank=rank, world=world).run()
        if rank:
            return
    known = {"data": dataset} if dataset == "digits" else {}
    write_network(out, out / ONNX, **known)
    for phase in ("float", "quantised"):
        if made[phase] is not None:
            results.print(f"{phase:<10} mAP@0.5 {made[phase]['map50']:.4f}  mAP@0.5:0.95 "
                          f"{made[phase]['map50_95']:.4f}  (split {val})")
    results.print(f"{made['seconds'] / 60:.1f} min; network: {out / ONNX}")
    results.print(f"next: {shlex.join(_next(out, dataset, val))}")
    note = {"data": dataset if dataset == "digits" else os.path.abspath(dataset), "val": val}
    with written(out / "data.json") as part:
        part.write_text(json.dumps(note) + "\n", encoding="utf-8")


def _changed(recipe: Any, teacher: str | None, seed: int | None) -> Any:
    """The recipe with what the command line says in place of its own."""
    from dataclasses import replace

    if teacher is not None:
        recipe = replace(recipe, distil=replace(recipe.distil, teacher=teacher))
    return recipe if seed is None else replace(recipe, seed=seed)


def _delete(out: Path) -> None:
    """Only what is a run, or empty."""
    if any(out.iterdir()) and not (out / "recipe.yaml").is_file():
        raise FalconetError(f"{out}: not the folder of a run, so it is not deleted; choose another")
    shutil.rmtree(out)


def _next(out: Path, dataset: str, val: str) -> list[str]:
    """The command that judges the run; on the split ``val`` if there is none for tests."""
    from falconet_models.datasets import open_dataset

    command = ["falconet", "eval", str(out), "--data", dataset, "--device", "golden"]
    try:
        open_dataset(dataset, SPLIT)
    except FalconetError:
        return [*command, "--split", val]
    return command


def write_network(source: Path, target: Path, **meta: Any) -> None:
    """The quantised network of a run or checkpoint as ONNX; ``meta``: more on its training."""
    from falconet_models.networks.export import export as write
    from falconet_models.train.checkpoints import load_detector

    detector, about = load_detector(source, "quantised")
    with written(target) as part, working("export"):
        write(detector, part, training={**about, **meta})


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its quantised.pt.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="ONNX file to write.")]
    = None,
) -> None:
    """Write a trained network as the QCDQ ONNX file that 'falconet compile' takes.

    Example: falconet export runs/digits --output digits.onnx
    """
    target = output or (run if run.is_dir() else run.parent) / ONNX
    keep_inputs([run], [target])
    check_place(target)
    write_network(run, target)
    results.print(f"{target}: {target.stat().st_size:,} bytes; next: falconet compile {target}")


def register(app: typer.Typer) -> None:
    app.command("train")(train)
    app.command("export")(export)
