"""What falconet adds to typer's groups of commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from falconet.isa import near

__all__ = ["App", "Commands", "Group", "Stopped"]

_F = TypeVar("_F", bound=Callable[..., Any])
_CHOICE = re.compile(r"'(.*)' is not one of (.*?)\.?$", re.DOTALL)


class Stopped(Exception):
    """A command was stopped by its cause, which typer would answer in its own way."""


_ClickContext: Any = TyperGroup.context_class  # click's, or typer's own copy of it


class _Formatter(_ClickContext.formatter_class):  # type: ignore[misc]
    """On a narrow terminal what is said of an option begins on a line of its own."""

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class _Context(_ClickContext):  # type: ignore[misc]
    formatter_class = _Formatter


class _Command(TyperCommand):
    context_class = _Context


class App(typer.Typer):
    """Commands and groups with such a help."""

    def command(self, name: str | None = None, **more: Any) -> Callable[[_F], _F]:
        return super().command(name, **{"cls": _Command, **more})


class Group(TyperGroup):
    """A group whose help shows all of each command's summary, however narrow the terminal."""

    context_class = _Context

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(1000))
                                for name in self.list_commands(ctx)
                                if (command := self.get_command(ctx, name)) is not None])


class Commands(Group):
    """All commands. A choice that does not exist is answered with the nearest one that does."""

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
