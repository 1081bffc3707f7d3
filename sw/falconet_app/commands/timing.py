"""``falconet timing``: the clock that a netlist could have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import takewhile
from typing import Annotated, Any

import typer
from rich.table import Table

from falconet.isa import FalconetError
from falconet.isa import board as named_board
from falconet.isa import preset as named_preset
from falconet_app.commands.console import print_json, results
from falconet_app.commands.pages import Json, Page, put_section, revision
from falconet_app.commands.sources import BUILD, DEFAULT_PRESET, Preset

__all__ = ["register"]

_SHOWN = 3
"""Registers named that the paths of a row end in."""
_ESTIMATE = """An estimate, not place and route: every net takes the time given and 0.0035 ns for
each sink but the first, also from a LUT to the flip-flop beside it. Cascades of DSPs, carry chains,
and LUTs before their carry or multiplexer take none. Cells: speed grade -1, slow corner. Skew of
clocks, hold, and the least periods of block RAMs and DSPs are left out. yosys maps the same machine
differently whenever anything around it changes (compare the machine alone with that of a board):
differences of a few per cent say nothing, the paths do.

A row has the paths that begin in one register, each the longest to where it ends."""


def _clocks(found: dict[str, Any]) -> list[dict[str, str]]:
    late = f"later than {found['period']} ns at {found['net']:.2f}"
    return [
        {"clock": of["clock"], "ends of paths": f"{of['ends']:,}", late: f"{of['late']:,}",
         **{f"MHz at {net} ns a net": f"{mhz:.0f}" for net, mhz in of["mhz"].items()}}
        for of in found["clocks"]
    ]


def _paths(found: dict[str, Any]) -> list[dict[str, str]]:
    modules = [at["register"].split(".")[:-1] for of in found["groups"] for at in (of, *of["to"])]
    above = len(list(takewhile(lambda names: len(set(names)) == 1, zip(*modules))))

    def place(at: dict[str, Any]) -> str:
        name = ".".join(at["register"].split(".")[above:])
        return f"`{name}`" + (f" ({at['file']})" if at["file"] else "")

    rows = []
    for of in found["groups"]:
        more = len(of["to"]) - _SHOWN
        ends = ", ".join(place(to) for to in of["to"][:_SHOWN])
        rows.append({
            "ns": f"{of['ns']:.2f}", "levels": str(of["levels"]), "late": f"{of['late']:,}",
            "from": place(of), "to": ends + (f", {more} more" if more > 0 else "")})
    return rows


def _lines(rows: list[dict[str, str]]) -> Iterable[str]:
    for cells in (list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)):
        yield "| " + " | ".join(cells) + " |"


def timing(
    preset: Preset = DEFAULT_PRESET,
    board: Annotated[str | None, typer.Option(help="A board's whole design instead.")] = None,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Show how long the paths of the netlist are (build/timing/PRESET.json, made by 'make timing').

    Example: falconet timing --preset pynq-z2
    """
    name = f"board-{named_board(board).name}" if board else named_preset(preset).name
    command = f"make timing BOARD={board}" if board else f"make timing PRESET={preset}"
    path = BUILD / "timing" / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        title, tables = found["title"], [t for t in (_clocks(found), _paths(found)) if t]
    except (OSError, ValueError, KeyError):
        raise FalconetError(f"{path}: no report of timing; run: {command}") from None
    if page is not None:
        text = "\n\n".join("\n".join(_lines(table)) for table in tables)
        put_section(page, f"timing {name}", f"## Clock: {title} (yosys synth_xilinx)\n\n"
                    f"`{command}` at commit {revision()}.\n\n{_ESTIMATE}\n\n{text}\n")
    if as_json:
        print_json(found)
        return
    for rows in tables:
        table = Table(box=None)
        for head in rows[0]:
            table.add_column(head)
        for row in rows:
            table.add_row(*row.values())
        results.print(table)


def register(app: typer.Typer) -> None:
    app.command("timing")(timing)
