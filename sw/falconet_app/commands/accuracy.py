"""``falconet accuracy`` and ``falconet resources``: figures that need no cycle to be simulated."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from falconet.isa import FalconetError
from falconet.isa import board as named_board
from falconet.isa import preset as named_preset
from falconet_app.commands.console import working
from falconet_app.commands.machines import DeviceName, make_device
from falconet_app.commands.pages import Json, Page, show
from falconet_app.commands.sources import (
    BUILD,
    DEFAULT_PRESET,
    Preset,
    network_input,
    program_of,
)

__all__ = ["register"]

SURE, NEAR = 0.6, 0.85  # boxes above this score have a partner with at least this IoU


def _classes(expected: Any, found: Any, output: str) -> dict[str, str]:
    """One photograph of a classifier; arguments: float and int8 (outputs, result)."""
    from falconet_models.onnx_session import snr_db

    (float_out, (float_top, *_)), (out, (top, *_)) = expected, found
    return {
        "float top-1": f"{float_top.class_name} ({float_top.score:.0%})",
        "int8 top-1": f"{top.class_name} ({top.score:.0%})",
        "same": "yes" if top.index == float_top.index else "no",
        "SNR of logits": f"{snr_db(float_out[output].reshape(-1), out[output].reshape(-1)):.1f} dB",
    }


def _boxes(expected: Any, found: Any, _: str) -> dict[str, str]:
    """One photograph of a detector."""
    import numpy as np

    from falconet.runtime.vision import iou

    def best(of: list[Any], among: list[Any]) -> list[float]:
        """For each sure box the greatest IoU with any of the others."""
        others = np.array([[d.x, d.y, d.w, d.h] for d in among]).reshape(-1, 4)
        return [float(iou(np.array([d.x, d.y, d.w, d.h]), others).max(initial=0.0))
                for d in of if d.score > SURE]

    (_, float_boxes), (_, boxes) = expected, found
    met, own = best(float_boxes, boxes), best(boxes, float_boxes)
    return {
        f"float boxes > {SURE}": str(len(met)),
        f"matched, IoU >= {NEAR}": str(sum(b >= NEAR for b in met)),
        "lowest IoU": f"{min(met):.3f}" if met else "-",
        f"machine's boxes > {SURE}": str(len(own)),
        "of these without a match": str(sum(b < NEAR for b in own)),
    }


def judge(model: str, preset: str) -> list[dict[str, str]]:
    """The int8 network against the float one on every test photograph, one row each.

    The golden model stands for the machine, whose own boxes are looked at if it makes them; the
    other devices give the same bytes.
    """
    from falconet.runtime.vision import detections_of, postprocess, real_outputs
    from falconet_models.cache import cached_float
    from falconet_models.data import test_images
    from falconet_models.onnx_session import Reference

    program = program_of(model, preset)
    meta = program.header["meta"]
    reference, device = Reference(cached_float(model)), make_device(DeviceName.golden, program)
    row = _classes if meta["postprocess"]["kind"] == "classification" else _boxes
    output = str(meta["postprocess"].get("output", ""))
    found = []
    with working(f"{model} against its float network"):
        for name, image in test_images(model).items():
            entry = network_input(program, image)
            result, real = device.run(dict(entry.as_dict())), reference(image)
            stored = real_outputs(program, result.outputs)
            seen = postprocess(meta, stored, entry.frame) if result.detections is None else (
                detections_of(meta, result.detections, entry.frame))
            expected = real, postprocess(reference.meta, real, entry.frame)
            found.append({"photograph": name, **row(expected, (stored, seen), output)})
    return found


def accuracy(
    model: Annotated[str, typer.Argument(help="Zoo name.")],
    preset: Preset = DEFAULT_PRESET,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Compare the int8 network with the float one on photographs neither was tuned on.

    Example: falconet accuracy mobilenetv2 --preset pynq-z2
    """
    show(judge(model, preset), page, f"accuracy {model}", f"{model}: int8 against float",
          f"falconet accuracy {model}", as_json)


def resources(
    preset: Preset = DEFAULT_PRESET,
    board: Annotated[str | None, typer.Option(help="A board's whole design instead.")] = None,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Show what synthesis found (build/synth/PRESET.json, made by 'make synth').

    Example: falconet resources --preset pynq-z2
    """
    name = f"board-{named_board(board).name}" if board else named_preset(preset).name
    command = f"make synth BOARD={board}" if board else f"make synth PRESET={preset}"
    path = BUILD / "synth" / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        bars, title = found["bars"], found["title"]
    except (OSError, ValueError, KeyError):
        raise FalconetError(f"{path}: no synthesis report; run: {command}") from None
    rows = [
        {"what": k, "used": f"{found[k]:,.10g}", "bar": f"{bars[k]:,}" if k in bars else "-"}
        for k in ("dsp", "bram36", "lut", "ff", "max_fanout")
    ]
    show(rows, page, f"synthesis {name}", f"Synthesis: {title} (yosys synth_xilinx)", command,
         as_json)


def register(app: typer.Typer) -> None:
    app.command("accuracy")(accuracy)
    app.command("resources")(resources)
