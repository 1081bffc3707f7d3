"""``falconet demo``: a page in the browser that shows what the machine sees, and how fast."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from falconet.isa import FalconetError, Program, board
from falconet_app.commands.console import results
from falconet_app.commands.machines import LABELS, DeviceName, make_device
from falconet_app.commands.running import Model, PresetName
from falconet_app.commands.sources import program_of

if TYPE_CHECKING:
    from falconet.demo.looking import Machine

__all__ = ["Where", "register"]


class Where(str, enum.Enum):
    """What the page's machine is."""

    golden = "golden"
    iss = "iss"
    rtl = "rtl"
    board = "board"


def _note(name: DeviceName, program: Program) -> str:
    """What the device's figures are worth."""
    if name is not DeviceName.rtl:
        return (f"The {LABELS[name]} has no clock: start the demo with --device rtl for cycles and "
                "the timeline.")
    from falconet_sim.rtl.ddr import DdrModel

    arch = program.arch
    return (f"At {arch.clock_mhz:g} MHz, preset {arch.name}; {DdrModel(clock_mhz=arch.clock_mhz)}; "
            "simulated, not silicon; without the host's part.")


@contextlib.contextmanager
def _machine(where: Where, model: str, preset: str | None, board_name: str,
             bitstream: Path | None) -> Iterator[Machine]:
    from falconet.demo.looking import Machine, by_inputs, kind_of

    if where is Where.board:
        from falconet.demo.opening import open_machine

        with open_machine(program_of(model, preset or board(board_name).preset), board_name,
                          bitstream) as machine:
            yield machine
        return
    program, name = program_of(model, preset), DeviceName(where.value)
    kind_of(program)  # refuses before a simulator is built
    device = make_device(name, program)
    yield Machine(program, by_inputs(device, program), LABELS[name], _note(name, program))


def _samples(program: Program) -> dict[str, Callable[[], bytes]]:
    """Test photographs that the program can say something about, else those of the wheel."""
    if importlib.util.find_spec("skimage") is None:
        from falconet.demo.opening import samples

        return samples()
    from PIL import Image

    from falconet_models.data import COMPOSITES, SCENES, TEST, photograph

    def png(name: str) -> bytes:
        file = io.BytesIO()
        Image.fromarray(photograph(name)).save(file, "PNG")
        return file.getvalue()

    model = program.header["model"]
    names = [model] if model in SCENES else ["astronaut", *COMPOSITES] if (
        program.detect) else list(TEST)
    return {name: functools.partial(png, name) for name in names}


def demo(
    model: Model = "retinaface",
    preset: PresetName = None,
    device: Annotated[
        Where, typer.Option("-d", "--device", help="What it runs on; board: the one that this "
                                                   "command runs on.")
    ] = Where.golden,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: the whole network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")
    ] = 8000,
    camera: Annotated[
        int | None, typer.Option(min=0, help="Offer this computer's camera of that number.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
    board_name: Annotated[str, typer.Option("--board", help="With --device board.")] = "pynq-z2",
    bitstream: Annotated[
        Path | None, typer.Option(help="With --device board: load it first.")
    ] = None,
) -> None:
    """Show a page in the browser: drop a picture, see boxes, cycles and times.

    Example: falconet demo --device rtl --open
    """
    if bitstream is not None and device is not Where.board:
        raise FalconetError("--bitstream is loaded into a board; give --device board too")
    from falconet.demo.serving import show

    with _machine(device, model, preset, board_name, bitstream) as machine:
        show(machine, _samples(machine.program), camera, host, port, results.print, browser=browser)


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)
