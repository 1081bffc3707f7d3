"""One page that a person can read, and the same figures for a program."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falconet.isa.files import store
from falconet_models.datasets import Dataset, Found
from falconet_models.judge import curves, scenes
from falconet_models.judge.drawing import png
from falconet_models.judge.html import figures, page, section, table
from falconet_models.judge.metrics import Metrics

__all__ = ["write_report"]

Picture = tuple[Any, str, str]
"""A figure, its heading, and a sentence on how it is read."""


def write_report(
    folder: Path, title: str, dataset: Dataset, found: Sequence[Found], metrics: Metrics, *,
    numbers: Sequence[int] | None = None, history: Sequence[Mapping[str, Any]] | None = None,
    facts: Mapping[str, Any] | None = None, times: Mapping[str, float] | None = None,
) -> Path:
    """Write ``report.html``, its pictures as PNG files, and ``metrics.json`` into ``folder``.

    Parameters
    ----------
    found, numbers:
        As for :func:`falconet_models.judge.metrics.measure`.
    history:
        Rows of the training's epochs.
    facts:
        Name and value of what else is to be known; ``parameters`` and ``macs`` stand at the top.
        so does ``frames/s``, the machine's: clock by cycles; what they depend on is among the
        facts too.
    times:
        Seconds an image of each step: on this computer, but for the network's where there are
        ``frames/s``.

    Returns
    -------
    The page. It needs no other file and no network.
    """
    numbers = range(len(found)) if numbers is None else numbers
    facts, times = dict(facts or {}), dict(times or {})
    pictures = _pictures(dataset, found, numbers, metrics, history, times)
    parts = []
    for name, (made, heading, sentence) in pictures.items():
        data = png(made)
        store(folder / f"{name}.png", data)
        parts.append(section(heading, sentence, f"<img alt=\"{heading}\" src=\"data:image/png;"
                                                f"base64,{base64.b64encode(data).decode()}\">"))
    known = {**metrics.to_json(), "facts": facts, "times": times}
    store(folder / "metrics.json", (json.dumps(known, indent=1) + "\n").encode())
    file = folder / "report.html"
    store(file, _page(title, metrics, facts, times, parts).encode())
    return file


def _pictures(
    dataset: Dataset, found: Sequence[Found], numbers: Sequence[int], metrics: Metrics,
    history: Sequence[Mapping[str, Any]] | None, times: Mapping[str, float],
) -> dict[str, Picture]:
    """What the page shows, by the names of the files."""
    samples = [dataset.load(n) for n in numbers]
    pictures: dict[str, Picture] = {
        "mosaic": (scenes.mosaics(dataset, found, numbers, metrics.confidence),
                   "Labels and findings", "Each image twice: what is there, and what was found "
                   f"with a confidence of {metrics.confidence:.2f} or more."),
        "precision-recall": (curves.precision_recall(metrics), "Precision and recall",
                             "The farther a line keeps to the top right, the better; its area is "
                             "the class's AP."),
        "confidence": (curves.confidence_curves(metrics), "What a threshold does",
                       "At each least confidence; dotted where the mean F1 is best."),
        "confusion": (curves.confusion_matrix(metrics, normalised=False), "Confusions",
                      "Rows are what is there, columns what was said; the last column was missed, "
                      "the last row is false alarms."),
        "confusion-normalised": (curves.confusion_matrix(metrics, normalised=True),
                                 "Confusions, by row", "The same as parts of each row."),
        "labels": (scenes.label_statistics(samples, dataset.labels), "Labels",
                   "What the detector was judged on: classes, shapes, places and sizes."),
        "correlogram": (scenes.correlogram(samples), "Correlogram of the labels",
                        "A pattern off the diagonal means that place and size go together."),
    }
    if history:
        pictures["learning"] = (curves.learning_curves(history), "Learning",
                                "Losses should fall and mAP rise; from the dotted line on the "
                                "network computes as the machine does.")
    if times:
        pictures["times"] = (curves.times(times), "Time", "Where an image's time goes.")
    return pictures


def _number(value: Any, digits: int = 3) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _page(title: str, metrics: Metrics, facts: dict[str, Any], times: dict[str, float],
          pictures: Sequence[str]) -> str:
    head = {"mAP@0.5": metrics.map50, "mAP@0.5:0.95": metrics.map50_95,
            "precision": metrics.precision, "recall": metrics.recall, "F1": metrics.f1}
    shown = {k: _number(v) for k, v in head.items()}
    for key, name in (("parameters", "parameters"), ("macs", "MACs"),
                      ("frames/s", "frames/s of the machine, simulated")):
        if key in facts:
            shown[name] = _number(facts[key], 1)
    if times:
        where = "this computer's part, the machine's network" if "frames/s" in facts else (
            "on this computer")
        shown[f"an image: {where}"] = f"{sum(times.values()) * 1e3:.1f} ms"
    rows = [(label, _number(c.count), *map(_number, (
        c.ap50, c.ap50_95, c.precision, c.recall, c.f1)))
        for label, c in zip(metrics.labels, metrics.classes)]
    more = " · ".join(f"{k}: {_number(v)}" for k, v in facts.items()
                      if k not in ("parameters", "macs", "frames/s"))
    return page(
        title, figures(shown), f"<p>{metrics.images:,} images · {html.escape(more)}</p>",
        section("Classes", "Precision, recall and F1 at confidence "
                f"{metrics.confidence:.2f}, where the mean F1 is best.", table(
                    ("class", "objects", "AP@0.5", "AP@0.5:0.95", "precision", "recall", "F1"),
                    rows)), *pictures)
