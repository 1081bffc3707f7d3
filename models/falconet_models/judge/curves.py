"""Pictures of figures: curves against recall, confidence and time, and confusions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from falconet_models.judge.drawing import colour, figure
from falconet_models.judge.metrics import CONFIDENCES, RECALLS, Metrics

__all__ = ["confidence_curves", "confusion_matrix", "learning_curves", "precision_recall", "times"]

_NAMED = 12  # more classes than this are grey lines without a name


def _lines(ax: Any, x: Any, by_class: Any, names: Sequence[str], mean: str) -> None:
    many = len(names) > _NAMED
    for i, (values, name) in enumerate(zip(by_class, names)):
        if not np.isnan(values).all():
            ax.plot(x, values, color="#b0b0b0" if many else colour(i), lw=1,
                    label=None if many else name)
    known = ~np.isnan(by_class)
    if known.any():
        total = np.where(known, by_class, 0).sum(0)
        middle = np.divide(total, known.sum(0), out=np.full(len(total), np.nan),
                           where=known.any(0))
        ax.plot(x, middle, color="black", lw=2.2, label=mean)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.grid(alpha=0.25)


def precision_recall(metrics: Metrics) -> Figure:
    """Precision by recall at IoU 0.5, a line a class."""
    made, (ax,) = figure()
    names = [f"{label}  {c.ap50:.3f}" for label, c in zip(metrics.labels, metrics.classes)]
    _lines(ax, RECALLS, metrics.precision_recall, names, f"all  {metrics.map50:.3f}")
    ax.set_xlabel("recall")
    ax.set_ylabel("precision")
    made.legend(loc="outside right upper", fontsize=8, title="class  AP@0.5", frameon=False)
    return made


def confidence_curves(metrics: Metrics) -> Figure:
    """F1, precision and recall against the least confidence of a box that counts."""
    made, axes = figure(1, 3, 11, 3.6)
    for ax, key, title in zip(axes, ("f1", "precision", "recall"), ("F1", "precision", "recall")):
        _lines(ax, CONFIDENCES, metrics.curves[key], metrics.labels, "mean")
        ax.axvline(metrics.confidence, color="black", ls=":", lw=1)
        ax.set_xlabel("confidence")
        ax.set_title(title, loc="left")
    handles, names = axes[0].get_legend_handles_labels()
    made.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False)
    return made


def confusion_matrix(metrics: Metrics, *, normalised: bool) -> Figure:
    """True classes down, predicted ones across; ``normalised``: each row adds up to 1."""
    table = metrics.confusion.astype(float)
    if normalised:
        table = table / table.sum(1, keepdims=True).clip(min=1)
    names = [*metrics.labels, "background"]
    side = max(4.2, 0.42 * len(names) + 1.8)
    made, (ax,) = figure(1, 1, side + 0.8, side)
    shown = ax.imshow(table, cmap="Blues", vmin=0, vmax=1 if normalised else None)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    if len(names) <= 24:
        dark = table.max() / 2
        for (r, c), value in np.ndenumerate(table):
            if value:
                text = f"{value:.2f}".lstrip("0") if normalised else f"{value:.0f}"
                ax.text(c, r, text, ha="center", va="center", fontsize=7,
                        color="white" if value > dark else "black")
    made.colorbar(shown, ax=ax, shrink=0.8)
    return made


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses and mAP by epoch; the quantised phase follows the float one."""
    made, axes = figure(1, 2, 10, 3.8)
    losses = sorted({k for row in history for k in row if k.startswith("loss")})
    groups = (losses, [k for k in ("map50", "map50_95") if any(k in r for r in history)])
    for ax, keys, title in zip(axes, groups, ("losses", "mAP on the validation images")):
        for i, key in enumerate(keys):
            points = [(n + 1, row[key]) for n, row in enumerate(history) if key in row]
            ax.plot(*zip(*points), color="black" if key == "loss" else colour(i), lw=1.6,
                    marker="." if len(points) < 30 else "",
                    label={"map50": "mAP@0.5", "map50_95": "mAP@0.5:0.95"}.get(
                        key, key.removeprefix("loss_")))
        ax.set_title(title, loc="left")
        ax.set_xlabel("epoch")
        ax.grid(alpha=0.25)
        start = next((n for n, r in enumerate(history) if r.get("phase") == "quantised"), None)
        if start:
            ax.axvline(start + 0.5, color="black", ls=":", lw=1)
            ax.text(start + 0.6, 0.02, "int8", transform=ax.get_xaxis_transform(), fontsize=8)
        if keys:
            ax.legend(fontsize=8, frameon=False)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(0, 1)
    return made


def times(seconds: Mapping[str, float]) -> Figure:
    """One bar of what an image takes."""
    made, (ax,) = figure(1, 1, 7, 1.5)
    left = 0.0
    for i, (name, value) in enumerate(seconds.items()):
        if math.isfinite(value):
            ax.barh(0, value * 1e3, left=left, color=colour(i),
                    label=f"{name} {value * 1e3:.2f} ms")
            left += value * 1e3
    ax.set_yticks([])
    ax.set_xlabel("milliseconds an image")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    return made
