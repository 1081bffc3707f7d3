"""What all pictures share: a figure without global state, colours, a PNG."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["colour", "figure", "png"]

# Okabe and Ito's palette, which the colour-blind tell apart, then shades of it
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d00", "#5e3c99",
            "#7f7f7f", "#1b7837")


def colour(i: int) -> str:
    """That of a class."""
    return _COLOURS[i % len(_COLOURS)]


def figure(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 4.5
           ) -> tuple[Figure, list[Axes]]:
    """A figure in inches and its axes, row by row."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return made, list(axes.flat)


def png(made: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=dpi)
    return out.getvalue()
