"""Pictures: detections drawn on a photograph; the timeline and the roofline of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconet.commands.files import written
from falconet.isa import Arch, Engine, FalconetError

__all__ = ["SAVED", "annotated", "draw_detections", "draw_roofline", "draw_timeline"]

SAVED = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes that a picture can be saved with."""

_BOX = (0, 200, 83)
_MARK = (255, 214, 0)


@lru_cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def annotated(image: NDArray[np.uint8], detections: Sequence[Any]) -> Any:
    """A ``PIL.Image`` of ``image`` with boxes, scores and landmarks."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    line = max(2, min(picture.size) // 200)
    font = _font(6 * line + 4)
    for d in detections:
        draw.rectangle((d.x, d.y, d.x + d.w, d.y + d.h), outline=_BOX, width=line)
        label = f"{d.class_name} {d.score:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        height = bottom - top + 2 * line
        y = d.y - height if d.y >= height else d.y
        draw.rectangle((d.x, y, d.x + right - left + 2 * line, y + height), fill=_BOX)
        draw.text((d.x + line - left, y + line - top), label, fill=(0, 0, 0), font=font)
        for px, py in d.landmarks:
            draw.ellipse((px - line, py - line, px + line, py + line), fill=_MARK)
    return picture


def draw_detections(image: NDArray[np.uint8], detections: Sequence[Any], path: Path) -> None:
    """Save ``image`` with boxes, scores and landmarks; ``path`` ends as one of ``SAVED`` does."""
    with written(path) as beside:
        try:
            annotated(image, detections).save(beside, quality=95)
        except ValueError as e:  # too large for the format
            raise FalconetError(f"{path}: cannot be written ({e}); save it as .png") from None


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def draw_timeline(run: Sequence[Any], cycles: int, title: str, path: Path) -> None:
    """One row for each engine; each instruction is a bar in the colour of its layer."""
    from matplotlib import colormaps

    figure, axes = _axes(14, 3.2)
    colours = colormaps["tab20"]
    for engine in Engine:
        own = [s for s in run if s.engine == engine]
        axes.broken_barh(
            [(s.start, max(1, s.retire - s.start)) for s in own], (-engine - 0.4, 0.8),
            facecolors=[colours(s.layer % 20) for s in own], linewidth=0,
        )
    axes.set_yticks([-e for e in Engine], [e.name for e in Engine])
    axes.set_xlim(0, cycles)
    axes.set_xlabel("cycle")
    axes.set_title(title)
    figure.savefig(path, dpi=120)


def draw_roofline(profiles: Sequence[Any], arch: Arch, ddr_bytes_per_cycle: float, title: str,
                  path: Path) -> None:
    """MACs per cycle against MACs per byte of DDR, one point a layer, area by cycles."""
    from falconet.runtime.profile import peak_macs

    figure, axes = _axes(9, 6)
    colours = {"MAC": "tab:blue", "VEC": "tab:orange"}
    for engine, colour in colours.items():
        own = [p for p in profiles if p.engine == engine and p.macs and p.busy]
        axes.scatter(
            [p.macs / max(1, p.bytes) for p in own], [p.macs / p.busy for p in own],
            s=[12 + p.busy / 400 for p in own], color=colour, alpha=0.6, label=engine,
        )
    reach = [max(1e-2, p.macs / max(1, p.bytes)) for p in profiles if p.macs] or [1.0]
    x = np.geomspace(min(reach) / 2, max(reach) * 2, 200)
    for engine, colour in colours.items():
        roof = np.minimum(peak_macs(arch, engine), x * ddr_bytes_per_cycle)
        axes.plot(x, roof, color=colour, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("MACs per byte of DDR traffic")
    axes.set_ylabel("MACs per cycle while its engine was busy")
    axes.set_title(title)
    axes.legend()
    figure.savefig(path, dpi=120)
