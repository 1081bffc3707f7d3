"""``falconet samples``: what the board's notebook begins with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from falconet.commands.console import results, working
from falconet.commands.sources import image_of, program_of
from falconet.isa import BOARDS, Host
from falconet.samples import HOME, NOTEBOOK

__all__ = ["PHOTOGRAPHS", "register"]

PHOTOGRAPHS = ("astronaut", "faces_small", "faces_medium", "faces_large")
MODEL = "retinaface"


def samples(
    folder: Annotated[
        Path, typer.Argument(help="Where to; by default the package, so that a wheel has them.")
    ] = HOME,
) -> None:
    """Make the programs and photographs of the notebook, for all boards that run Linux."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for preset in dict.fromkeys(b.preset for b in BOARDS.values() if b.host is not Host.UART):
        path = folder / f"{MODEL}-{preset}.flc"
        program_of(MODEL, preset).save(path)
        results.print(f"{path}: {path.stat().st_size:,} bytes")
    for name in PHOTOGRAPHS:
        path = folder / f"{name}.png"
        with working(f"write {path.name}"):
            Image.fromarray(image_of(name)).save(path)
        results.print(f"{path}: {path.stat().st_size:,} bytes")
    notebook = Path("notebooks") / NOTEBOOK
    if notebook.is_file():
        shutil.copyfile(notebook, folder / NOTEBOOK)
        results.print(f"{folder / NOTEBOOK}")


def register(app: typer.Typer) -> None:
    app.command("samples")(samples)
