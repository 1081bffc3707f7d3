"""Waves as a picture: clocks to the right, a row for a signal, the rows of a block together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from falconet.isa import FalconetError
from falconet_sim.wave.vcd import Recording, Wave

__all__ = ["MOST", "Row", "draw", "rows_of"]

MOST = 60
"""Rows of a picture that can be read."""

_CYCLE, _HIGH, _ROW, _SIZE = 36, 14, 24, 11
"""Pixels: a cycle, a high level over a low one, from row to row, the letters."""

_INK, _PALE, _WIRE, _BUS, _BLOCK = "#1b1b1b", "#d8d8d8", "#0072b2", "#e8f1f8", "#f2f2f2"
_LETTER = 0.6 * _SIZE  # width of a letter, all of one width

Point = tuple[float, float]
Labels = Mapping[str, Callable[[int], str]]
"""By the name of a signal: how its values are written."""


@dataclass(frozen=True)
class Row:
    """A signal, what it is called, and how its values are written."""

    wave: Wave
    name: str
    label: Callable[[int], str]


@dataclass
class _Canvas:
    """Lines, areas and texts, in pixels from the upper left corner."""

    width: float = 0
    height: float = 0
    areas: list[tuple[Sequence[Point], str, str]] = field(default_factory=list)
    lines: list[tuple[Sequence[Point], str, float]] = field(default_factory=list)
    texts: list[tuple[Point, str, str, str]] = field(default_factory=list)

    def svg(self) -> str:
        """Always the same text of the same picture."""
        def points(path: Sequence[Point]) -> str:
            return " ".join(f"{x:g},{y:g}" for x, y in path)

        size = f"{self.width:g} {self.height:g}"
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
            f'width="{self.width:g}" height="{self.height:g}" font-family="monospace" '
            f'font-size="{_SIZE}"><rect width="100%" height="100%" fill="#fff"/>',
            *(f'<polygon points="{points(p)}" fill="{fill}" stroke="{edge}"/>'
              for p, fill, edge in self.areas),
            *(f'<polyline points="{points(p)}" fill="none" stroke="{ink}" stroke-width="{wide:g}"/>'
              for p, ink, wide in self.lines),
            *(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
              for (x, y), text, anchor, weight in self.texts),
            "</svg>\n"])

    def save_png(self, file: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Polygon

        dpi = 100
        figure = Figure((self.width / dpi, self.height / dpi), dpi=dpi, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")
        pixel = 72 / dpi
        for path, fill, edge in self.areas:
            axes.add_patch(Polygon(path, facecolor=fill, edgecolor=edge, linewidth=pixel))
        for path, ink, wide in self.lines:
            axes.plot(*zip(*path), color=ink, linewidth=wide * pixel, solid_capstyle="butt")
        for (x, y), text, anchor, weight in self.texts:
            axes.text(x, y, text, color=_INK, family="monospace", size=_SIZE * pixel,
                      ha={"start": "left", "middle": "center", "end": "right"}[anchor],
                      va="baseline", weight="bold" if weight else "normal", parse_math=False)
        figure.savefig(file, format="png")


def _hex(width: int) -> Callable[[int], str]:
    return lambda value: f"{value:0{-(-width // 4)}x}"


def rows_of(recording: Recording, labels: Labels | None = None) -> list[tuple[str, list[Row]]]:
    """Rows by block. What all blocks begin with is left out of their names.

    ``labels``: of signals (by the end of their path) that are not to be written as hex.
    """
    paths = [w.name.block for w in recording.waves]
    shared = 0
    while paths and all(len(p) > shared + 1 and p[shared] == paths[0][shared] for p in paths):
        shared += 1
    blocks: dict[str, list[Row]] = {}
    for wave in recording.waves:
        name = wave.name
        own = [f for end, f in (labels or {}).items() if name.path.endswith(end)]
        row = Row(wave, name.signal.replace("__", "."), own[0] if own else _hex(name.width))
        blocks.setdefault(".".join(name.block[shared:]), []).append(row)
    return list(blocks.items())


def _fitted(text: str, room: float) -> str:
    """As much of a value as there is room for: its lower digits."""
    fits = int((room - 6) / _LETTER)
    return text if len(text) <= fits else f"…{text[1 - fits:]}" if fits > 2 else ""


def _bit(canvas: _Canvas, values: Sequence[int | None], left: float, top: float) -> None:
    path: list[Point] = []
    for i, value in enumerate(values):
        if value is None:
            if path:
                canvas.lines.append((path, _WIRE, 1.6))
                path = []
            continue
        y = top + (0 if value else _HIGH)
        path += [(left + i * _CYCLE, y), (left + (i + 1) * _CYCLE, y)]
    if path:
        canvas.lines.append((path, _WIRE, 1.6))


def _bus(canvas: _Canvas, row: Row, left: float, top: float) -> None:
    values, at = row.wave.values, 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at]:
            end += 1
        x0, x1, middle = left + at * _CYCLE, left + end * _CYCLE, top + _HIGH / 2
        value = values[at]
        slant = min(3, (x1 - x0) / 4)
        canvas.areas.append(([
            (x0, middle), (x0 + slant, top), (x1 - slant, top), (x1, middle),
            (x1 - slant, top + _HIGH), (x0 + slant, top + _HIGH)], _BUS if value is not None
            else _PALE, _WIRE))
        text = _fitted("?" if value is None else row.label(value), x1 - x0)
        canvas.texts.append((((x0 + x1) / 2, top + _HIGH - 3), text, "middle", ""))
        at = end


def draw(recording: Recording, file: Path, labels: Labels | None = None) -> None:
    """Write the picture, an SVG or (with matplotlib) a PNG, by the suffix of ``file``.

    Raises
    ------
    FalconetError
        There are more rows than can be read, or none.
    """
    count = len(recording.waves)
    if not 0 < count <= MOST:
        raise FalconetError(f"{count} signals are no picture; name 1 to {MOST} with --signals")
    blocks = rows_of(recording, labels)
    longest = max(len(r.name) + 2 for _, rows in blocks for r in rows)
    longest = max([longest, *(len(block) for block, _ in blocks)])
    left, canvas = 16 + longest * _LETTER, _Canvas()
    canvas.width = left + recording.cycles * _CYCLE + 16
    top = 26.0
    for block, rows in blocks:
        canvas.areas.append(([(0, top), (canvas.width, top), (canvas.width, top + 18),
                              (0, top + 18)], _BLOCK, _BLOCK))
        canvas.texts.append(((8, top + 13), block, "start", ' font-weight="bold"'))
        top += 24
        for row in rows:
            canvas.texts.append(((left - 8, top + _HIGH - 3), row.name, "end", ""))
            if row.wave.name.width == 1:
                _bit(canvas, row.wave.values, left, top)
            else:
                _bus(canvas, row, left, top)
            top += _ROW
    canvas.height = top + 4
    # A number at every fifth clock, a line at every one, under what is drawn.
    grid = [([(left + i * _CYCLE, 20), (left + i * _CYCLE, canvas.height - 4)], _PALE, 1.0)
            for i in range(recording.cycles + 1)]
    canvas.lines[:0] = grid
    numbers = [i for i in range(recording.cycles) if (recording.begin + i) % 5 == 0]
    canvas.texts += [((left + (i + 0.5) * _CYCLE, 15), str(recording.begin + i), "middle", "")
                     for i in numbers or [0]]
    canvas.texts.append(((left - 8, 15), "cycle", "end", ""))
    if file.suffix.lower() == ".svg":
        file.write_text(canvas.svg(), encoding="utf-8")
    else:
        canvas.save_png(file)
