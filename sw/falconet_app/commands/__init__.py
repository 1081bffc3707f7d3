"""The commands, one module for each group; they import what they need when they run."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from falconet_app.commands import (
    accuracy,
    bitstreams,
    checking,
    classify,
    comparison,
    compile,
    data,
    demo,
    detect,
    estimate,
    figures,
    inspection,
    judging,
    listing,
    report,
    running,
    samples,
    studies,
    timing,
    training,
    wave,
    worst_case,
)
from falconet_app.commands.app import App, Commands, Stopped

__all__ = ["Stopped", "app"]

_WIDEST = 100

app = App(
    name="falconet",
    cls=Commands,
    rich_markup_mode=None,  # rich's help cuts words off where there is no room
    context_settings={"terminal_width": min(shutil.get_terminal_size().columns, _WIDEST)},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import version

    from falconet_app.commands.pages import revision

    commit = revision()
    typer.echo(f"falconet {version('falconet')}"
               + (f", commit {commit}" if commit != "unknown" else ""))
    raise typer.Exit


@app.callback()
def falconet(
    version: Annotated[bool, typer.Option(
        "--version", is_eager=True, callback=_version,
        help="Show the version, and the commit of a checkout.")] = False,
) -> None:
    """From a quantised network to boxes, on an open accelerator or its simulators.

    Example: falconet detect astronaut --output boxes.png
    """


for group in (
    checking, compile, inspection, running, detect, classify, demo, comparison, wave, estimate,
    figures, report, worst_case, accuracy, timing, bitstreams, samples, data, training, judging,
    studies, listing,
):
    group.register(app)
