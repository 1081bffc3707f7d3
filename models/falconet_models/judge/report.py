"""One page that a person can read, and the same figures for a program."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falconet_models.datasets import Dataset, Found
from falconet_models.judge import curves, scenes
from falconet_models.judge.drawing import png
from falconet_models.judge.metrics import Metrics

__all__ = ["write_report"]

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:2.2rem 0 .3rem}
.figures{display:flex;flex-wrap:wrap;gap:.6rem}
.figures div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .9rem}
.figures b{display:block;font-size:1.35rem}.figures span{font-size:.8rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);
padding:.25rem .6rem;text-align:right}td:first-child,th:first-child{text-align:left}
tr:nth-child(even){background:var(--soft)}
img{max-width:100%;background:#fff;border-radius:.4rem}p{margin:.2rem 0 .6rem}
.wide{overflow-x:auto}@media print{h2{break-after:avoid}img{break-inside:avoid}}
"""


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
    times:
        Seconds an image of each step.

    Returns
    -------
    The page. It needs no other file and no network.
    """
    numbers = range(len(found)) if numbers is None else numbers
    facts, times = dict(facts or {}), dict(times or {})
    samples = [dataset.load(n) for n in numbers]
    pictures = {
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
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, (made, heading, sentence) in pictures.items():
        data = png(made)
        (folder / f"{name}.png").write_bytes(data)
        parts.append(
            f"<h2>{heading}</h2><p>{html.escape(sentence)}</p><div class=wide><img alt=\"{heading}"
            f"\" src=\"data:image/png;base64,{base64.b64encode(data).decode()}\"></div>")
    known = {**metrics.to_json(), "facts": facts, "times": times}
    (folder / "metrics.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    page = folder / "report.html"
    page.write_text(_page(title, metrics, facts, times, "".join(parts)), encoding="utf-8")
    return page


def _number(value: Any, digits: int = 3) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _page(title: str, metrics: Metrics, facts: dict[str, Any], times: dict[str, float],
          pictures: str) -> str:
    head = {"mAP@0.5": metrics.map50, "mAP@0.5:0.95": metrics.map50_95,
            "precision": metrics.precision, "recall": metrics.recall, "F1": metrics.f1}
    shown = {k: _number(v) for k, v in head.items()}
    for key, name in (("parameters", "parameters"), ("macs", "MACs")):
        if key in facts:
            shown[name] = _number(facts[key])
    if times:
        shown["an image"] = f"{sum(times.values()) * 1e3:.1f} ms"
    boxes = "".join(f"<div><b>{v}</b><span>{html.escape(k)}</span></div>"
                    for k, v in shown.items())
    rows = "".join(
        f"<tr><td>{html.escape(label)}</td><td>{c.count:,}</td>"
        + "".join(f"<td>{_number(v)}</td>" for v in (
            c.ap50, c.ap50_95, c.precision, c.recall, c.f1)) + "</tr>"
        for label, c in zip(metrics.labels, metrics.classes))
    more = " · ".join(f"{html.escape(str(k))}: {html.escape(_number(v))}" for k, v in facts.items()
                      if k not in ("parameters", "macs"))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\""
        f"width=device-width,initial-scale=1\"><title>{html.escape(title)}</title><style>{_STYLE}"
        f"</style><h1>{html.escape(title)}</h1><div class=figures>{boxes}</div>"
        f"<p>{metrics.images:,} images · {more}</p><h2>Classes</h2><p>Precision, recall and F1 at "
        f"confidence {metrics.confidence:.2f}, where the mean F1 is best.</p>"
        "<div class=wide><table><tr><th>class<th>objects<th>AP@0.5<th>AP@0.5:0.95"
        "<th>precision<th>recall<th>F1</tr>"
        f"{rows}</table></div>{pictures}</html>\n")
