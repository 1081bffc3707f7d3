"""What each thread of a stream did when, and a drawing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from paced import Bytes, PacedBoard

from falconet.runtime import stream as module
from falconet.runtime.driver import Driver

FIRST = 6
"""Frames that a stream needs to get going."""
STAGES = {"read": "#9aa5b1", "prepare": "#e59f3a", "machine": "#3b6fb6", "objects": "#58a066"}
LABELS = {"read": "reader:\nphotograph", "prepare": "preparer:\nscale, to memory",
          "machine": "machine", "objects": "machine's thread:\nobjects"}


@dataclass
class Recording:
    """``spans[stage]`` has when each frame was begun and done, ``handed`` when its result came.

    ``born`` has when a camera gave it.
    """

    spans: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {s: [] for s in STAGES})
    handed: list[float] = field(default_factory=list)
    born: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.handed)

    def seconds(self, stage: str) -> float:
        """What a frame takes of a stage, on average; the first ones aside."""
        return float(np.mean([end - begin for begin, end in self.spans[stage][FIRST:]]))

    @property
    def late(self) -> list[float]:
        """Seconds from a camera's photograph to its result."""
        return [h - b for h, b in zip(self.handed, self.born, strict=True)]

    @property
    def rate(self) -> float:
        """Results a second, the first ones aside."""
        return (len(self) - FIRST) / (self.handed[-1] - self.handed[FIRST - 1])

    @property
    def limit(self) -> tuple[str, float]:
        """The stage that takes longest, and the frames a second that it could do."""
        stage = max(STAGES, key=self.seconds)
        return stage, 1 / self.seconds(stage)


def record(machine: Driver, board: PacedBoard, source: Any) -> Recording:
    """Stream ``source`` to its end."""
    out = Recording()
    usual, spans = (machine.stage_photograph, machine.seen, module.photographs), out.spans

    def timed(stage: str, call: Any) -> Any:
        def with_time(*given: Any) -> Any:
            begin = time.perf_counter()
            made = call(*given)
            spans[stage].append((begin, time.perf_counter()))
            return made
        return with_time

    def read(source: Any) -> Iterator[tuple[str, Bytes]]:
        found = usual[2](source)
        take = timed("read", lambda: next(found, None))
        while (photograph := take()) is not None:
            yield photograph

    module.photographs = read
    machine.stage_photograph = timed("prepare", usual[0])
    machine.seen = timed("objects", usual[1])
    board.runs.clear()
    try:
        for _ in module.stream(machine, source):
            out.handed.append(time.perf_counter())
    finally:
        machine.stage_photograph, machine.seen, module.photographs = usual
    spans["read"].pop()  # the end
    spans["machine"] = list(board.runs)
    assert {len(s) for s in spans.values()} == {len(out)}
    return out


def draw(panels: list[tuple[str, Recording, range, int]], file: Path) -> None:
    """One panel for each ``(title, recording, frames, first)``, one above the other.

    Time is from the first frame's photograph on; frame ``first`` is called 1.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(panels), figsize=(9, 2.35 * len(panels)), squeeze=False,
                                layout="constrained")
    for ax, (title, recording, frames, first) in zip(axes[:, 0], panels):
        _panel(ax, recording, frames, first)
        ax.set_title(title, fontsize=10, loc="left")
    axes[-1, 0].set_xlabel("milliseconds")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _panel(ax: Any, recording: Recording, numbers: range, first: int) -> None:
    zero = recording.spans["read"][numbers[0]][1]
    length = 1.05e3 * (recording.handed[numbers[-1]] - zero)
    for row, (stage, colour) in enumerate(STAGES.items()):
        for place, n in enumerate(numbers):
            begin, end = (1e3 * (t - zero) for t in recording.spans[stage][n])
            wide = max(end - begin, 0.003 * length)
            broad = wide > 0.01 * length
            ax.barh(row, wide, left=begin, height=0.7, color=colour, edgecolor="white",
                    linewidth=0.6 if broad else 0, alpha=1.0 if place % 2 == 0 else 0.75)
            if wide > 0.025 * length and begin >= 0:
                ax.text(begin + wide / 2, row, str(n - first + 1), ha="center", va="center",
                        fontsize=7, color="white")
    row = len(STAGES)
    for n in numbers:
        ax.plot(1e3 * (recording.handed[n] - zero), row, "v", color="#b03a48", markersize=5)
    ax.set_yticks(range(row + 1), [*LABELS.values(), "result"], fontsize=8)
    ax.set_xlim(-0.02 * length, length)
    ax.invert_yaxis()
    ax.grid(axis="x", color="#dddddd", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
