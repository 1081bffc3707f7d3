"""Charts of a run as SVG, to stand in a page: text in its colours, names where the mouse rests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from falconet.isa import Arch, Engine
from falconet.runtime.profile import LayerProfile, Span, peak_macs

__all__ = ["colour", "engine_colour", "roofline", "timeline_of_engines", "timeline_of_layers"]

_WIDTH = 1120
_ENGINES = {Engine.LOAD: "#0072b2", Engine.MAC: "#d55e00", Engine.VEC: "#009e73",
            Engine.STORE: "#56b4e9", Engine.DETECT: "#cc79a7"}
Block = tuple[int, int, int]
"""A layer, and the cycles in which it has an engine: from, to."""


def colour(layer: int) -> str:
    """That of a layer; neighbours are far apart (the golden angle)."""
    return f"hsl({layer * 137.508 % 360:.0f} 55% {(62, 50)[layer % 2]}%)"


def engine_colour(engine: Engine) -> str:
    return _ENGINES[engine]


def blocks(run: Iterable[Span], gap: int) -> list[Block]:
    """The spans of one engine with those of a layer put together that are at most ``gap`` apart."""
    found: list[Block] = []
    for s in sorted(run, key=lambda s: s.start):
        if found and found[-1][0] == s.layer and s.start - found[-1][2] <= gap:
            found[-1] = (s.layer, found[-1][1], max(found[-1][2], s.retire))
        else:
            found.append((s.layer, s.start, s.retire))
    return found


def _svg(width: float, height: float, parts: Iterable[str], label: str) -> str:
    return (f'<svg role="img" aria-label="{escape(label)}" width="{width:.0f}" '
            f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" fill="currentColor">'
            + "".join(parts) + "</svg>")


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.25) -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" '
            f'stroke-opacity="{opacity}"/>')


def _bar(x: float, y: float, width: float, height: float, fill: str, title: str) -> str:
    return (f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.8):.2f}" height="{height:.1f}" '
            f'fill="{fill}"><title>{escape(title)}</title></rect>')


def _ticks(most: float, about: int = 8) -> list[int]:
    """Round numbers from 0 to ``most``."""
    step = 10 ** math.floor(math.log10(max(1.0, most / about)))
    step *= next(m for m in (1, 2, 5, 10) if most / (step * m) <= about + 1)
    return list(range(0, int(most) + 1, max(1, int(step))))


def _cycle_axis(left: float, right: float, top: float, bottom: float, cycles: int,
                clock_mhz: float) -> list[str]:
    scale, parts = (right - left) / cycles, []
    for tick in _ticks(cycles):
        x = left + tick * scale
        parts += [_line(x, top, x, bottom + 4),
                  _text(x, bottom + 17, f"{tick:,}", "middle")]
    return [*parts, _text((left + right) / 2, bottom + 35,
                          f"cycle ({clock_mhz:g} a microsecond)", "middle")]


def _said(name: str, engine: str, begin: int, end: int) -> str:
    return f"{name} on {engine}: cycles {begin:,} to {end:,} ({end - begin:,})"


def timeline_of_engines(run: Sequence[Span], names: Sequence[str], cycles: int, clock_mhz: float
                        ) -> str:
    """One row for each engine; each block has the colour of its layer, and its number if it fits.

    Numbers are those of ``names``, from 1; what belongs to no layer is grey.
    """
    left, right, row, parts = 64.0, _WIDTH - 10.0, 44, []
    scale = (right - left) / cycles
    used = [e for e in Engine if any(s.engine is e for s in run)]
    parts += _cycle_axis(left, right, 0, len(used) * row, cycles, clock_mhz)
    for i, engine in enumerate(used):
        y = i * row + 6
        parts.append(_text(left - 8, y + 20, engine.name, "end"))
        for layer, begin, end in blocks((s for s in run if s.engine is engine), int(0.5 / scale)):
            name = names[layer] if layer >= 0 else "no layer"
            x, width = left + begin * scale, (end - begin) * scale
            parts.append(_bar(x, y, width, row - 12, colour(layer) if layer >= 0 else "#888",
                              _said(name, engine.name, begin, end)))
            number = str(layer + 1)
            if layer >= 0 and width > 7 * len(number) + 3:
                parts.append(_text(x + width / 2, y + 20, number, "middle",
                                   ' fill="#000" pointer-events="none"'))
    return _svg(_WIDTH, len(used) * row + 42, parts, "Timeline of the engines")


def timeline_of_layers(run: Sequence[Span], names: Sequence[str], cycles: int, clock_mhz: float
                       ) -> str:
    """One row for each layer that runs an instruction; bars have the colour of the engine."""
    left, right, row, parts = 190.0, _WIDTH - 10.0, 15, []
    scale, gap = (right - left) / cycles, int(0.5 * cycles / (right - left))
    shown = sorted({s.layer for s in run if s.layer >= 0})
    for i, engine in enumerate(e for e in Engine if any(s.engine is e for s in run)):
        parts += [f'<rect x="{left + i * 90:.0f}" y="2" width="12" height="12" '
                  f'fill="{engine_colour(engine)}"/>', _text(left + i * 90 + 17, 12, engine.name)]
    top = 24
    parts += _cycle_axis(left, right, top, top + len(shown) * row, cycles, clock_mhz)
    for i, layer in enumerate(shown):
        y, own = top + i * row, [s for s in run if s.layer == layer]
        if i % 2:
            parts.append(f'<rect y="{y}" width="{_WIDTH}" height="{row}" fill-opacity=".06"/>')
        name = names[layer]
        label = name if len(name) <= 22 else f"{name[:10]}…{name[-11:]}"
        parts.append(f"<g>{_text(left - 8, y + 11.5, f'{label}  {layer + 1}', 'end')}"
                     f"<title>{escape(name)}</title></g>")
        for j, engine in enumerate((Engine.LOAD, Engine.STORE, Engine.DETECT, Engine.VEC,
                                    Engine.MAC)):
            thin = j < 2  # transfers lie in the lower part, below what they feed
            for _, begin, end in blocks((s for s in own if s.engine is engine), gap):
                parts.append(_bar(left + begin * scale, y + (10 if thin else 2),
                                  (end - begin) * scale, 3 if thin else 8, engine_colour(engine),
                                  _said(name, engine.name, begin, end)))
    return _svg(_WIDTH, top + len(shown) * row + 42, parts, "Timeline of the layers")


class _Logarithmic:
    """An axis of whole decades around ``low`` and ``high``, drawn from ``begin`` to ``end``."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        self.high = max(self.high, self.low + 1)
        self.begin, self.step = begin, (end - begin) / (self.high - self.low)

    def __call__(self, value: float) -> float:
        return self.begin + (math.log10(value) - self.low) * self.step

    def ticks(self) -> list[float]:
        return [10.0**e for e in range(self.low, self.high + 1)]


def _place(x: float, y: float, text: str, taken: list[tuple[float, float, float, float]],
           right: float) -> tuple[float, float, str] | None:
    """Where the name of a point fits beside it: x, y, anchor; None where all is taken."""
    width = 6.6 * len(text)
    for dy in (4, -9, 17, -22, 30):
        for side in (1, -1):
            begin = x + 9 if side > 0 else x - 9 - width
            box = (begin, y + dy - 11, begin + width, y + dy + 3)
            if 70 < begin and box[2] < right and not any(
                    box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3]
                    for t in taken):
                taken.append(box)
                return (x + 9 if side > 0 else x - 9), y + dy, "start" if side > 0 else "end"
    return None


def roofline(profiles: Sequence[LayerProfile], arch: Arch, ddr_bytes_per_cycle: float) -> str:
    """MACs a cycle against MACs a byte of DDR: one point a layer, its area by its busy cycles.

    Points carry the layer's number, and its name where there is room, the longest layers first.
    """
    points = [(i, p, p.macs / max(1, p.bytes), p.macs / p.busy)
              for i, p in enumerate(profiles) if p.macs and p.busy and p.engine in ("MAC", "VEC")]
    if not points:
        return "<p>No layer multiplies.</p>"
    left, right, top, bottom = 70.0, _WIDTH - 20.0, 12.0, 520.0
    peaks = {e: peak_macs(arch, e) for e in ("MAC", "VEC") if any(p.engine == e for _, p, *_ in
                                                                 points)}
    x = _Logarithmic(min(p[2] for p in points) / 1.5, max(p[2] for p in points) * 1.5, left, right)
    y = _Logarithmic(min(p[3] for p in points) / 1.5,
                     max(*peaks.values(), *(p[3] for p in points)), bottom, top)
    parts = [part for t in x.ticks() for part in (
        _line(x(t), top, x(t), bottom), _text(x(t), bottom + 17, f"{t:g}", "middle"))]
    parts += [part for t in y.ticks() for part in (
        _line(left, y(t), right, y(t)), _text(left - 7, y(t) + 4, f"{t:g}", "end"))]
    parts += [_text((left + right) / 2, bottom + 38, "MACs a byte of DDR traffic", "middle"),
              _text(0, 0, "MACs a cycle while its engine is busy", "middle",
                    f' transform="translate(16 {(top + bottom) / 2:.0f}) rotate(-90)"')]
    taken: list[tuple[float, float, float, float]] = []
    for engine, peak in peaks.items():
        hue, ridge = engine_colour(Engine[engine]), peak / ddr_bytes_per_cycle
        first, last = max(10.0**x.low, 10.0**y.low / ddr_bytes_per_cycle), 10.0**x.high
        drawn = [(x(a), y(min(peak, a * ddr_bytes_per_cycle)))
                 for a in (first, *([ridge] if first < ridge < last else []), last)]
        parts.append('<polyline fill="none" stroke-width="1.5" stroke="' + hue + '" points="'
                     + " ".join(f"{a:.1f},{b:.1f}" for a, b in drawn) + '"/>')
        roof = f"{engine}: {peak} MACs a cycle; DDR: {ddr_bytes_per_cycle:.1f} bytes a cycle"
        at = top + 16 + 18 * list(peaks).index(engine)
        parts += [f'<rect x="{left + 12}" y="{at - 10}" width="12" height="12" fill="{hue}"/>',
                  _text(left + 30, at, roof)]
    points.sort(key=lambda p: -p[1].busy)
    radius = {i: 3 + math.sqrt(p.busy) / 60 for i, p, *_ in points}
    taken += [(x(a) - 5, y(b) - 5, x(a) + 5, y(b) + 5) for _, _, a, b in points]
    for i, p, a, b in points:
        said = (f"{i + 1} {p.name} ({p.engine}): {b:.1f} MACs a cycle, {a:.1f} a byte, {p.busy:,} "
                "cycles busy")
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius[i]:.1f}" fill="'
                     f'{engine_colour(Engine[p.engine])}" fill-opacity=".7"><title>{escape(said)}'
                     "</title></circle>")
    for i, p, a, b in points:
        for label in (f"{i + 1} {p.name}", str(i + 1)):
            place = _place(x(a), y(b), label, taken, right)
            if place is not None:
                parts.append(_text(*place[:2], label, place[2], ' font-size="11"'))
                break
    return _svg(_WIDTH, bottom + 50, parts, "Roofline")
