"""The commands, one module for each group; they import what they need when they run."""

from __future__ import annotations

import re
import shutil
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from falconet.commands import (
    accuracy,
    bitstreams,
    build,
    classify,
    comparison,
    data,
    detect,
    figures,
    inspection,
    listing,
    report,
    running,
    samples,
    studies,
    training,
    worst_case,
)
from falconet.isa import near

__all__ = ["Stopped", "app"]

_WIDEST = 100
_CHOICE = re.compile(r"'(.*)' is not one of (.*?)\.?$", re.DOTALL)


class Stopped(Exception):
    """A command was stopped by its cause, which typer would answer in its own way."""


class _Commands(TyperGroup):
    """The commands; a choice that does not exist is answered with the nearest one that does."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """All of each summary, however narrow the terminal."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(1000))
                                for name in self.list_commands(ctx)
                                if (command := self.get_command(ctx, name)) is not None])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, EOFError, OSError) as e:
            raise Stopped from e
        except Exception as e:  # a usage error; typer's class of it has no public name
            wrong = _CHOICE.search(str(getattr(e, "message", "")))
            if wrong is not None:
                hint = near(wrong[1], re.findall(r"'(.+?)'", wrong[2]))
                e.message = f"{wrong[0].rstrip('.')}. {hint.capitalize()}".strip()  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    name="falconet",
    cls=_Commands,
    rich_markup_mode=None,  # rich's help cuts words off where there is no room
    context_settings={"terminal_width": min(shutil.get_terminal_size().columns, _WIDEST)},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import version

    from falconet.commands.pages import revision

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
    build, inspection, running, detect, classify, comparison, figures, report, worst_case,
    accuracy, bitstreams, samples, data, training, studies, listing,
):
    group.register(app)
