"""``falconet samples``: what the board's notebook begins with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from falconet.isa import BOARDS
from falconet.isa.files import written
from falconet.samples import HOME, NOTEBOOK
from falconet_app.commands.console import results, working
from falconet_app.commands.sources import image_of, program_of

__all__ = ["PHOTOGRAPHS", "register"]

PHOTOGRAPHS = ("astronaut", "faces_small", "faces_medium", "faces_large")
MODEL = "retinaface"


def samples(
    folder: Annotated[
        Path, typer.Argument(file_okay=False,
                             help="Where to; by default the package, so that a wheel has them.")
    ] = HOME,
) -> None:
    """Make the programs and photographs of the notebook, for all boards that run Linux.

    Example: falconet samples notebook
    """
    from PIL import Image

    for preset in dict.fromkeys(b.preset for b in BOARDS.values() if b.linux):
        path = folder / f"{MODEL}-{preset}.flc"
        with written(path) as part:
            program_of(MODEL, preset).save(part)
        results.print(f"{path}: {path.stat().st_size:,} bytes")
    for name in PHOTOGRAPHS:
        path = folder / f"{name}.png"
        with written(path) as part, working(f"write {path.name}"):
            Image.fromarray(image_of(name)).save(part)
        results.print(f"{path}: {path.stat().st_size:,} bytes")
    notebook = Path("notebooks") / NOTEBOOK
    if notebook.is_file():
        with written(folder / NOTEBOOK) as part:
            shutil.copyfile(notebook, part)
        results.print(f"{folder / NOTEBOOK}")


def register(app: typer.Typer) -> None:
    app.command("samples")(samples)
