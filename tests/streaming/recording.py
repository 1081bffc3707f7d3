"""What each thread of a stream did when, and a drawing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from paced import Bytes, PacedBoard

from falconet.runtime.driver import Driver
from falconet.runtime.stream import stream

STAGES = {"read": "#9aa5b1", "prepare": "#e59f3a", "machine": "#3b6fb6", "objects": "#58a066"}
LABELS = {"read": "reader:\nphotograph", "prepare": "preparer:\nscale, to memory",
          "machine": "machine", "objects": "machine's thread:\nobjects"}


@dataclass
class Recording:
    """``spans[stage]`` has when each frame was begun and done, ``handed`` when its result came."""

    spans: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {s: [] for s in STAGES})
    handed: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.handed)

    def seconds(self, stage: str) -> float:
        """What a frame takes of a stage: the median."""
        return float(np.median([end - begin for begin, end in self.spans[stage]]))

    @property
    def late(self) -> list[float]:
        """Seconds from a frame's photograph to its result."""
        return [h - end for h, (_, end) in zip(self.handed, self.spans["read"])]

    @property
    def rate(self) -> float:
        """Results a second once it runs, the first five aside."""
        return (len(self) - 6) / (self.handed[-1] - self.handed[5])

    @property
    def limit(self) -> tuple[str, float]:
        """The stage that takes longest, and the frames a second that it could do."""
        stage = max(STAGES, key=self.seconds)
        return stage, 1 / self.seconds(stage)


def record(machine: Driver, board: PacedBoard, source: Iterator[Bytes]) -> Recording:
    """Stream ``source`` to its end."""
    out = Recording()
    usual, spans = (machine.stage_photograph, machine.seen), out.spans

    def timed(stage: str, call: Any) -> Any:
        def with_time(*given: Any) -> Any:
            begin = time.perf_counter()
            made = call(*given)
            spans[stage].append((begin, time.perf_counter()))
            return made
        return with_time

    def read() -> Iterator[Bytes]:
        take = timed("read", lambda: next(source, None))
        while (photograph := take()) is not None:
            yield photograph

    machine.stage_photograph = timed("prepare", usual[0])  # type: ignore[method-assign]
    machine.seen = timed("objects", usual[1])  # type: ignore[method-assign]
    board.runs.clear()
    try:
        for shown in stream(machine, read()):
            out.handed.append(time.perf_counter())
            assert int(shown.name) == len(out) - 1
    finally:
        machine.stage_photograph, machine.seen = usual  # type: ignore[method-assign]
    spans["machine"] = list(board.runs)
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
