"""``falconet wave``: signals of a VCD file as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from falconet.isa import FalconetError
from falconet.isa.files import check_place, keep_inputs, written
from falconet_app.commands.console import print_json, results, working

__all__ = ["register"]

_SUFFIXES = (".png", ".svg")


def wave(
    file: Annotated[Path, typer.Argument(help="A VCD file.")],
    signals: Annotated[list[str] | None, typer.Option(
        "-s", "--signals", metavar="PATTERN",
        help="Signals whose path ends so, as 'mac.*valid'; may be given several times (default: "
             "valid and ready of all streams that move, outer blocks first).")] = None,
    png: Annotated[Path | None, typer.Option(
        "--png", dir_okay=False, help="The picture; an .svg if it is called so.")] = None,
    begin: Annotated[int | None, typer.Option(
        min=0, help="First cycle (default: that of the file).")] = None,
    cycles: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 40,
    clock: Annotated[str, typer.Option(help="The clock, by its name or path.")] = "clk",
    list_: Annotated[bool, typer.Option("--list", help="List the signals instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: one JSON list.")] = False,
) -> None:
    """Draw a waveform as a picture: clocks to the right, the signals of a block together.

    Example: falconet wave net.vcd --png net.png --begin 1200
    """
    from falconet_sim.wave.picture import MOST, draw
    from falconet_sim.wave.vcd import handshakes, matching, names, record

    known = names(file)
    chosen = matching(known, signals) if signals else handshakes(known)
    if list_:
        shown = chosen if signals else known
        if as_json:
            print_json([{"path": n.path, "width": n.width} for n in shown])
        else:
            results.print("\n".join(f"{n.width:4}  {n.path}" for n in shown))
        return
    if png is None or png.suffix.lower() not in _SUFFIXES:
        raise FalconetError(f"{png or file}: name the picture with --png FILE, FILE ending in "
                            f"{' or '.join(_SUFFIXES)}; or list the signals with --list")
    keep_inputs([file], [png])
    check_place(png)
    with working(f"read {file.name}"):
        found = record(file, known, chosen, begin=begin, cycles=cycles, clock=clock)
    left_out = 0
    if not signals:
        moving = tuple(w for w in found.waves if w.changes)
        left_out = max(0, len(moving) - MOST)
        found = replace(found, waves=moving[:MOST])
    with written(png) as part:
        draw(found, part)
    more = f"; {left_out} more move, name them with --signals" if left_out else ""
    results.print(f"{png}: {len(found.waves)} signals, cycles {found.begin} to "
                  f"{found.begin + found.cycles - 1}{more}")


def register(app: typer.Typer) -> None:
    app.command("wave")(wave)
