"""The commands, one module for each group; they import what they need when they run."""

from __future__ import annotations

import typer

from falconet.commands import (
    accuracy,
    bitstreams,
    build,
    classify,
    comparison,
    data,
    demo,
    detect,
    figures,
    inspection,
    running,
    samples,
    studies,
    training,
    worst_case,
)

__all__ = ["app"]

app = typer.Typer(
    name="falconet",
    help="From a quantised network to boxes, on an open accelerator or its simulators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (
    build, inspection, running, detect, classify, demo, comparison, figures, worst_case, accuracy,
    bitstreams, samples, data, training, studies,
):
    group.register(app)
