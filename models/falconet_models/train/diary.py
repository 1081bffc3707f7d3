"""What a run says while it goes: bar, line for each epoch, history file, TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from falconet.isa.files import store

__all__ = ["HISTORY", "Diary", "read_history"]

HISTORY = "history.jsonl"


def read_history(folder: Path) -> list[dict[str, Any]]:
    """A row for each epoch; none where nothing was trained."""
    path = folder / HISTORY
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


class Diary:
    """Only the first process has a folder; the others keep silent."""

    def __init__(self, folder: Path | None, rows: list[dict[str, Any]]) -> None:
        self.folder, self.rows = folder, list(rows)
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=folder is None)
        self.bar = Progress(
            TextColumn("  {task.description:<28}", markup=False), BarColumn(24),
            MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[said]}", markup=False), console=self.console, transient=True,
            disable=not self.console.is_terminal)
        self.board: SummaryWriter | None = None
        if folder is not None:
            self.board = SummaryWriter(str(folder / "tensorboard"),
                                       purge_step=len(rows))
            self._write()  # rows after the checkpoint are learned again

    def _write(self) -> None:
        assert self.folder is not None
        store(self.folder / HISTORY, "".join(json.dumps(r) + "\n" for r in self.rows).encode())

    def add(self, row: dict[str, Any], epochs: int) -> None:
        """The figures of one epoch."""
        if self.folder is None or self.board is None:
            return
        step = len(self.rows)
        self.rows.append(row)
        self._write()
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "epoch":
                self.board.add_scalar(f"{row['phase']}/{name}", value, step)
        self.board.flush()
        shown = f"  {row['phase']:<10} {row['epoch'] + 1:>4}/{epochs}"
        for name in ("loss", "loss_class", "loss_box", "map50", "map50_95"):
            if name in row:
                shown += f"  {name.removeprefix('loss_')} {row[name]:.4f}"
        self.console.print(f"{shown}  {row['seconds']:.0f} s", markup=False)

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
