"""``falconet eval``: how good a detector is, in float, as the machine computes, or on it."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError, Program, output_folder, preset
from falconet_app.commands.console import print_json, results, working
from falconet_app.commands.machines import LABELS, DeviceName, make_device
from falconet_app.commands.pages import revision
from falconet_app.commands.sources import DEFAULT_PRESET, Preset, compiled, is_program, quantised_of
from falconet_app.commands.training import ONNX, SPLIT, write_network

__all__ = ["Judged", "register"]

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
    from falconet.compiler.importer.onnx.model import load
    from falconet_models.metadata import get_meta

    if is_program(model):
        program = Program.load(model)
        if program.detect is None:
            raise FalconetError(f"{model}: the machine makes no boxes; 'falconet eval' judges "
                                "detectors, compiled with '--post machine'")
        return program
    source = model / ONNX if model.is_dir() else model
    if not source.is_file() and model.is_dir():
        write_network(model, source)
    if source.suffix != ".onnx" or not source.is_file():
        raise FalconetError(f"{model}: nothing that the machine runs; give a run, a QDQ ONNX file "
                            "or a program")
    head = get_meta(load(source)[0]).get("postprocess") or {}
    if head.get("kind") != "detection":
        raise FalconetError(f"{model}: no detector; 'falconet eval' judges detectors")
    arch = preset(machine)
    return compiled(source, arch, source.parent.name,
                    heads={**head, "maximum": min(_ROOM, arch.candidates)})


def _usual(model: Path) -> Judged:
    """The form that is judged unless another is asked for."""
    from falconet_models.zoo import MODELS, TRAINED

    network = str(model) in (*MODELS, *TRAINED) or (model.is_file() and model.suffix != ".pt")
    return Judged.golden if network and not model.is_dir() else Judged.fakequant


def _history(model: Path) -> list[Mapping[str, Any]]:
    """The epochs of a run; of anything else none."""
    from falconet_models.train.diary import read_history

    return list(read_history(model)) if model.is_dir() else []


def _seen(model: Path, device: Judged, machine: str, dataset: Any, count: int
          ) -> tuple[list[Any], dict[str, float], dict[str, Any]]:
    """What is found in ``count`` images, seconds an image by step, and what the report says too."""
    if device in _DEVICES:
        program = _program(model, machine)
        _require_labels(program.header["meta"]["postprocess"]["labels"], dataset.labels, model)
        return _by_machine(program, _DEVICES[device], dataset, count)
    from falconet_models.networks.macs import cost

    detector = _network(model, device)
    price = cost(detector, detector.config.size)
    _require_labels(detector.config.labels, dataset.labels, model)
    return (*_by_network(detector, dataset, count),
            {"parameters": price.parameters, "macs": price.macs})


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

    from falconet.runtime.detections import Options
    from falconet.runtime.vision import detections_of
    from falconet_app.commands.sources import network_input
    from falconet_models.datasets import Found
    from falconet_models.train.predict import SCORE

    assert program.detect is not None
    device, found, spent, cycles = make_device(name, program), [], [0.0, 0.0, 0.0], 0
    meta, labels = program.header["meta"], list(dataset.labels)
    options = Options(SCORE, maximum=min(_ROOM, program.detect.limit))
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
        from falconet_sim.rtl.ddr import DdrModel

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
        from falconet.compiler.importer.onnx.model import load
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
    split: Split = SPLIT,
    device: Annotated[Judged | None, typer.Option(
        help="Which form of the network (default: fakequant for a run or a checkpoint, else "
             "golden).")] = None,
    machine: Preset = DEFAULT_PRESET,
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
    from falconet_models.judge.verdict import write_report

    device = device or _usual(model)
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
    found, times, more = _seen(model, device, machine, dataset, count)
    facts |= more
    with working("report"):
        metrics = measure(dataset, found, range(count))
        folder = out or (model if model.is_dir() else output_folder() / "eval" / model.stem) / (
            f"eval-{device.value}")
        page = write_report(folder, f"{model.name}: {device.value}", dataset, found, metrics,
                            numbers=range(count), history=_history(model), facts=facts, times=times)
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
    app.command("eval")(evaluate)
