"""What the user sees: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Step", "print_json", "results", "status", "working"]

_WORTH_A_LINE = 0.5  # seconds

# A line that is wider than the terminal goes on in the next one: nothing is cut off.
results = Console(highlight=False, soft_wrap=True, markup=False, width=1000)
status = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output, whatever the terminal."""
    print(json.dumps(value, indent=2))


class Step:
    """A long step under way."""

    def __init__(self, bar: Progress, what: str) -> None:
        self._bar = bar
        self.skipped = False
        self._task = bar.add_task(what, total=None)

    def skip(self) -> None:
        """There was nothing to do: the step leaves no line."""
        self.skipped = True

    def share(self, done: float) -> None:
        """``done`` of it, in [0, 1], is finished."""
        self._bar.update(self._task, total=1.0, completed=done)

    def line(self, text: str) -> None:
        """A line of results on standard output, above the bar."""
        print(text, flush=True)


@contextmanager
def working(what: str) -> Iterator[Step]:
    """Show that a long step is under way.

    On a terminal a bar, replaced by one line with the time taken; elsewhere that line alone. A step
    that took no time to speak of leaves nothing.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    began = time.perf_counter()
    columns = (TextColumn("  {task.description:<44}", markup=False), BarColumn(24),
               TimeElapsedColumn())
    with Progress(*columns, console=status, transient=True, disable=not status.is_terminal,
                  redirect_stdout=sys.stdout.isatty()) as bar:  # what goes to a pipe stays there
        step = Step(bar, what)
        yield step
    seconds = time.perf_counter() - began
    if seconds >= _WORTH_A_LINE and not step.skipped:
        status.print(f"  {what:<44} {seconds:6.1f} s", markup=False)
