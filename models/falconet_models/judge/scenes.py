"""Pictures of data: what the labels are like, and images with boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from falconet_models.datasets import Dataset, Found, Sample
from falconet_models.judge.drawing import colour, figure

__all__ = ["correlogram", "label_statistics", "mosaics", "shapes"]

_BOXES = 1000  # drawn over each other


def shapes(samples: Sequence[Sample]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of all objects: [N, 4], x and y of the centre, width and height, as parts of the image; and
    classes [N]."""
    rows, kinds = [], []
    for s in samples:
        h, w = s.image.shape[:2]
        boxes = s.boxes[~s.ignored] / np.array([w, h, w, h])
        rows.append(np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2,
                                    boxes[:, 2:] - boxes[:, :2]], 1))
        kinds.append(s.classes[~s.ignored])
    return np.concatenate(rows).astype(np.float64), np.concatenate(kinds)


def label_statistics(samples: Sequence[Sample], labels: Sequence[str]) -> Figure:
    """Four panels: objects of each class, all boxes about one centre, where they are, how large."""
    made, (bars, boxes, places, sizes) = figure(2, 2, 9, 7.5)
    values, kinds = shapes(samples)
    counts = np.bincount(kinds, minlength=len(labels))
    bars.bar(range(len(labels)), counts, color=[colour(i) for i in range(len(labels))])
    bars.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 10 else 0, fontsize=8)
    bars.set_title("objects by class", loc="left")
    for (_, _, w, h), kind in list(zip(values, kinds))[:_BOXES]:
        boxes.add_patch(Rectangle((0.5 - w / 2, 0.5 - h / 2), w, h, fill=False, lw=0.5,
                                  alpha=0.35, edgecolor=colour(int(kind))))
    boxes.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
    boxes.set_title("boxes about one centre", loc="left")
    for ax, (a, b), names, title in (
        (places, (0, 1), ("x", "y"), "where their centres are"),
        (sizes, (2, 3), ("width", "height"), "how large they are"),
    ):
        shown = ax.hist2d(values[:, a], values[:, b], bins=40, cmap="Blues",
                          range=[[0, 1], [0, 1]])
        made.colorbar(shown[3], ax=ax, shrink=0.85)
        ax.set_xlabel(f"{names[0]}, part of the image")
        ax.set_ylabel(names[1])
        ax.set_title(title, loc="left")
    places.invert_yaxis()
    return made


def correlogram(samples: Sequence[Sample]) -> Figure:
    """Every two of x, y, width and height against each other; each alone on the diagonal."""
    made, axes = figure(4, 4, 8, 8)
    values, _ = shapes(samples)
    names = ("x", "y", "width", "height")
    for r in range(4):
        for c in range(4):
            ax = axes[4 * r + c]
            if c > r:
                ax.set_axis_off()
                continue
            if r == c:
                ax.hist(values[:, r], bins=40, range=(0, 1), color=colour(0))
                ax.set_yticks([])
            else:
                ax.hist2d(values[:, c], values[:, r], bins=30, cmap="Blues",
                          range=[[0, 1], [0, 1]])
            if r == 3:
                ax.set_xlabel(names[c])
            if c == 0:
                ax.set_ylabel(names[r])
            ax.tick_params(labelsize=7)
    return made


def _draw(ax: Axes, image: NDArray[np.uint8], boxes: NDArray[np.float32],
          kinds: NDArray[np.int64], texts: Sequence[str]) -> None:
    ax.imshow(image, interpolation="nearest")
    for (x1, y1, x2, y2), kind, text in zip(boxes.tolist(), kinds.tolist(), texts):
        ax.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, lw=1.6,
                               edgecolor=colour(kind)))
        ax.text(x1 - 0.5, y1 - 0.5, text, fontsize=6.5, color="white", va="bottom",
                bbox={"facecolor": colour(kind), "edgecolor": "none", "pad": 0.8})
    h, w = image.shape[:2]
    ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    ax.set_axis_off()


def mosaics(dataset: Dataset, found: Sequence[Found], numbers: Sequence[int], confidence: float,
            most: int = 8) -> Figure:
    """Images twice side by side: with their labels, and with what was found of ``confidence``."""
    chosen = list(zip(numbers, found))[:most]
    rows = -(-len(chosen) // 2)
    made, axes = figure(rows, 4, 11, 2.9 * rows)
    for ax in axes:
        ax.set_axis_off()
    for i, (number, seen) in enumerate(chosen):
        sample, (left, right) = dataset.load(number), axes[2 * i : 2 * i + 2]
        _draw(left, sample.image, sample.boxes, sample.classes, [
            dataset.labels[c] + (" ignored" if g else "")
            for c, g in zip(sample.classes, sample.ignored)])
        sure = seen.scores >= confidence
        _draw(right, sample.image, seen.boxes[sure], seen.classes[sure], [
            f"{dataset.labels[c]} {s:.2f}" for c, s in zip(seen.classes[sure], seen.scores[sure])])
        left.set_title(f"{sample.name}: labels", fontsize=8, loc="left", pad=9)
        right.set_title("found", fontsize=8, loc="left", pad=9)
    return made
