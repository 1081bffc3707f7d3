"""``falconet train``, ``falconet eval``, ``falconet export``: from images to a network to run."""

from __future__ import annotations

import enum
import json
import os
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.commands.console import print_json, results, status, working
from falconet.commands.files import keep_inputs, written
from falconet.commands.machines import LABELS, DeviceName, make_device
from falconet.commands.pages import revision
from falconet.commands.sources import DEFAULT_PRESET, compiled, is_program, quantised_of
from falconet.isa import FalconetError, Program, output_folder, preset

__all__ = ["Judged", "register"]

ONNX = "model.onnx"
_SPLIT = "test"
_ROOM = 100  # boxes of an image that a detector is judged by


class Judged(str, enum.Enum):
    """What a detector can be judged on."""

    float = "float"
    fakequant = "fakequant"
    golden = "golden"
    rtl = "rtl"


_STYLES = {Judged.float: "float", Judged.fakequant: "quantised"}
_DEVICES = {Judged.golden: DeviceName.golden, Judged.rtl: DeviceName.rtl}
Split = Annotated[str, typer.Option(help="Which images: val, test or train.")]


def train(
    dataset: Annotated[str, typer.Argument(
        help="VOC, COCO or YOLO folder, a YOLO data.yaml, or 'digits', which needs no download.")],
    out: Annotated[Path, typer.Option("-o", "--out", file_okay=False, help="Folder of the run.")],
    quick: Annotated[bool, typer.Option("--quick", help="Minutes instead of most of an hour.")]
    = False,
    config: Annotated[str | None, typer.Option(help="A recipe: YAML file or built-in name.")]
    = None,
    val: Annotated[str, typer.Option(help="Split that judges every epoch.")] = "val",
    teacher: Annotated[str | None, typer.Option(help="Distil from this run or checkpoint.")]
    = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run that is in --out.")]
    = False,
) -> None:
    """Train a detector: in float, then as the machine computes, then export it.

    The same command goes on with a run that was stopped. Several GPUs or machines: torchrun
    --nproc-per-node N -m falconet train ...

    Example: falconet train digits --quick --out runs/digits
    """
    import dataclasses

    from falconet_models.datasets import open_dataset

    if config and quick:
        raise FalconetError("--quick and --config both choose a recipe; leave one of them out")
    learned, judged = open_dataset(dataset, "train"), open_dataset(dataset, val)
    if learned.labels != judged.labels:
        raise FalconetError(f"{dataset}: the splits train and {val} have other classes; make them "
                            "the same")
    # What takes seconds to import comes after what is refused at once.
    from falconet_models.train.loop import Trainer, together
    from falconet_models.train.recipe import Recipe, choose

    with together() as (rank, world):
        name = config or choose(learned, quick=quick)
        recipe = Recipe.load(name)
        if teacher is not None:
            recipe = dataclasses.replace(
                recipe, distil=dataclasses.replace(recipe.distil, teacher=teacher))
        if seed is not None:
            recipe = dataclasses.replace(recipe, seed=seed)
        if fresh and rank == 0 and out.exists():
            if any(out.iterdir()) and not (out / "recipe.yaml").is_file():
                raise FalconetError(f"{out}: not the folder of a run, so it is not deleted; choose "
                                    "another")
            shutil.rmtree(out)
        if rank == 0:
            status.print(f"  recipe {name}: {len(learned):,} images to train, {len(judged):,} to "
                         f"judge, {len(learned.labels)} classes", markup=False)
        made = Trainer(recipe, learned, judged, out, rank=rank, world=world).run()
        if rank:
            return
    known = {"data": dataset} if dataset == "digits" else {}
    _export(out, out / ONNX, **known)
    for phase in ("float", "quantised"):
        if made[phase] is not None:
            results.print(f"{phase:<10} mAP@0.5 {made[phase]['map50']:.4f}  mAP@0.5:0.95 "
                          f"{made[phase]['map50_95']:.4f}  (split {val})")
    results.print(f"{made['seconds'] / 60:.1f} min; network: {out / ONNX}")
    results.print(f"next: {shlex.join(_next(out, dataset, val))}")
    note = {"data": dataset if dataset == "digits" else os.path.abspath(dataset), "val": val}
    with written(out / "data.json") as part:
        part.write_text(json.dumps(note) + "\n", encoding="utf-8")


def _next(out: Path, dataset: str, val: str) -> list[str]:
    """The command that judges the run; on the split ``val`` if there is none for tests."""
    from falconet_models.datasets import open_dataset

    command = ["falconet", "eval", str(out), "--data", dataset, "--device", "golden"]
    try:
        open_dataset(dataset, _SPLIT)
    except FalconetError:
        return [*command, "--split", val]
    return command


def _export(source: Path, target: Path, **meta: Any) -> None:
    from falconet_models.networks.export import export as write
    from falconet_models.train.checkpoints import load_detector

    detector, about = load_detector(source, "quantised")
    with written(target) as part, working("export"):
        write(detector, part, training={**about, **meta})


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its quantised.pt.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="ONNX file to write.")]
    = None,
) -> None:
    """Write a trained network as the QCDQ ONNX file that 'falconet compile' takes.

    Example: falconet export runs/digits --output digits.onnx
    """
    target = output or (run if run.is_dir() else run.parent) / ONNX
    keep_inputs([run], [target])
    _export(run, target)
    results.print(f"{target}: {target.stat().st_size:,} bytes; next: falconet compile {target}")


def _network(model: Path, device: Judged) -> Any:
    """The network of a run or checkpoint, in the style of ``device``."""
    from falconet_models.train.checkpoints import load_detector

    detector, _ = load_detector(model, _STYLES[device])
    if detector.style != _STYLES[device]:
        raise FalconetError(f"{model}: a {detector.style} network; judge it with another --device, "
                            "or name the run's folder")
    return detector


def _program(model: Path, machine: str) -> Program:
    """What the machine runs for ``model``: a run, a QDQ ONNX file or a program, with room for
    every box that counts."""
    from falconet.compiler.importer.model import load
    from falconet_models.metadata import get_meta

    if is_program(model):
        return Program.load(model)
    source = model / ONNX if model.is_dir() else model
    if not source.is_file() and model.is_dir():
        _export(model, source)
    if source.suffix != ".onnx" or not source.is_file():
        raise FalconetError(f"{model}: nothing that the machine runs; give a run, a QDQ ONNX file "
                            "or a program")
    head = get_meta(load(source)[0]).get("postprocess") or {}
    if head.get("kind") != "detection":
        raise FalconetError(f"{model}: no detector; 'falconet eval' judges detectors")
    arch = preset(machine)
    return compiled(source, arch, source.parent.name,
                    heads={**head, "maximum": min(_ROOM, arch.candidates)})


def _by_network(detector: Any, dataset: Any, count: int) -> tuple[list[Any], dict[str, float]]:
    import numpy as np
    import torch

    from falconet_models.datasets import Found
    from falconet_models.datasets.transforms import letterbox
    from falconet_models.train.predict import normalise, suppress

    spent, found = [0.0, 0.0, 0.0], []
    config = detector.config
    torch.set_num_threads(1)  # as fast for one image of a small network, and it can be timed
    with working(f"{count} images") as step, torch.no_grad():
        for i in range(count):
            sample = dataset.load(i)
            at = [time.perf_counter()]
            fitted, frame = letterbox(sample, config.size, config.pad)
            x = normalise(torch.from_numpy(np.array(fitted.image)).permute(2, 0, 1)[None], config)
            at.append(time.perf_counter())
            maps = detector(x)
            at.append(time.perf_counter())
            boxes, scores = detector.decode(maps)
            seen = suppress(boxes[0], scores[0], threshold=config.nms_threshold)
            found.append(Found(frame.back(seen.boxes), seen.scores, seen.classes))
            at.append(time.perf_counter())
            spent = [s + b - a for s, a, b in zip(spent, at, at[1:])]
            step.share((i + 1) / count)
    return found, _times([s / count for s in spent])


def _times(seconds: list[float]) -> dict[str, float]:
    return dict(zip(("pre-processing", "network", "post-processing"), seconds))


def _by_machine(program: Program, name: DeviceName, dataset: Any, count: int
                ) -> tuple[list[Any], dict[str, float], dict[str, Any]]:
    import numpy as np

    from falconet.commands.sources import network_input
    from falconet.runtime.detections import Options
    from falconet.runtime.vision import detections_of
    from falconet_models.datasets import Found
    from falconet_models.train.predict import SCORE

    device, found, spent, cycles = make_device(name, program), [], [0.0, 0.0, 0.0], 0
    meta, labels = program.header["meta"], list(dataset.labels)
    options = Options(SCORE, maximum=min(_ROOM, program.header["detect"]["limit"]))
    with working(f"{count} images on the {LABELS[name]}") as step:
        for i in range(count):
            image = np.ascontiguousarray(dataset.load(i).image)
            at = [time.perf_counter()]
            entry = network_input(program, image)
            at.append(time.perf_counter())
            result = device.run(dict(entry.as_dict()), options)
            at.append(time.perf_counter())
            seen = detections_of(meta, result.detections, entry.frame)
            boxes = np.array([[d.x, d.y, d.x + d.w, d.y + d.h] for d in seen],
                             np.float32).reshape(-1, 4)
            found.append(Found(boxes, np.array([d.score for d in seen], np.float32),
                               np.array([labels.index(d.class_name) for d in seen], np.int64)))
            at.append(time.perf_counter())
            spent = [s + b - a for s, a, b in zip(spent, at, at[1:])]
            cycles += getattr(result, "cycles", None) or 0
            step.share((i + 1) / count)
    facts: dict[str, Any] = {"machine": program.arch.name}
    times = _times([s / count for s in spent])
    if name is DeviceName.rtl:  # what the machine takes, not what simulating it takes
        from falconet_sim.ddr import DdrModel

        clock = program.arch.clock_mhz
        facts |= {"cycles per image": cycles // count, "clock": f"{clock:g} MHz",
                  "frames/s": clock * 1e6 * count / cycles,
                  "memory": str(DdrModel(clock_mhz=clock)), "commit": revision(),
                  "cycles": "simulated, not silicon"}
        times["network"] = cycles / count / (clock * 1e6)
    else:
        facts["frames/s of the machine"] = "only --device rtl counts its cycles"
    return found, times, facts


def _data_of(model: Path, data: str | None) -> str:
    """The data set of the command line, or that which the run was trained on."""
    if data is not None:
        return data
    note = (model if model.is_dir() else model.parent) / "data.json"
    if model.suffix == ".onnx":
        from falconet.compiler.importer.model import load
        from falconet_models.metadata import get_meta

        own = (get_meta(load(model)[0]).get("training") or {}).get("data")
        if own is not None:
            return str(own)
    if not note.is_file():
        raise FalconetError(f"{model}: it is not known what it was trained on; give --data")
    return str(json.loads(note.read_text(encoding="utf-8"))["data"])


def evaluate(
    model: Annotated[Path, typer.Argument(
        help="Folder of a run, a checkpoint, a QDQ ONNX file, a program, or 'digits'.")],
    data: Annotated[str | None, typer.Option(help="Data set (default: that of the run).")] = None,
    split: Split = _SPLIT,
    device: Annotated[Judged | None, typer.Option(
        help="Which form of the network (default: fakequant for a run or a checkpoint, else "
             "golden).")] = None,
    machine: Annotated[str, typer.Option("-p", "--preset", help="The machine.")] = DEFAULT_PRESET,
    images: Annotated[int | None, typer.Option(min=1, help="Only so many.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", file_okay=False,
                                             help="Folder of the report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Judge a detector as the field does: mAP, curves, confusion matrix, pictures, one page.

    Example: falconet eval runs/digits --device golden
    """
    from falconet_models.datasets import open_dataset
    from falconet_models.judge.metrics import measure
    from falconet_models.judge.report import write_report
    from falconet_models.zoo import MODELS, TRAINED

    known = str(model) in (*MODELS, *TRAINED)
    if device is None:
        network = known or (model.is_file() and model.suffix != ".pt")
        device = Judged.golden if network and not model.is_dir() else Judged.fakequant
    if not model.exists():
        if device not in _DEVICES:
            raise FalconetError(f"{model}: no such file or folder; name a run or a checkpoint, or "
                                "judge a network of the zoo with --device golden or rtl")
        model = quantised_of(str(model))
    source = _data_of(model, data)
    dataset = open_dataset(source, split)
    count = min(images or len(dataset), len(dataset))
    facts: dict[str, Any] = {"model": model.name, "device": device.value,
                             "data": Path(source).name, "split": split}
    if device in _STYLES:
        from falconet_models.networks.cost import cost

        detector = _network(model, device)
        labels: Any = detector.config.labels
        price = cost(detector, detector.config.size)
        facts |= {"parameters": price.parameters, "macs": price.macs}
        _require_labels(labels, dataset.labels, model)
        found, times = _by_network(detector, dataset, count)
    else:
        program = _program(model, machine)
        _require_labels(program.header["meta"]["postprocess"]["labels"], dataset.labels, model)
        found, times, more = _by_machine(program, _DEVICES[device], dataset, count)
        facts |= more
    with working("report"):
        metrics = measure(dataset, found, range(count))
        folder = out or (model if model.is_dir() else output_folder() / "eval" / model.stem) / (
            f"eval-{device.value}")
        history: list[Mapping[str, Any]] = []
        if model.is_dir():
            from falconet_models.train.progress import read_history

            history = list(read_history(model))
        page = write_report(folder, f"{model.name}: {device.value}", dataset, found, metrics,
                            numbers=range(count), history=history, facts=facts, times=times)
    if as_json:
        print_json({**metrics.to_json(), "facts": facts, "times": times, "report": str(page)})
        return
    results.print(f"{device.value}, {count} images of {source}, split {split}")
    results.print(f"mAP@0.5 {metrics.map50:.4f}  mAP@0.5:0.95 {metrics.map50_95:.4f}  precision "
                  f"{metrics.precision:.3f}  recall {metrics.recall:.3f}  F1 {metrics.f1:.3f} "
                  f"(at confidence {metrics.confidence:.2f})")
    results.print(f"report: {page}")


def _require_labels(own: Any, given: Any, model: Path) -> None:
    if list(own) != list(given):
        raise FalconetError(f"{model}: its classes {', '.join(own)} are not the data set's, "
                            f"{', '.join(given)}; judge it on data of its own classes")


def register(app: typer.Typer) -> None:
    app.command("train")(train)
    app.command("eval")(evaluate)
    app.command("export")(export)
