"""``falconet study``: the same recipe trained many times, one thing changed, as a table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError, build_folder, made
from falconet.isa.files import written
from falconet_app.commands.app import App, Group
from falconet_app.commands.console import status
from falconet_app.commands.pages import Json, Page, show

__all__ = ["register"]

group = App(cls=Group, help="One recipe trained many times, one thing changed.",
                    no_args_is_help=True)
FOLDER = build_folder() / "studies"
_SEEDS = (0, 1, 2)
Jobs = Annotated[int, typer.Option(min=1, help="Runs at a time.")]
Plan = dict[str, dict[str, Any]]


@group.callback()
def study() -> None:
    """One recipe trained many times, one thing changed. What is done is kept."""


def _falconet(*arguments: str) -> str:
    made = subprocess.run([sys.executable, "-m", "falconet", *arguments],
                          capture_output=True, text=True)
    if made.returncode:
        raise FalconetError(made.stderr.strip().splitlines()[-1].removeprefix("falconet: "))
    return made.stdout


def _run(name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Train by ``recipe`` on the digits and judge on their test split; kept."""
    import yaml

    from falconet_models.train.diary import read_history

    folder = FOLDER / name
    kept, config = folder / "result.json", FOLDER / f"{name}.yaml"
    made(FOLDER)
    text = yaml.safe_dump(recipe, sort_keys=False)
    if kept.is_file() and config.is_file() and config.read_text(encoding="utf-8") == text:
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    with written(config) as part:
        part.write_text(text, encoding="utf-8")
    _falconet("train", "digits", "--config", str(config), "--out", str(folder))
    result: dict[str, Any] = {}
    for device in ("float", "fakequant"):
        judged = json.loads(_falconet("eval", str(folder), "--device", device, "--json"))
        result |= {f"{device} {key}": judged[key] for key in ("map50", "map50_95")}
    result["minutes"] = sum(row["seconds"] for row in read_history(folder)) / 60
    with written(kept) as part:
        part.write_text(json.dumps(result) + "\n", encoding="utf-8")
    status.print(f"  {name}: mAP@0.5 {result['fakequant map50']:.4f}", markup=False)
    return result


def _all(plan: Plan, jobs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(plan, pool.map(_run, plan, plan.values()))


def _figures(result: dict[str, Any]) -> dict[str, str]:
    return {
        "float mAP@0.5": f"{result['float map50']:.4f}",
        "int8 mAP@0.5": f"{result['fakequant map50']:.4f}",
        "int8 mAP@0.5:0.95": f"{result['fakequant map50_95']:.4f}",
    }


@group.command()
def losses(jobs: Jobs = 2, page: Page = None, as_json: Json = False) -> None:
    """Every loss of boxes, by the quick recipe, on the test split of the digits.

    Example: falconet study losses --jobs 2
    """
    from falconet_models.losses import BOX_LOSSES
    from falconet_models.train.recipe import Recipe

    base = Recipe.load("small-quick").to_dict()
    plan = {f"loss-{kind}": {**base, "boxes": {**base["boxes"], "kind": kind}}
            for kind in BOX_LOSSES}
    rows = [{"box loss": name.removeprefix("loss-"), **_figures(result),
             "minutes": f"{result['minutes']:.1f}"} for name, result in _all(plan, jobs)]
    show(rows, page, "study losses", "Losses of boxes, recipe small-quick, digits (test)",
         "falconet study losses", as_json)


@group.command()
def distillation(
    teacher: Annotated[Path, typer.Argument(help="Run or checkpoint of a float digit detector.")],
    jobs: Jobs = 2, page: Page = None, as_json: Json = False,
) -> None:
    """A student of half the width with and without a teacher, three seeds each.

    Example: falconet study distillation runs/digits
    """
    from falconet_models.train.checkpoints import load_detector
    from falconet_models.train.recipe import Recipe

    load_detector(teacher)  # refused before anything is trained
    base = Recipe.load("small-quick").to_dict()
    student = {**base, "fields": {**base["fields"], "backbone": {"width": 0.125}, "neck": 24}}
    ways = {"alone": student["distil"],
            "soft targets": {**student["distil"], "teacher": str(teacher)}}
    plan = {f"distil-{way.replace(' ', '-')}-{seed}": {**student, "seed": seed, "distil": distil}
            for way, distil in ways.items() for seed in _SEEDS}
    results = list(_all(plan, jobs))
    rows = []
    for i, way in enumerate(ways):
        own = [r for _, r in results[i * len(_SEEDS) : (i + 1) * len(_SEEDS)]]
        row = {"student": way}
        for key, name in (("float map50", "float mAP@0.5"), ("fakequant map50", "int8 mAP@0.5")):
            values = [r[key] for r in own]
            row[name] = ", ".join(f"{v:.4f}" for v in values)
            row[f"{name}, mean"] = f"{statistics.mean(values):.4f}"
        rows.append(row)
    show(rows, page, "study distillation", "Distillation, seeds 0, 1, 2, digits (test)",
         "falconet study distillation TEACHER", as_json)


@group.command()
def imagenet(page: Page = None, as_json: Json = False) -> None:
    """MobileNetV2 by Brevitas after training, against onnxruntime's own quantisation.

    Example: falconet study imagenet --json
    """
    from falconet_models.networks.imagenet import compare, models

    rows = [{"quantised by": r["model"], "top-1 as float": f"{r['same']} of {r['of']}",
             **{f"{k}, dB": f"{v:.1f}" for k, v in r["snr"].items()},
             "all, dB": f"{r['pooled']:.1f}"} for r in compare(models())]
    show(rows, page, "study imagenet", "MobileNetV2, ImageNet: SNR of the logits",
         "falconet study imagenet", as_json)


@group.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Folder of a run of the digits.")],
    rtl: Annotated[int, typer.Option(min=1, help="Images on the RTL.")] = 50,
    page: Page = None, as_json: Json = False,
) -> None:
    """One run judged in every form: float, fake-quantised, golden model, RTL.

    Example: falconet study run runs/digits --rtl 20
    """
    from falconet_models.train.diary import read_history

    rows, found = [], {}
    for device, images in (("float", None), ("fakequant", None), ("golden", None),
                           ("golden", rtl), ("rtl", rtl)):
        limit = [] if images is None else ["--images", str(images)]
        judged = json.loads(_falconet("eval", str(folder), "--device", device, "--json", *limit))
        found[device, images] = judged
        rows.append({
            "network": device, "images (test)": str(judged["images"]),
            "mAP@0.5": f"{judged['map50']:.4f}", "mAP@0.5:0.95": f"{judged['map50_95']:.4f}",
            "F1": f"{judged['f1']:.3f}",
            "cycles an image": f"{judged['facts']['cycles per image']:,}" if device == "rtl"
            else "-"})
    same = ("map50", "map50_95", "classes", "confusion")
    if any(found["golden", rtl][k] != found["rtl", rtl][k] for k in same):
        raise FalconetError(f"{folder}: RTL and golden model are judged otherwise; run 'falconet "
                            "compare' to find the instruction")
    spent: dict[str, float] = {}
    for row in read_history(folder):
        spent[row["phase"]] = spent.get(row["phase"], 0.0) + row["seconds"] / 60
    minutes = " and ".join(f"{v:.1f} min {k}" for k, v in spent.items())
    show(rows, page, f"study run {folder.name}", f"Run {folder.name}: {minutes}",
         f"falconet study run {folder.name}", as_json)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="study")
